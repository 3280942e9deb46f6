//! Numbers of the text formats, and classic buckets of a native histogram.

use crate::accumulator::Histogram;
use bytes::BytesMut;

/// Whole numbers below this are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Appends a number as Prometheus reads it.
#[inline]
pub(super) fn float(value: f64, out: &mut BytesMut) {
    if value.fract() == 0.0 && value.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        let whole = value as i64;
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
}

/// Appends a number after what stands before it, and ends the line.
#[inline]
pub(super) fn line(before: &[u8], value: f64, out: &mut BytesMut) {
    out.extend_from_slice(before);
    float(value, out);
    out.extend_from_slice(b"\n");
}

/// Appends a count.
#[inline]
pub(super) fn count(value: u64, out: &mut BytesMut) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The cumulative counts at the classic bounds `2^first ..= 2^last`, in one walk over the slots.
pub(super) struct Classic<'a> {
    histogram: &'a Histogram,
    power: i32,
    /// Slots that are counted already.
    slots: usize,
    cumulative: u64,
}

impl<'a> Classic<'a> {
    pub(super) fn new(histogram: &'a Histogram) -> Self {
        Self { histogram, power: histogram.buckets.first, slots: 0, cumulative: histogram.zero }
    }

    /// Observations in all: the slots after the last bound are added.
    pub(super) fn total(self) -> u64 {
        self.cumulative + self.histogram.counts.iter().skip(self.slots).sum::<u64>()
    }
}

impl Iterator for Classic<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let buckets = &self.histogram.buckets;
        if self.power > buckets.last {
            return None;
        }
        // The native bucket whose upper bound is this power of two; slots up to it are within.
        let bucket = self.power << buckets.scale.schema();
        let end = usize::try_from(bucket - buckets.scale.offset() + 1).unwrap_or(0);
        if let Some(slots) = self.histogram.counts.get(self.slots..end.min(self.histogram.counts.len())) {
            self.cumulative += slots.iter().sum::<u64>();
            self.slots += slots.len();
        }
        self.power += 1;
        Some(self.cumulative)
    }
}

#[cfg(test)]
mod tests {
    use pitot_common::histogram::{SIZE_SLOTS, Scale};
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::Buckets;

    fn text(value: f64) -> String {
        let mut out = BytesMut::new();
        float(value, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_short() {
        let values = [0.0, -3.0, 0.5, 1e300, EXACT - 1.0, EXACT, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(
            values.map(text),
            ["0", "-3", "0.5", "1e300", "9007199254740991", "9007199254740992.0", "NaN", "+Inf", "-Inf"]
        );
    }

    proptest! {
        #[test]
        fn numbers_survive(value in any::<f64>()) {
            let parsed: f64 = text(value).parse().unwrap();
            // Zero loses its sign.
            prop_assert!(parsed.total_cmp(&(value + 0.0)).is_eq() || value.is_nan());
        }

        #[test]
        fn classic_buckets_hold_what_is_at_most_their_bound(
            values in prop::collection::vec(any::<u32>(), 0..200),
            shift in 0u32..32,
        ) {
            let buckets = Buckets { scale: Scale::Bytes, slots: SIZE_SLOTS, first: 3, last: 20 };
            let mut histogram = Histogram::new(buckets);
            let values: Vec<u64> = values.iter().map(|v| u64::from(v >> shift)).collect();
            for &value in &values {
                histogram.observe(value);
            }
            let mut classic = Classic::new(&histogram);
            for power in 3..=20 {
                let within = values.iter().filter(|&&v| v <= 1 << power).count() as u64;
                prop_assert_eq!(classic.next(), Some(within));
            }
            prop_assert_eq!(classic.next(), None);
            prop_assert_eq!(classic.total(), histogram.count());
        }
    }
}
