//! Samples that a program has printed, as far as they are well formed and not too many.

use std::collections::HashSet;

/// Samples that are taken.
pub(super) const MOST: u32 = 1000;
/// Bytes of names and labels in all, so that the response fits.
const BYTES: usize = 200 << 10;
const LONGEST_NAME: usize = 128;
const LONGEST_LABELS: usize = 512;

/// What was printed.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) list: Vec<(Series, f64)>,
    /// Lines or objects that make no sense.
    pub(super) malformed: u32,
    /// Samples that make sense and are too many or too long.
    pub(super) left_out: u32,
    known: HashSet<Series>,
    bytes: usize,
}

/// What a sample is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Series {
    pub(super) name: String,
    /// As one text, in the order of their names: `a=x,b=y`.
    pub(super) labels: String,
}

impl Samples {
    /// Takes a sample, or counts why not.
    pub(super) fn add(&mut self, name: &str, mut labels: Vec<(String, String)>, value: f64) {
        labels.sort_unstable();
        let twice = labels.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let reserved = |name: &str| name.starts_with("__");
        let wrong = labels.iter().any(|(label, _)| !is_label_name(label) || reserved(label));
        if twice || wrong || !is_metric_name(name) {
            self.malformed += 1;
            return;
        }
        let series = Series { name: name.to_owned(), labels: flat(&labels) };
        if self.known.contains(&series) {
            self.malformed += 1;
            return;
        }
        let bytes = series.name.len() + series.labels.len();
        let long = series.name.len() > LONGEST_NAME || series.labels.len() > LONGEST_LABELS;
        if long || self.list.len() == MOST as usize || self.bytes + bytes > BYTES {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes;
        self.known.insert(series.clone());
        self.list.push((series, value));
    }
}

/// An empty label is none. A comma in a value is marked, so that the text can be taken apart again.
fn flat(labels: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push('=');
        for c in value.chars() {
            if matches!(c, ',' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
    }
    text
}

fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':')
}

fn is_metric_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn labels_are_one_text_in_one_order() {
        let mut samples = Samples::default();
        samples.add("a", labels(&[("b", "x,y\\"), ("a", "1=2"), ("c", "")]), 1.0);
        samples.add("a", labels(&[("a", "1=2"), ("b", "x,y\\")]), 2.0);
        let series = Series { name: "a".into(), labels: "a=1=2,b=x\\,y\\\\".into() };
        assert_eq!(samples.list, [(series, 1.0)]);
        assert_eq!(samples.malformed, 1, "the same series again");
    }

    #[test]
    fn names_are_those_of_prometheus() {
        let mut samples = Samples::default();
        for name in ["", "1a", "a-b", "ä", "a b"] {
            samples.add(name, Vec::new(), 1.0);
        }
        for label in ["", "1a", "a:b", "__name__"] {
            samples.add("a", labels(&[(label, "x")]), 1.0);
        }
        samples.add("a", labels(&[("x", "1"), ("x", "2")]), 1.0);
        assert_eq!((samples.malformed, samples.list.len()), (10, 0));
        samples.add("a:b_9", labels(&[("_x", "1")]), 1.0);
        assert_eq!(samples.list.len(), 1);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut samples = Samples::default();
        samples.add(&"x".repeat(129), Vec::new(), 1.0);
        samples.add("x", labels(&[("a", &"y".repeat(511))]), 1.0);
        assert_eq!(samples.left_out, 2);
        for at in 0..1010 {
            samples.add(&format!("a{at}"), Vec::new(), 1.0);
        }
        assert_eq!((samples.list.len(), samples.left_out), (1000, 12));
        let mut samples = Samples::default();
        for at in 0..1000 {
            samples.add(&format!("a{at}"), labels(&[("a", &"y".repeat(500))]), 1.0);
        }
        assert!(samples.left_out > 0 && samples.bytes <= BYTES);
    }
}
