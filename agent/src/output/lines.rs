//! A page of the text format as JSON, an object per sample and line.

use std::io::Write as _;

use serde_json::{Value, json};

/// Appends `{"time":..,"pipeline":..,"name":..,"labels":{..},"value":..}` for every sample of a page. A value that
/// JSON has no number for is a string: `"NaN"`, `"+Inf"`, `"-Inf"`.
pub(super) fn append(page: &[u8], time: &str, pipeline: &str, out: &mut Vec<u8>) {
    let page = String::from_utf8_lossy(page);
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels, value)) = sample(line) else { continue };
        let number = value.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
        let value = number.map_or_else(|| Value::from(value), Value::Number);
        let object = json!({
            "time": time, "pipeline": pipeline, "name": name, "labels": labels, "value": value,
        });
        // Writing to memory cannot fail, nor can values be without a form.
        let _written = serde_json::to_writer(&mut *out, &object);
        let _ended = out.write_all(b"\n");
    }
}

/// Name, labels and value of a line `name{label="value",..} value`.
fn sample(line: &str) -> Option<(&str, serde_json::Map<String, Value>, &str)> {
    let (series, value) = line.rsplit_once(' ')?;
    let mut labels = serde_json::Map::new();
    let Some((name, mut rest)) = series.split_once('{') else { return Some((series, labels, value)) };
    while let Some((label, behind)) = rest.split_once("=\"") {
        let (text, behind) = unescaped(behind)?;
        labels.insert(label.trim_start_matches(',').to_owned(), text.into());
        rest = behind;
    }
    Some((name, labels, value))
}

/// The text before the next bare quote, without its escapes, and what comes behind that quote.
fn unescaped(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((out, text.get(at + 1..)?)),
            (_, '\\') => out.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_an_object() {
        let page = b"# HELP a A.\n# TYPE a gauge\na 1.5\nb{path=\"/a b\",q=\"x\\\"y\\\\z\\n,}\"} NaN\n\
            c_bucket{le=\"+Inf\"} 3\n";
        let mut out = Vec::new();
        append(page, "T", "p", &mut out);
        let objects: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = [
            json!({"time": "T", "pipeline": "p", "name": "a", "labels": {}, "value": 1.5}),
            json!({"time": "T", "pipeline": "p", "name": "b", "labels": {"path": "/a b", "q": "x\"y\\z\n,}"},
                "value": "NaN"}),
            json!({"time": "T", "pipeline": "p", "name": "c_bucket", "labels": {"le": "+Inf"}, "value": 3.0}),
        ];
        assert_eq!(objects, expected);
    }
}
