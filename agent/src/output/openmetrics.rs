//! OpenMetrics 1.0.0.

use bytes::BytesMut;

use super::{layout::Layout, text};
use crate::accumulator::Frame;

/// What ends a page. Encoding leaves it to the caller, who may have more to append.
pub const END: &[u8] = b"# EOF\n";

/// Appends the live series of the frames, without [`END`]. The layout must have been made for them
/// ([`Layout::refresh`]). Values are in base units; a family without any value is left out.
pub fn encode(layout: &Layout, frames: &[&Frame], out: &mut BytesMut) {
    // Sample lines are the same as in the text format; what differs is in the heads.
    for group in layout.groups() {
        text::family(group, &group.openmetrics, frames, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    const GOLDEN: &str = r#"# HELP node_things Things, \\ and\nmore \"things\".
# TYPE node_things counter
node_things_total{path="/a b"} 3
node_things_total{path="q\"b\\s\nn"} 0.25
# HELP node_level_bytes Level.
# TYPE node_level_bytes gauge
# UNIT node_level_bytes bytes
node_level_bytes{side="left"} NaN
node_level_bytes{side="right"} +Inf
node_level_bytes{side="top"} -Inf
# HELP node_old Whatever.
# TYPE node_old unknown
node_old 9007199254740992.0
# HELP node_wait_seconds Waits.
# TYPE node_wait_seconds histogram
# UNIT node_wait_seconds seconds
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
}
