//! Samples as JSON: objects in an array, or one after another.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Deserializer, Value};

use super::samples::Samples;

/// One sample.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Takes the samples of a text. What is no sample is counted; after what is no JSON there is nothing more.
pub(super) fn parse(text: &[u8]) -> Samples {
    let mut samples = Samples::default();
    for value in Deserializer::from_slice(text).into_iter() {
        match value {
            Ok(Value::Array(list)) => list.into_iter().for_each(|one| add(one, &mut samples)),
            Ok(one) => add(one, &mut samples),
            Err(_) => {
                samples.malformed += 1;
                break;
            }
        }
    }
    samples
}

fn add(value: Value, samples: &mut Samples) {
    match serde_json::from_value(value) {
        Ok(Sample { name, labels, value }) => samples.add(&name, labels.into_iter().collect(), value),
        Err(_) => samples.malformed += 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::soup;

    fn counts(text: &str) -> (usize, u32) {
        let samples = parse(text.as_bytes());
        (samples.list.len(), samples.malformed)
    }

    #[test]
    fn objects_stand_in_an_array_or_one_after_another() {
        let one = r#"{"name":"a","labels":{"y":"2","x":"1"},"value":-2.5}"#;
        let samples = parse(one.as_bytes());
        let (series, value) = &samples.list[0];
        assert_eq!((series.name.as_str(), series.labels.as_str(), *value), ("a", "x=1,y=2", -2.5));
        let two = r#"{"name":"b","value":1}"#;
        assert_eq!(counts(&format!("[{one}, {two}]")), (2, 0));
        assert_eq!(counts(&format!("{one}\n{two}\n")), (2, 0));
        assert_eq!(counts(""), (0, 0));
        assert_eq!(counts("[]"), (0, 0));
    }

    #[test]
    fn what_is_no_sample_is_counted() {
        for wrong in [
            r#"{"name":"a"}"#,
            r#"{"name":"a","value":"1"}"#,
            r#"{"name":"a","value":null}"#,
            r#"{"name":"a","value":1,"time":2}"#,
            r#"{"name":"a-b","value":1}"#,
            r#"{"name":"a","labels":{"x":1},"value":1}"#,
            r#"{"name":"a","labels":["x"],"value":1}"#,
            "7",
            "[[]]",
            "{",
            "nonsense",
        ] {
            assert_eq!(counts(wrong), (0, 1), "{wrong}");
        }
        assert_eq!(counts(r#"[{"name":"a","value":1},{"name":"a","value":2},7]"#), (1, 2));
        assert_eq!(counts(&"[".repeat(100_000)), (0, 1), "not as deep as it may go");
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(text in soup(&["{", "}", "[", "]", "\"name\"", ":", "\"value\"", "1", ",", "\"labels\""])) {
            parse(&text);
        }
    }
}
