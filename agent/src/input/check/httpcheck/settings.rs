//! The settings of a check: what the configuration says, in words that teach when it cannot be.

use std::{fs::File, io::Read, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{OptionDef, OptionValue, Unsupported},
    input::Options,
};

/// The longest file of certificates: it travels with every request.
const MOST_AUTHORITIES: u64 = 64 << 10;

/// What the configuration may say.
pub(super) static OPTIONS: &[OptionDef] = &[
    OptionDef {
        key: "url",
        default: OptionValue::Text(""),
        help: "What is asked, as in `http://127.0.0.1:8080/healthz`; a shorter way to say it is `port`.",
    },
    OptionDef {
        key: "scheme",
        default: OptionValue::Text(""),
        help: "With `port` instead of `url`: `https` for TLS, otherwise `http`.",
    },
    OptionDef {
        key: "port",
        default: OptionValue::Text(""),
        help: "Instead of `url`: the port of 127.0.0.1 that is asked.",
    },
    OptionDef {
        key: "path",
        default: OptionValue::Text(""),
        help: "With `port` instead of `url`: the path that is asked for, with its query; `/` unless given.",
    },
    OptionDef { key: "method", default: OptionValue::Text("GET"), help: "The method of the request." },
    OptionDef {
        key: "headers",
        default: OptionValue::Texts(&[]),
        help: "Headers of the request, each as `Name: value`; a redirect to elsewhere gets none of them.",
    },
    OptionDef { key: "body", default: OptionValue::Text(""), help: "The body of the request." },
    OptionDef {
        key: "body_limit",
        default: OptionValue::Integer { default: 64 << 10, min: 0, max: 1 << 20 },
        help: "How many bytes of the answer's body are read and looked at; what follows is left unread.",
    },
    OptionDef {
        key: "expected_codes",
        default: OptionValue::Texts(&["2xx"]),
        help: "Status codes of a target that is up: codes as `204`, classes as `2xx`, ranges as `200-299`.",
    },
    OptionDef {
        key: "body_regex",
        default: OptionValue::Regex(""),
        help: "What must be found in the body of the answer.",
    },
    OptionDef {
        key: "body_not_regex",
        default: OptionValue::Regex(""),
        help: "What must not be found in the body of the answer.",
    },
    OptionDef {
        key: "redirects",
        default: OptionValue::Integer { default: 0, min: 0, max: 10 },
        help: "How many redirects are followed; with 0 a redirect is an answer like any other.",
    },
    OptionDef {
        key: "timeout",
        default: OptionValue::Duration(Duration::from_secs(3)),
        help: "How long the target may take in all, redirects included.",
    },
    OptionDef {
        key: "verify",
        default: OptionValue::Bool(true),
        help: "Whether a target whose certificate is not to be trusted is down; its dates are told in any case.",
    },
    OptionDef {
        key: "server_name",
        default: OptionValue::Text(""),
        help: "The name that the certificate must be for, instead of the host of `url`.",
    },
    OptionDef {
        key: "ca_file",
        default: OptionValue::Text(""),
        help: "A file of the host with the PEM certificates that are trusted, instead of those of Mozilla, as it is when the \
               agent starts or this section changes.",
    },
];

/// What is asked, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What is asked: `http` or `https`.
    pub url: String,
    /// Method of the request.
    pub method: String,
    /// Headers of the request, each as `Name: value`.
    pub headers: Vec<String>,
    /// Body of the request.
    pub body: String,
    /// How many bytes of the answer's body are read.
    pub body_limit: u32,
    /// Status codes of a target that is up, as in `204`, `2xx` and `200-299`.
    pub expected_codes: Vec<String>,
    /// What must be found in the body.
    pub body_regex: String,
    /// What must not be found in it.
    pub body_not_regex: String,
    /// How many redirects are followed.
    pub redirects: u32,
    /// How long the target may take in all.
    pub timeout: Duration,
    /// Whether its certificate must be one to trust.
    pub verify: bool,
    /// Whom the certificate must be for, instead of the host of the URL.
    pub server_name: String,
    /// The certificates that are trusted, in PEM; those of Mozilla when it is empty.
    pub authorities: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            method: "GET".to_owned(),
            headers: Vec::new(),
            body: String::new(),
            body_limit: 64 << 10,
            expected_codes: vec!["2xx".to_owned()],
            body_regex: String::new(),
            body_not_regex: String::new(),
            redirects: 0,
            timeout: Duration::from_secs(3),
            verify: true,
            server_name: String::new(),
            authorities: String::new(),
        }
    }
}

impl Settings {
    /// What the configuration says.
    pub(super) fn of(options: Options<'_>) -> Result<Self, Unsupported> {
        let text = |key| options.text(key).to_owned();
        let texts = |key| options.texts(key).into_iter().map(str::to_owned).collect();
        let pattern = |key| options.pattern(key).as_str().to_owned();
        Ok(Self {
            url: url(options)?,
            method: text("method"),
            headers: texts("headers"),
            body: text("body"),
            body_limit: options.integer("body_limit"),
            expected_codes: texts("expected_codes"),
            body_regex: pattern("body_regex"),
            body_not_regex: pattern("body_not_regex"),
            redirects: options.integer("redirects"),
            timeout: options.duration("timeout"),
            verify: options.bool("verify"),
            server_name: text("server_name"),
            authorities: authorities(options.text("ca_file"))?,
        })
    }
}

/// `url`, or what `scheme`, `port` and `path` say in its place.
fn url(options: Options<'_>) -> Result<String, Unsupported> {
    let [url, scheme, port, path] = ["url", "scheme", "port", "path"].map(|key| options.text(key));
    let short = [("scheme", scheme), ("port", port), ("path", path)];
    let given = short.iter().find(|(_, text)| !text.is_empty()).map(|(key, _)| *key);
    match (url, given) {
        ("", None) => Err(Unsupported(
            "nothing to ask: give `url = \"http://127.0.0.1:8080/healthz\"`, or `port` and `path`".to_owned(),
        )),
        ("", Some(given)) if port.is_empty() => {
            Err(Unsupported(format!("`{given}` goes with `port`: give `port = \"8080\"`")))
        }
        ("", Some(_)) => {
            if !port.parse::<u16>().is_ok_and(|port| port > 0) {
                let what = format!("`port` is a number from 1 to 65535 in quotes, not {port:?}");
                return Err(Unsupported(what));
            }
            if !path.is_empty() && !path.starts_with('/') {
                return Err(Unsupported(format!("`path` begins with a slash: write \"/{path}\"")));
            }
            let scheme = if scheme.is_empty() { "http" } else { scheme };
            Ok(format!("{scheme}://127.0.0.1:{port}{path}"))
        }
        (_, Some(given)) => Err(Unsupported(format!(
            "`url` and `{given}` exclude each other: `{given}` is a part of a shorter way to say `url`"
        ))),
        (url, None) => Ok(url.to_owned()),
    }
}

/// The certificates of a file.
fn authorities(path: &str) -> Result<String, Unsupported> {
    let mut content = String::new();
    if path.is_empty() {
        return Ok(content);
    }
    let read = File::open(path).and_then(|file| file.take(MOST_AUTHORITIES + 1).read_to_string(&mut content));
    match read {
        Err(error) => Err(Unsupported(format!("`ca_file` {path} cannot be read: {error}"))),
        Ok(length) if length as u64 > MOST_AUTHORITIES => Err(Unsupported(format!(
            "`ca_file` {path} is longer than {} KiB: name only the authorities of this target",
            MOST_AUTHORITIES >> 10
        ))),
        Ok(_) => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::input::OptionSetting;

    fn settings(given: &[(&str, &str)]) -> Result<Settings, String> {
        let given: Vec<_> = given
            .iter()
            .map(|(key, text)| ((*key).to_owned(), OptionSetting::Text((*text).to_owned())))
            .collect();
        Settings::of(Options::new(OPTIONS, &given)).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_options() {
        let url = "http://127.0.0.1/";
        let expected = Settings { url: url.to_owned(), ..Settings::default() };
        assert_eq!(settings(&[("url", url)]), Ok(expected));
    }

    #[test]
    fn a_port_is_a_short_way_to_say_a_url() {
        let url = |given: &[_]| settings(given).map(|settings| settings.url);
        assert_eq!(url(&[("port", "8080")]), Ok("http://127.0.0.1:8080".to_owned()));
        let all = [("scheme", "https"), ("port", "8443"), ("path", "/a?b")];
        assert_eq!(url(&all), Ok("https://127.0.0.1:8443/a?b".to_owned()));
        assert!(url(&[]).unwrap_err().contains("give `url ="));
        assert!(url(&[("path", "/x")]).unwrap_err().contains("give `port ="));
        assert!(url(&[("port", "80"), ("path", "x")]).unwrap_err().contains("write \"/x\""));
        assert!(url(&[("url", "http://x/"), ("port", "80")]).unwrap_err().contains("exclude each other"));
        for wrong in ["0", "70000", "http", "-1"] {
            assert!(url(&[("port", wrong)]).unwrap_err().contains("from 1 to 65535"), "{wrong}");
        }
    }

    #[test]
    fn authorities_are_read_once_and_have_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let with = |file: &str| settings(&[("port", "80"), ("ca_file", file)]);
        assert!(with("/no/such/file").unwrap_err().contains("cannot be read"));
        fs::write(&file, "x").unwrap();
        assert_eq!(with(file.to_str().unwrap()).unwrap().authorities, "x");
        fs::write(&file, "x".repeat(70_000)).unwrap();
        assert!(with(file.to_str().unwrap()).unwrap_err().contains("longer than 64 KiB"));
    }
}
