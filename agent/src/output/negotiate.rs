//! Which format and which encoding a scraper wants.

use mediatype::{MediaType, MediaTypeList, Name, ReadParams, names};

/// A format of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Length-delimited protobuf.
    Protobuf,
}

impl Format {
    /// The `Content-Type` of a page.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The best format that `Accept` headers name: highest q, then a type rather than a wildcard, then the
    /// first. Text when there is none.
    pub fn negotiate<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let mut best = (0.0, false);
        let mut chosen = Self::Text;
        for range in accept.into_iter().flat_map(MediaTypeList::new).filter_map(Result::ok) {
            let Some(format) = Self::of(&range) else { continue };
            let rank = (quality(param(&range, "q").as_deref()), range.ty != names::_STAR);
            if rank.0 > 0.0 && rank > best {
                (best, chosen) = (rank, format);
            }
        }
        chosen
    }

    /// The format that a media range asks for. Parameters that say nothing here, such as `escaping`, are
    /// tolerated: every name is a legacy name, which no scheme changes.
    fn of(range: &MediaType<'_>) -> Option<Self> {
        let is = |name, wanted| param(range, name).is_some_and(|value| value == wanted);
        let version = param(range, "version");
        // Names compare without regard to case.
        let named = |ty: &str, subty: &str| range.ty == ty && range.subty == subty && range.suffix.is_none();
        if named("application", "vnd.google.protobuf") {
            let wanted = is("proto", "io.prometheus.client.MetricFamily") && is("encoding", "delimited");
            wanted.then_some(Self::Protobuf)
        } else if named("application", "openmetrics-text") {
            // 1.0.0 is what 0.0.1 became, and what those who ask for that read.
            matches!(version.as_deref(), None | Some("0.0.1" | "1.0.0")).then_some(Self::OpenMetrics)
        } else if named("text", "plain") || named("text", "*") || named("*", "*") {
            Some(Self::Text)
        } else {
            None
        }
    }
}

/// Whether `Accept-Encoding` headers allow gzip. What is said of gzip counts more than a wildcard.
pub fn gzip<'a>(accept: impl IntoIterator<Item = &'a str>) -> bool {
    let (mut named, mut wildcard) = (None, None);
    for coding in accept.into_iter().flat_map(|header| header.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = quality(q) > 0.0;
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            named = Some(wanted);
        } else if name == "*" {
            wildcard = Some(wanted);
        }
    }
    named.or(wildcard).unwrap_or(false)
}

fn param(range: &MediaType<'_>, name: &str) -> Option<String> {
    let value = range.get_param(Name::new(name)?)?;
    Some(value.unquoted_str().into_owned())
}

/// A weight between 0 and 1; 1 when nothing is said, 0 when it is no number.
fn quality(q: Option<&str>) -> f64 {
    q.map_or(1.0, |q| q.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Format {
        Format::negotiate([accept])
    }

    /// Prometheus 2.42 and later 2.x, without native histograms.
    const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    /// The same with native histograms.
    const PROMETHEUS_2_NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
         application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    /// Prometheus 3.
    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    const PROMETHEUS_3_NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
         escaping=allow-utf-8;q=0.7,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    #[test]
    fn prometheus_gets_what_it_likes_best() {
        assert_eq!(of(PROMETHEUS_2), Format::OpenMetrics);
        assert_eq!(of(PROMETHEUS_2_NATIVE), Format::Protobuf);
        assert_eq!(of(PROMETHEUS_3), Format::OpenMetrics);
        assert_eq!(of(PROMETHEUS_3_NATIVE), Format::Protobuf);
    }

    #[test]
    fn others_get_text() {
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "application/json",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=nonsense",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "application/vnd.google.protobuf",
            ";;;,,,\"",
        ] {
            assert_eq!(of(accept), Format::Text, "{accept}");
        }
        assert_eq!(Format::negotiate([]), Format::Text);
    }

    #[test]
    fn order_case_and_wildcards_matter_as_they_should() {
        assert_eq!(of("*/*, application/openmetrics-text"), Format::OpenMetrics);
        assert_eq!(of("text/plain, application/openmetrics-text"), Format::Text);
        assert_eq!(of("Application/OpenMetrics-Text; Version=\"0.0.1\"; Q=0.3"), Format::OpenMetrics);
        let two = ["text/plain;q=0.2", "application/openmetrics-text;q=0.9"];
        assert_eq!(Format::negotiate(two), Format::OpenMetrics);
    }

    #[test]
    fn gzip_is_sent_to_those_who_allow_it() {
        for allowed in ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "x-gzip", "identity;q=0.1, *;q=0.3"] {
            assert!(gzip([allowed]), "{allowed}");
        }
        for refused in ["", "identity", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "br"] {
            assert!(!gzip([refused]), "{refused}");
        }
        assert!(!gzip([]));
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read(header in "[a-z*/;=,\"\\\\ .0-9]{0,60}|.{0,60}") {
            of(&header);
            gzip([header.as_str()]);
        }
    }
}
