//! What a scrape asks for, as its request says it.

use std::time::Duration;

use hyper::{
    HeaderMap, Request,
    header::{ACCEPT, ACCEPT_ENCODING, AsHeaderName},
};

use crate::output::negotiate::{Format, gzip};

/// What a scraper asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Want {
    /// Format that it reads.
    pub format: Format,
    /// Whether it reads gzip.
    pub gzip: bool,
    /// How long it waits (`X-Prometheus-Scrape-Timeout-Seconds`).
    pub timeout: Option<Duration>,
    /// Inputs that it wants alone (`?collect[]=cpu&collect[]=loadavg`); empty for all.
    pub names: Vec<String>,
}

impl Want {
    /// What the head of a request asks for.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let timeout = texts(headers, "x-prometheus-scrape-timeout-seconds").next();
        Self {
            format: Format::negotiate(texts(headers, ACCEPT)),
            gzip: gzip(texts(headers, ACCEPT_ENCODING)),
            timeout: timeout
                .and_then(|seconds| Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok())
                .filter(|timeout| !timeout.is_zero()),
            names: collect(request.uri().query().unwrap_or_default()),
        }
    }
}

fn texts(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// Values of `collect[]`, as node_exporter takes them.
fn collect(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| decoded(key) == "collect[]").map(|(_, name)| decoded(name)).collect()
}

/// A query component without its percent signs; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%').then(|| digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2)))).flatten();
        let escape = escape.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        at += if escape.is_some() { 3 } else { 1 };
        out.push(escape.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everything_is_read_from_the_head() {
        let request = Request::get("/metrics?collect[]=cpu&x=1&collect%5B%5D=load%61vg")
            .header("Accept", "application/openmetrics-text")
            .header("Accept-Encoding", "gzip")
            .header("X-Prometheus-Scrape-Timeout-Seconds", "9.5")
            .body(())
            .unwrap();
        let want = Want {
            format: Format::OpenMetrics,
            gzip: true,
            timeout: Some(Duration::from_millis(9500)),
            names: vec!["cpu".into(), "loadavg".into()],
        };
        assert_eq!(Want::of(&request), want);
        assert_eq!(Want::of(&Request::get("/metrics").body(()).unwrap()), Want::default());
    }

    #[test]
    fn a_timeout_that_is_none_is_ignored() {
        for value in ["0", "-1", "NaN", "inf", "soon", "1e300"] {
            let request = Request::get("/metrics")
                .header("X-Prometheus-Scrape-Timeout-Seconds", value)
                .body(())
                .unwrap();
            assert_eq!(Want::of(&request).timeout, None, "{value}");
        }
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(["a%", "a%4", "a%zz", "%41+b"].map(decoded), ["a%", "a%4", "a%zz", "A b"]);
    }

    proptest! {
        #[test]
        fn any_query_is_read(query in "[a-z%=&\\[\\]0-9A-F]{0,40}") {
            collect(&query);
        }
    }
}
