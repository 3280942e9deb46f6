//! The extreme of the last so much time, from a ring of shorter spans: a peak stays in sight for at least that
//! time after it was, and at most a twelfth longer, however slow the scraper is.

use std::time::Duration;

/// Spans that the time is divided into.
const SPANS: usize = 12;

/// The smallest or largest value of the last so much time.
#[derive(Clone, Debug)]
pub(super) struct Rolling {
    largest: bool,
    /// Nanoseconds of one span; not 0.
    span: u64,
    /// Number of the span that values go to now.
    current: u64,
    /// The extreme of each span; NaN where there was nothing. One more, because the current one is not full.
    slots: [f64; SPANS + 1],
}

impl Rolling {
    pub(super) fn new(largest: bool, over: Duration) -> Self {
        let nanos = u64::try_from(over.as_nanos()).unwrap_or(u64::MAX);
        Self { largest, span: nanos.div_ceil(SPANS as u64).max(1), current: 0, slots: [f64::NAN; SPANS + 1] }
    }

    /// Forgets what is too old at this time, given in nanoseconds since a fixed moment.
    fn advance(&mut self, now: u64) {
        let number = now / self.span;
        if number <= self.current {
            return;
        }
        if number - self.current >= self.slots.len() as u64 {
            self.slots = [f64::NAN; SPANS + 1];
        } else {
            for gone in self.current + 1..=number {
                self.slots[slot(gone)] = f64::NAN;
            }
        }
        self.current = number;
    }

    pub(super) fn observe(&mut self, value: f64, now: u64) {
        self.advance(now);
        let kept = &mut self.slots[slot(self.current)];
        // NaN loses against any number.
        *kept = if self.largest { kept.max(value) } else { kept.min(value) };
    }

    /// The extreme, if there was any value.
    pub(super) fn value(&mut self, now: u64) -> Option<f64> {
        self.advance(now);
        let pick = if self.largest { f64::max } else { f64::min };
        let extreme = self.slots.iter().copied().fold(f64::NAN, pick);
        (!extreme.is_nan()).then_some(extreme)
    }
}

/// Where a span is kept.
fn slot(number: u64) -> usize {
    // Below the number of slots, which is small.
    usize::try_from(number % (SPANS as u64 + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_peak_stays_for_its_time_and_then_goes() {
        let mut rolling = Rolling::new(true, Duration::from_secs(12));
        rolling.observe(9.0, 500_000_000);
        rolling.observe(1.0, 5 * SECOND);
        assert_eq!(rolling.value(12 * SECOND), Some(9.0));
        assert_eq!(rolling.value(13 * SECOND), Some(1.0));
        assert_eq!(rolling.value(1_000 * SECOND), None);
    }

    proptest! {
        #[test]
        fn no_extreme_is_lost_and_none_stays_too_long(
            steps in proptest::collection::vec((0u64..4_000, -100i32..100), 1..60),
            largest: bool,
        ) {
            let mut rolling = Rolling::new(largest, Duration::from_micros(12));
            let (mut now, mut seen) = (0, Vec::new());
            for (step, value) in steps {
                now += step;
                rolling.observe(f64::from(value), now);
                seen.push((now, f64::from(value)));
                let extreme = |reach: u64| {
                    let young = seen.iter().filter(|(at, _)| now - at < reach).map(|(_, value)| *value);
                    young.fold(f64::NAN, if largest { f64::max } else { f64::min })
                };
                let found = rolling.value(now).unwrap();
                let (least, most) = (extreme(12_000), extreme(13_001));
                prop_assert!((least.min(most)..=least.max(most)).contains(&found));
            }
        }
    }
}
