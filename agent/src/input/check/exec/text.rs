//! The text format of Prometheus: one sample to a line.

use super::samples::Samples;

/// Takes the samples of a text. Each line that is neither a sample, a comment nor empty is counted.
pub(super) fn parse(text: &[u8]) -> Samples {
    let mut samples = Samples::default();
    for line in text.split(|&b| b == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else {
            samples.malformed += 1;
            continue;
        };
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match sample(line) {
            Some((name, labels, value)) => samples.add(name, labels, value),
            None => samples.malformed += 1,
        }
    }
    samples
}

type Labels = Vec<(String, String)>;

/// `name{label="value"} 1`. There is no place for a timestamp: it is now, or the value is not wanted.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (Vec::new(), rest),
    };
    Some((name, labels, value(rest.trim_start_matches([' ', '\t']))?))
}

/// The labels up to the brace, and what is after it.
fn labels(text: &str) -> Option<(Labels, &str)> {
    let blanks = [' ', '\t'];
    let mut labels = Vec::new();
    let mut rest = text.trim_start_matches(blanks);
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start_matches(blanks))?;
        labels.push((name.trim_end_matches(blanks).to_owned(), value));
        rest = after.trim_start_matches(blanks);
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start_matches(blanks),
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// A text in quotes, and what is after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.chars();
    let mut value = String::new();
    loop {
        value.push(match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            },
            c => c,
        });
    }
}

fn value(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        // The standard library knows more words than these.
        _ if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::soup;

    #[test]
    fn samples_are_lines() {
        let text = b"# HELP a A.\n# TYPE a counter\na 1\n\n  b{x=\"1\",y=\"2\"}\t-2.5e3 \r\nc{} +Inf\nd{ x = \"a\\\"\\\\\\n}\" , } NaN\ne 7";
        let samples = parse(text);
        assert_eq!((samples.malformed, samples.left_out), (0, 0));
        let list: Vec<_> = samples
            .list
            .iter()
            .map(|(series, value)| format!("{} {} {value}", series.name, series.labels))
            .collect();
        assert_eq!(list, ["a  1", "b x=1,y=2 -2500", "c  inf", "d x=a\"\\\\\n} NaN", "e  7"]);
    }

    #[test]
    fn what_is_no_sample_is_counted() {
        for line in [
            "a",
            "a ",
            "a b",
            "a 1 1700000000000",
            "a 0x10",
            "a infinity",
            "a nan",
            "a 1 # {x=\"1\"} 1",
            "1a 1",
            "{} 1",
            "a{ 1",
            "a{x} 1",
            "a{x=1} 1",
            "a{x=\"1} 1",
            "a{x=\"\\t\"} 1",
            "a{x=\"1\" y=\"2\"} 1",
            "a{,} 1",
            "a{x=\"1\"}",
            "a{x=\"1\"}{y=\"1\"} 1",
            "hello, world",
            "a{x=\"1\",x=\"2\"} 1",
            "\u{1}",
        ] {
            let samples = parse(line.as_bytes());
            assert_eq!((samples.malformed, samples.list.len()), (1, 0), "{line}");
        }
        assert_eq!(parse(b"\xff\xfe\na 1\n").malformed, 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_samples_or_counted(text in soup(&["a", "{", "}", "x=\"1\"", "\"", "\\", ",", "1e5", "#"])) {
            let samples = parse(&text);
            let lines = text.split(|&b| b == b'\n').count();
            prop_assert!(samples.list.len() <= 1000);
            prop_assert!(samples.list.len() + samples.malformed as usize + samples.left_out as usize <= lines);
        }
    }
}
