//! What a series looks like outside, rendered once at its birth.

use bytes::Bytes;
use prost::encoding::{WireType, decode_varint, encode_key, encode_varint};

use super::Labels;
use crate::catalogue::{Buckets, Kind};

/// Everything of a series' exposition that does not change.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    /// `name{labels} ` of a plain series.
    line: Bytes,
    /// Lines of a histogram.
    histogram: Option<Box<HistogramLines>>,
    /// The labels as `LabelPair` messages of the protobuf format, each with its key and length.
    proto_labels: Bytes,
}

/// What stands before the values of a histogram's lines.
#[derive(Debug)]
pub(crate) struct HistogramLines {
    /// The `_bucket` lines, `+Inf` last.
    pub(crate) buckets: Vec<Bytes>,
    pub(crate) sum: Bytes,
    pub(crate) count: Bytes,
}

impl Rendered {
    pub(super) fn new(name: &str, kind: Kind, labels: &Labels<'_>) -> Self {
        let mut text = String::new();
        let mut proto = Vec::new();
        for (label, value) in labels {
            push_label(&mut text, label, value);
            push_pair(&mut proto, label, value);
        }
        let mut rendered = Self { proto_labels: proto.into(), ..Self::default() };
        match kind {
            Kind::Histogram(buckets) => {
                rendered.histogram = Some(Box::new(histogram_lines(name, &text, buckets)));
            }
            _ => rendered.line = line(name, "", &text),
        }
        rendered
    }

    /// `name{labels} ` of a plain series.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }

    /// The lines of a histogram.
    pub(crate) fn histogram(&self) -> Option<&HistogramLines> {
        self.histogram.as_deref()
    }

    /// The labels in protobuf.
    pub(crate) fn proto_labels(&self) -> &[u8] {
        &self.proto_labels
    }

    /// Names and values of the labels.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.proto_labels;
        std::iter::from_fn(move || {
            let mut pair = field(&mut rest)?;
            let (name, value) = (field(&mut pair)?, field(&mut pair)?);
            Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?))
        })
    }

    /// What tells this series from others of its family.
    pub(crate) fn identity(&self) -> &[u8] {
        &self.proto_labels
    }
}

/// `le` of the classic bucket `2^power`, as Go and OpenMetrics write it.
pub(crate) fn bound(power: i32) -> String {
    let value = 2f64.powi(power);
    if value >= 1.0 { format!("{value:.1}") } else { ryu::Buffer::new().format_finite(value).to_owned() }
}

fn histogram_lines(name: &str, labels: &str, buckets: Buckets) -> HistogramLines {
    let bucket = |le: &str| {
        let mut all = labels.to_owned();
        push_label(&mut all, "le", le);
        line(name, "_bucket", &all)
    };
    let mut lines: Vec<Bytes> = (buckets.first..=buckets.last).map(|power| bucket(&bound(power))).collect();
    lines.push(bucket("+Inf"));
    HistogramLines { buckets: lines, sum: line(name, "_sum", labels), count: line(name, "_count", labels) }
}

fn line(name: &str, suffix: &str, labels: &str) -> Bytes {
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    Bytes::from(format!("{name}{suffix}{braces} "))
}

fn push_label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A `LabelPair { name = 1, value = 2 }` in field 1 of its metric.
fn push_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut pair = Vec::new();
    for (tag, text) in [(1, name), (2, value)] {
        encode_key(tag, WireType::LengthDelimited, &mut pair);
        encode_varint(text.len() as u64, &mut pair);
        pair.extend_from_slice(text.as_bytes());
    }
    encode_key(1, WireType::LengthDelimited, out);
    encode_varint(pair.len() as u64, out);
    out.extend_from_slice(&pair);
}

/// Takes the next length-delimited field off a message.
fn field<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    decode_varint(message).ok()?;
    let len = usize::try_from(decode_varint(message).ok()?).ok()?;
    let (head, rest) = message.split_at_checked(len)?;
    *message = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_and_can_be_read_back() {
        let labels = vec![("path", "a\"b\\c\nd".into()), ("empty", "".into())];
        let rendered = Rendered::new("m", Kind::Gauge, &labels);
        assert_eq!(rendered.line(), br#"m{path="a\"b\\c\nd",empty=""} "#);
        let read: Vec<_> = rendered.labels().collect();
        assert_eq!(read, [("path", "a\"b\\c\nd"), ("empty", "")]);
    }

    #[test]
    fn bounds_are_canonical() {
        assert_eq!([bound(-20), bound(-1), bound(0), bound(4)], ["9.5367431640625e-7", "0.5", "1.0", "16.0"]);
    }
}
