//! Text format 0.0.4 of Prometheus.

use bytes::BytesMut;

use super::{
    layout::{Group, Layout},
    number::{self, Classic},
};
use crate::accumulator::{Frame, Histogram, HistogramLines, Value};

/// Appends the live series of the frames. The layout must have been made for them
/// ([`Layout::refresh`]). Values are in base units; a family without any value is left out.
pub fn encode(layout: &Layout, frames: &[&Frame], out: &mut BytesMut) {
    for group in layout.groups() {
        family(group, &group.text, frames, out);
    }
}

/// Appends a family after its head.
pub(super) fn family(group: &Group, head: &[u8], frames: &[&Frame], out: &mut BytesMut) {
    let mut head = Some(head);
    for member in &group.members {
        let Some((frame, value)) = member.live(frames) else { continue };
        if let Some(head) = head.take() {
            out.extend_from_slice(head);
        }
        match value {
            Value::Number(value) => number::line(member.line(frame), value, out),
            Value::Histogram(value) => {
                // Its lines are there: both come from the definition's kind.
                if let Some(lines) = member.series(frame).rendered().histogram() {
                    histogram(lines, value, out);
                }
            }
        }
    }
}

fn histogram(lines: &HistogramLines, value: &Histogram, out: &mut BytesMut) {
    let Some((infinite, finite)) = lines.buckets.split_last() else { return };
    let mut classic = Classic::new(value);
    for (line, cumulative) in finite.iter().zip(&mut classic) {
        count(line, cumulative, out);
    }
    let total = classic.total();
    count(infinite, total, out);
    number::line(&lines.sum, value.sum(), out);
    count(&lines.count, total, out);
}

fn count(line: &[u8], value: u64, out: &mut BytesMut) {
    out.extend_from_slice(line);
    number::count(value, out);
    out.extend_from_slice(b"\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    /// What `promtool check metrics` accepts.
    const GOLDEN: &str = r#"# HELP node_things_total Things, \\ and\nmore "things".
# TYPE node_things_total counter
node_things_total{path="/a b"} 3
node_things_total{path="q\"b\\s\nn"} 0.25
# HELP node_level_bytes Level.
# TYPE node_level_bytes gauge
node_level_bytes{side="left"} NaN
node_level_bytes{side="right"} +Inf
node_level_bytes{side="top"} -Inf
# HELP node_old Whatever.
# TYPE node_old untyped
node_old 9007199254740992.0
# HELP node_wait_seconds Waits.
# TYPE node_wait_seconds histogram
node_wait_seconds_bucket{cpu="0",le="0.25"} 2
node_wait_seconds_bucket{cpu="0",le="0.5"} 3
node_wait_seconds_bucket{cpu="0",le="1.0"} 5
node_wait_seconds_bucket{cpu="0",le="2.0"} 5
node_wait_seconds_bucket{cpu="0",le="+Inf"} 6
node_wait_seconds_sum{cpu="0"} 10.5
node_wait_seconds_count{cpu="0"} 6
"#;

    #[test]
    fn every_kind_is_written() {
        let store = fixture::every_kind();
        let mut layout = Layout::default();
        layout.refresh(&[store.frame()]);
        let mut out = BytesMut::new();
        encode(&layout, &[store.frame()], &mut out);
        assert_eq!(String::from_utf8_lossy(&out), GOLDEN);
    }

    #[test]
    fn what_has_no_value_has_no_head() {
        let mut store = fixture::every_kind();
        store.withdraw();
        let mut layout = Layout::default();
        layout.refresh(&[store.frame()]);
        let mut out = BytesMut::new();
        encode(&layout, &[store.frame()], &mut out);
        assert_eq!(out, "");
    }
}
