//! The aligned clock: multiples of an interval since the Unix epoch, shifted by an offset.
//!
//! The wall clock only says where the multiples lie; waiting is done on the monotonic clock. A tick that
//! could not be taken is skipped and counted, never replayed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Distance of the ticks.
    pub interval: Duration,
    /// Their shift; below the interval.
    pub offset: Duration,
}

impl Schedule {
    /// The number of the last tick at or before a time.
    fn tick(&self, at: SystemTime) -> u128 {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(self.offset);
        since.as_nanos() / self.interval.as_nanos().max(1)
    }

    fn time(&self, tick: u128) -> SystemTime {
        let nanos = tick.saturating_mul(self.interval.as_nanos());
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX / 4);
        // The remainder is below 10^9.
        let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        UNIX_EPOCH + Duration::new(seconds, rest) + self.offset
    }

    /// The first tick after a time.
    pub fn next(&self, after: SystemTime) -> SystemTime {
        self.time(self.tick(after) + 1)
    }

    /// The tick that a collection at this time stands for.
    pub fn aligned(&self, at: SystemTime) -> SystemTime {
        self.time(self.tick(at))
    }

    /// Ticks that passed untaken between the one that was planned and now. A wall clock that was set back
    /// or forward by a lot has skipped no work: only what the monotonic clock saw pass is counted.
    pub fn missed(&self, late: Duration) -> u64 {
        u64::try_from(late.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN: Schedule = Schedule { interval: Duration::from_secs(7), offset: Duration::from_secs(2) };

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn ticks_are_multiples_since_the_epoch() {
        assert_eq!(SEVEN.next(at(0)), at(9_000));
        assert_eq!(SEVEN.next(at(8_999)), at(9_000));
        assert_eq!(SEVEN.next(at(9_000)), at(16_000));
        assert_eq!(SEVEN.aligned(at(15_999)), at(9_000));
    }

    #[test]
    fn missed_ticks_are_whole_intervals_of_lateness() {
        assert_eq!(SEVEN.missed(Duration::from_secs(6)), 0);
        assert_eq!(SEVEN.missed(Duration::from_secs(70)), 10);
    }
}
