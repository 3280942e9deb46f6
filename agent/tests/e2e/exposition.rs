//! A small, strict reader of the text formats.

use std::collections::{BTreeMap, BTreeSet};

/// A page that could be read.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// Family name to type.
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) help: BTreeMap<String, String>,
    /// Every series in the page's order.
    pub(crate) series: Vec<Series>,
    /// Whether it said that it is complete, as OpenMetrics does.
    pub(crate) ended: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Exposition {
    /// Reads a page; the first line that breaks a rule panics.
    pub(crate) fn read(page: &str) -> Self {
        assert!(page.is_empty() || page.ends_with('\n'), "the last line has no end");
        let mut read = Self::default();
        let mut seen = BTreeSet::new();
        for line in page.lines() {
            assert!(!read.ended, "a line after the end: {line}");
            if line == "# EOF" {
                read.ended = true;
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert!(read.types.insert(name.into(), kind.into()).is_none(), "{name} has two types");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                read.help.insert(name.into(), help.into());
            } else if !line.starts_with("# UNIT ") {
                let series = series(line).unwrap_or_else(|| panic!("not a series: {line}"));
                let key = (series.name.clone(), format!("{:?}", series.labels));
                assert!(seen.insert(key), "twice: {line}");
                read.series.push(series);
            }
        }
        read
    }

    /// The value of the series with this name and at least these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |s: &&Series| {
            s.name == name && labels.iter().all(|(k, v)| s.labels.get(*k).is_some_and(|have| have == v))
        };
        self.series.iter().find(has).map(|series| series.value)
    }

    /// Whether there is a series of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name, &[]).is_some()
    }
}

fn series(line: &str) -> Option<Series> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ')?.replace("+Inf", "inf").parse().ok()?;
    Some(Series { name: name.into(), labels, value })
}

/// Reads `a="x",b="y"}` and gives back what follows.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(match chars.next()? {
                    'n' => '\n',
                    same @ ('\\' | '"') => same,
                    _ => return None,
                }),
                other => value.push(other),
            }
        }
        labels.insert(name.to_owned(), value);
        rest = chars.as_str();
        if let Some(end) = rest.strip_prefix('}') {
            return Some((labels, end));
        }
        rest = rest.strip_prefix(',')?;
    }
}

#[test]
fn the_reader_undoes_escapes_and_refuses_what_is_no_series() {
    let read = Exposition::read("# TYPE a gauge\na{x=\"1,\\\"}\\\\\\n\",y=\"\"} +Inf\nb 2\n");
    assert_eq!(read.value("a", &[("x", "1,\"}\\\n")]), Some(f64::INFINITY));
    assert_eq!(read.value("b", &[]), Some(2.0));
    for bad in ["1a 2", "a{x=\"1} 2", "a", "a x", "a{x=1} 2", "a{x=\"\\q\"} 2"] {
        assert_eq!(series(bad), None, "{bad}");
    }
}
