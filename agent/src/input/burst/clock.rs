//! What the clock of the run queues says, read without a system call.

use std::time::{Duration, Instant};

/// How long a comparison counts at least, and at most twice as long: the two clocks drift apart.
const WINDOW: Duration = Duration::from_secs(1);

/// Compares the clock that kernel programs stamp switches with to the one that collections are timed with.
///
/// A stamp is always older than the look at it. How much is never known, so of many comparisons the closest counts:
/// the one right after a switch, which a collection of a thread that has just been woken is.
#[derive(Debug, Default)]
pub(super) struct Clock {
    origin: Option<Instant>,
    /// When the present window began.
    began: Duration,
    /// By how much stamps are behind at most, in nanoseconds: in the window before and in the present one.
    before: Option<i128>,
    present: Option<i128>,
}

impl Clock {
    /// Compares: the newest stamp, and a time after it.
    pub(super) fn compare(&mut self, stamp: u64, seen: Instant) {
        let seen = seen.saturating_duration_since(*self.origin.get_or_insert(seen));
        if seen.saturating_sub(self.began) >= WINDOW {
            (self.began, self.before, self.present) = (seen, self.present, None);
        }
        let behind = nanos(seen) - i128::from(stamp);
        self.present = Some(self.present.map_or(behind, |least| least.min(behind)));
    }

    /// What a stamp of this time would be, at most a little too early; nothing before the first comparison.
    pub(super) fn at(&self, time: Instant) -> Option<u64> {
        let origin = self.origin?;
        let behind = self.present.into_iter().chain(self.before).min()?;
        let ahead = nanos(time.saturating_duration_since(origin));
        let past = nanos(origin.saturating_duration_since(time));
        u64::try_from(ahead - past - behind).ok()
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: u64 = 1_000_000_000_000;

    #[test]
    fn the_closest_comparison_counts_however_late_the_others_are() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut clock = Clock::default();
        assert_eq!(clock.at(start), None);
        // The first look is 3 ms late, the second one is not, the third again.
        clock.compare(STAMP, at(3));
        clock.compare(STAMP + 10_000_000, at(10));
        clock.compare(STAMP + 20_000_000, at(25));
        assert_eq!(clock.at(at(30)), Some(STAMP + 30_000_000));
        assert_eq!(clock.at(at(0)), Some(STAMP));
    }

    #[test]
    fn a_clock_that_fell_behind_is_followed_after_two_windows() {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.compare(STAMP, start);
        for second in 1..=3u64 {
            clock.compare(STAMP + second * 1_000_000_000 - 500, start + Duration::from_secs(second));
        }
        assert_eq!(clock.at(start + Duration::from_secs(3)), Some(STAMP + 3_000_000_000 - 500));
    }
}
