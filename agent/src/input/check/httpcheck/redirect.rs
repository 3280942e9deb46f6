//! Where a redirect leads, and what goes there.

use std::{fmt::Write, net::Ipv6Addr};

use hyper::{Method, StatusCode, Uri, body::Bytes, http::uri::Scheme};

use super::super::resolve;

/// A request on its way: what is asked, and whom.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) uri: Uri,
    pub(super) method: Method,
    pub(super) body: Bytes,
    /// Whether it is still the target of the configuration, which alone gets its headers.
    pub(super) is_own: bool,
}

/// Whether an answer redirects.
pub(super) fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Hop {
    pub(super) fn is_secure(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Host as the URL has it, with the brackets of IPv6.
    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// The request that an answer sends one to; none when it leads nowhere.
    pub(super) fn next(self, status: StatusCode, location: &str) -> Option<Self> {
        let uri = follow(&self.uri, location)?;
        // What browsers do, and what the standard has come to allow.
        let is_get = match status.as_u16() {
            301 | 302 => self.method == Method::POST,
            303 => self.method != Method::HEAD,
            _ => false,
        };
        let (method, body) =
            if is_get { (Method::GET, Bytes::new()) } else { (self.method.clone(), self.body.clone()) };
        let mut next = Self { uri, method, body, is_own: false };
        next.is_own = self.is_own && self.origin() == next.origin();
        Some(next)
    }

    fn origin(&self) -> (bool, String, u16) {
        (self.is_secure(), self.host().to_ascii_lowercase(), self.port())
    }
}

/// Whether a host, as URLs have it, can be asked for.
pub(super) fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => resolve::is_name(host),
    }
}

/// A place as URLs write it: servers often send other letters as they are, and clients follow those all the same.
pub(super) fn ascii(location: &[u8]) -> String {
    let mut text = String::new();
    for &byte in location {
        if byte.is_ascii() {
            text.push(byte.into());
        } else {
            // Writing to a text cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// What a reference means where it was found (RFC 3986, section 5.2).
fn follow(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let path = base.path();
    let whole = if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if has_scheme(reference) {
        reference.to_owned()
    } else if reference.is_empty() {
        base.to_string()
    } else if reference.starts_with('?') {
        format!("{scheme}://{authority}{path}{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{}", without_dots(reference))
    } else {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        format!("{scheme}://{authority}{}", without_dots(&format!("{above}/{reference}")))
    };
    let uri: Uri = whole.parse().ok()?;
    let is_known =
        matches!(uri.scheme(), Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let authority = uri.authority()?;
    // Who is named there is not who was configured.
    (is_known && is_host(authority.host()) && !authority.as_str().contains('@')).then_some(uri)
}

/// Whether a reference begins with a scheme.
fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']);
    end.is_some_and(|end| end > 0 && reference.as_bytes()[end] == b':')
}

/// A path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hop(uri: &str, method: Method) -> Hop {
        Hop { uri: uri.parse().unwrap(), method, body: Bytes::from_static(b"x"), is_own: true }
    }

    #[test]
    fn references_are_resolved_as_the_standard_says() {
        let base: Uri = "http://a:81/b/c/d?q".parse().unwrap();
        for (reference, whole) in [
            ("https://x/y", "https://x/y"),
            ("HTTP://x/y", "http://x/y"),
            ("//x/y", "http://x/y"),
            ("/g", "http://a:81/g"),
            ("g", "http://a:81/b/c/g"),
            ("./g", "http://a:81/b/c/g"),
            ("../g?x=../y", "http://a:81/b/g?x=../y"),
            ("../../../g/.", "http://a:81/g/"),
            ("..", "http://a:81/b/"),
            ("?y", "http://a:81/b/c/d?y"),
            ("g?y/./x", "http://a:81/b/c/g?y/./x"),
            ("#part", "http://a:81/b/c/d?q"),
            ("", "http://a:81/b/c/d?q"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
        ] {
            assert_eq!(
                follow(&base, reference).map(|uri| uri.to_string()).as_deref(),
                Some(whole),
                "{reference}"
            );
        }
        assert_eq!(follow(&base, &format!("http://{}/", "x".repeat(64))), None, "no name has such a label");
        for nowhere in [
            "http://[::1::]/",
            "http://a..b/",
            "ftp://x/",
            "mailto:me",
            "http://",
            "http://u:p@x/",
            "javascript:0",
            "http://a b/",
        ] {
            assert_eq!(follow(&base, nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn other_letters_are_written_as_in_urls() {
        assert_eq!(ascii("/caf\u{e9}?a=%20&b".as_bytes()), "/caf%C3%A9?a=%20&b");
        assert_eq!(ascii(b"/\xff"), "/%FF");
        let base: Uri = "http://a/".parse().unwrap();
        assert_eq!(follow(&base, &ascii("http://caf\u{e9}/".as_bytes())), None, "no host has such a name");
    }

    #[test]
    fn only_the_own_origin_stays_own() {
        let next = |to: &str| hop("http://a/x", Method::GET).next(StatusCode::FOUND, to).unwrap();
        assert!(next("/y").is_own && next("http://A:80/y").is_own);
        assert!(!next("https://a/y").is_own && !next("http://a:81/").is_own && !next("http://b/").is_own);
        assert!(!next("http://b/").next(StatusCode::FOUND, "http://a/x").unwrap().is_own);
    }

    #[test]
    fn the_method_changes_where_it_should() {
        let next = |method: Method, status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            let next = hop("http://a/", method).next(status, "/").unwrap();
            (next.method, next.body.len())
        };
        assert_eq!(next(Method::POST, 302), (Method::GET, 0));
        assert_eq!(next(Method::POST, 303), (Method::GET, 0));
        assert_eq!(next(Method::HEAD, 303), (Method::HEAD, 1));
        assert_eq!(next(Method::PUT, 301), (Method::PUT, 1));
        assert_eq!(next(Method::POST, 308), (Method::POST, 1));
    }

    proptest! {
        #[test]
        fn any_location_leads_somewhere_or_nowhere(location in "[ -~]{0,40}") {
            let base: Uri = "http://a:81/b/c/d?q".parse().unwrap();
            if let Some(uri) = follow(&base, &location) {
                prop_assert!(uri.host().is_some() && uri.path().starts_with('/'));
            }
        }
    }
}
