//! Where the kubelet is.

use hyper::Uri;
use rustls::pki_types::ServerName;

use crate::container::runtime::trouble::Trouble;

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Endpoint {
    pub(in super::super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authority: String,
    pub(super) target: String,
}

impl Endpoint {
    /// Reads a URL, or says what it should have been.
    pub(in super::super) fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("`{url}` is not the URL of a kubelet, as in \"https://127.0.0.1:10250\"");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?.as_str();
        if authority.contains('@') {
            return Err(format!("`{url}` must not have a user: the token is in `kubelet_token_file`"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let target = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" => "/pods",
            path => path,
        };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            // The kubelet's own ports, of which that without TLS is read only.
            port: uri.port_u16().unwrap_or(if is_tls { 10250 } else { 10255 }),
            authority: authority.to_owned(),
            target: target.to_owned(),
        })
    }

    /// Whose certificate it must be.
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, Trouble> {
        ServerName::try_from(self.host.clone())
            .map_err(|error| Trouble::Refused(format!("`{}`: {error}", self.host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_what_kubelets_do() {
        let parts = |url: &str| {
            let endpoint = Endpoint::parse(url).expect(url);
            (endpoint.is_tls, endpoint.host, endpoint.port, endpoint.target)
        };
        let (host, pods) = ("127.0.0.1".to_owned(), "/pods".to_owned());
        assert_eq!(parts("https://127.0.0.1"), (true, host.clone(), 10250, pods.clone()));
        assert_eq!(parts("http://127.0.0.1/"), (false, host, 10255, pods));
        assert_eq!(parts("https://[::1]:1/x?y"), (true, "::1".to_owned(), 1, "/x?y".to_owned()));
        assert!(Endpoint::parse("https://[::1]").expect("a URL").server_name().is_ok());
    }

    #[test]
    fn anything_else_is_refused() {
        for url in [
            "",
            "kubelet",
            "127.0.0.1:10250",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://x y",
            "http://:1",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_url_or_refused(text in "(https?://)?[ -~]{0,40}") {
            if let Ok(endpoint) = Endpoint::parse(&text) {
                proptest::prop_assert!(!endpoint.host.is_empty() && endpoint.target.starts_with(['/', '?']), "{endpoint:?}");
            }
        }
    }
}
