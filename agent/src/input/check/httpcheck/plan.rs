//! Settings, made ready to be executed many times.

use std::ops::RangeInclusive;

use hyper::{
    HeaderMap, Method, Uri,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
    http::uri::Scheme,
};
use regex_lite::Regex;

use super::{Settings, redirect::is_host, tls, trust::Trust};

/// Headers that say how the message ends and who follows whom: those are not for the configuration.
const FRAMING: &[HeaderName] =
    &[header::CONNECTION, header::CONTENT_LENGTH, header::EXPECT, header::TRANSFER_ENCODING, header::UPGRADE];
/// Who asks, unless the configuration says otherwise.
const AGENT: &str = concat!("pitot/", env!("CARGO_PKG_VERSION"));

/// A check that can be executed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) uri: Uri,
    pub(super) method: Method,
    /// Headers for the target.
    pub(super) headers: HeaderMap,
    /// Those for whomever it redirects to.
    pub(super) anonymous: HeaderMap,
    pub(super) body: Bytes,
    pub(super) found: Option<Regex>,
    pub(super) not_found: Option<Regex>,
    pub(super) trust: Trust,
    codes: Vec<RangeInclusive<u16>>,
}

impl Plan {
    /// Of these settings, or what is wrong with them.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self {
            uri: address(&settings.url)?,
            method: method(&settings.method)?,
            headers: headers(&settings.headers)?,
            anonymous: headers(&[])?,
            body: Bytes::from(settings.body.clone()),
            found: pattern("body_regex", &settings.body_regex)?,
            not_found: pattern("body_not_regex", &settings.body_not_regex)?,
            trust: Trust::of(&settings.authorities)?,
            codes: codes(&settings.expected_codes)?,
            settings,
        })
        .and_then(Self::with_a_server_name)
    }

    fn with_a_server_name(self) -> Result<Self, String> {
        let name = &self.settings.server_name;
        if !name.is_empty() && tls::server_name(name).is_none() {
            return Err(format!("`server_name` is the name of a host or an address, not {name:?}"));
        }
        Ok(self)
    }

    /// Whether a target that answers so is up.
    pub(super) fn expects(&self, code: u16) -> bool {
        self.codes.iter().any(|range| range.contains(&code))
    }

    /// Whether its body must be kept.
    pub(super) fn looks_at_body(&self) -> bool {
        self.found.is_some() || self.not_found.is_some()
    }
}

/// What is asked. Only what a client of HTTP can ask.
fn address(url: &str) -> Result<Uri, String> {
    let wrong = |what: &str| format!("`url` {what}: write it as in \"http://127.0.0.1:8080/healthz\"");
    let uri: Uri = url.parse().map_err(|error| wrong(&format!("{url:?} cannot be ({error})")))?;
    let scheme = uri.scheme().ok_or_else(|| wrong("has no scheme"))?;
    if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
        return Err(wrong(&format!("asks by `{scheme}`, and only `http` and `https` are known")));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        let what = "names a user: give `headers = [\"Authorization: Basic ...\"]` instead";
        return Err(format!("`url` {what}"));
    }
    if !uri.host().is_some_and(is_host) {
        return Err(wrong("has no host that has a name or an address"));
    }
    Ok(uri)
}

fn method(method: &str) -> Result<Method, String> {
    match Method::from_bytes(method.as_bytes()) {
        Ok(Method::CONNECT) => Err("`method` cannot be CONNECT: nothing is asked through a proxy".to_owned()),
        Ok(known) => Ok(known),
        Err(_) => Err(format!("`method` is a word such as GET or HEAD, not {method:?}")),
    }
}

fn headers(lines: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) =
            line.split_once(':').ok_or_else(|| format!("`headers`: {line:?} is not `Name: value`"))?;
        // The value may be a secret: no message repeats it.
        let name: HeaderName =
            name.trim().parse().map_err(|_| format!("`headers`: {name:?} is not the name of a header"))?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| {
            format!("`headers`: the value of `{name}` has characters that no header may have")
        })?;
        if FRAMING.contains(&name) {
            return Err(format!("`headers`: `{name}` follows from the request and is not given"));
        }
        headers.append(name, value);
    }
    let mut otherwise = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    otherwise(header::USER_AGENT, AGENT);
    otherwise(header::ACCEPT, "*/*");
    // Who closes first keeps the port of the connection busy for a while; let it be the server.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(headers)
}

fn pattern(key: &str, text: &str) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    Regex::new(text).map(Some).map_err(|error| format!("`{key}`: {error}"))
}

fn codes(texts: &[String]) -> Result<Vec<RangeInclusive<u16>>, String> {
    if texts.is_empty() {
        return Err("`expected_codes` must name one: `[\"100-599\"]` is any".to_owned());
    }
    let all = texts.iter().map(|text| {
        code(text).ok_or_else(|| {
            format!("`expected_codes`: {text:?} is none of `204`, `2xx` and `200-299`, from 100 to 999")
        })
    });
    all.collect()
}

/// A code, a class or a range of codes.
fn code(text: &str) -> Option<RangeInclusive<u16>> {
    let one = |text: &str| text.trim().parse().ok().filter(|code| (100..=999).contains(code));
    if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        let class: u16 = class.parse().ok().filter(|class| (1..=9).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (one(low)?, one(high)?),
        None => (one(text)?, one(text)?),
    };
    (low <= high).then_some(low..=high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Settings)) -> Result<Plan, String> {
        let mut settings = Settings { url: "http://[::1]:80/x".to_owned(), ..Settings::default() };
        change(&mut settings);
        Plan::new(settings)
    }

    #[test]
    fn codes_classes_and_ranges_are_expected() {
        let plan = with(|settings| {
            settings.expected_codes = ["204", "3xx", "401-403"].map(str::to_owned).to_vec();
        })
        .unwrap();
        let expected: Vec<u16> = (100..=999).filter(|code| plan.expects(*code)).collect();
        let mut right = vec![204];
        right.extend(300..=399);
        right.extend(401..=403);
        assert_eq!(expected, right);
    }

    #[test]
    fn what_cannot_be_is_said_with_what_to_write() {
        let wrong = |change: fn(&mut Settings)| with(change).unwrap_err();
        for text in ["", "99", "1000", "xx", "0xx", "2x", "299-200", "two"] {
            assert!(code(text).is_none(), "{text}");
        }
        assert!(wrong(|s| s.expected_codes = vec!["ok".to_owned()]).contains("none of `204`"));
        assert!(wrong(|s| s.expected_codes.clear()).contains("100-599"));
        assert!(wrong(|s| s.url = "127.0.0.1:80".to_owned()).contains("http://127.0.0.1:8080/healthz"));
        assert!(wrong(|s| s.url = "/healthz".to_owned()).contains("no scheme"));
        assert!(wrong(|s| s.url = "http://a..b/".to_owned()).contains("no host"));
        assert!(wrong(|s| s.url = "ftp://x/".to_owned()).contains("only `http` and `https`"));
        assert!(wrong(|s| s.url = "http://me:secret@x/".to_owned()).contains("Authorization"));
        assert!(wrong(|s| s.method = "G T".to_owned()).contains("GET or HEAD"));
        assert!(wrong(|s| s.method = "CONNECT".to_owned()).contains("proxy"));
        assert!(wrong(|s| s.headers = vec!["Accept".to_owned()]).contains("`Name: value`"));
        assert!(wrong(|s| s.headers = vec!["Content-Length: 7".to_owned()]).contains("follows from"));
        assert!(wrong(|s| s.body_regex = "(".to_owned()).contains("`body_regex`"));
        assert!(wrong(|s| s.server_name = "a b".to_owned()).contains("`server_name`"));
        assert!(wrong(|s| s.authorities = "no pem".to_owned()).contains("`ca_file`"));
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let message = with(|s| s.headers = vec!["Authorization: se\ncret".to_owned()]).unwrap_err();
        assert!(message.contains("authorization") && !message.contains("cret"), "{message}");
    }

    #[test]
    fn headers_may_be_given_and_otherwise_are_ours() {
        let plan = with(|s| s.headers = vec!["user-agent: me".to_owned(), "Host: other".to_owned()]).unwrap();
        assert_eq!(plan.headers[header::USER_AGENT], "me");
        assert_eq!(plan.headers[header::HOST], "other");
        assert_eq!(plan.headers[header::CONNECTION], "close");
    }
}
