//! The aligned clock: multiples of an interval since the Unix epoch, shifted by an offset.
//!
//! A schedule is plain data; who waits for it, on which clock, and what is missed is the engine's business.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Distance of the ticks; at least [`Self::SHORTEST`].
    pub interval: Duration,
    /// Their shift against multiples of the interval; below the interval.
    pub offset: Duration,
    /// Span over which pipelines of the same interval are spread, so that they do not all come at once: each
    /// is late by a share of it that follows from its name. What it stands for is not shifted by that. Zero
    /// spreads nothing; never more than the interval.
    pub spread: Duration,
}

impl Schedule {
    /// The shortest interval that is kept.
    pub const SHORTEST: Duration = Duration::from_millis(1);

    /// Every so often, spread over the whole interval.
    pub const fn every(interval: Duration) -> Self {
        Self { interval, offset: Duration::ZERO, spread: interval }
    }

    /// The same, exactly at an offset.
    pub const fn at(self, offset: Duration) -> Self {
        Self { offset, spread: Duration::ZERO, ..self }
    }

    /// By how much a pipeline of this name comes after the time that its tick stands for. The same name has the
    /// same share everywhere and for ever.
    pub fn delay(&self, key: &str) -> Duration {
        let span = self.spread.min(self.interval).as_nanos();
        let share = u128::from(stable_hash(key.as_bytes()));
        // Below the span, which is a number of nanoseconds in 64 bits for 584 years.
        Duration::from_nanos(u64::try_from((span * share) >> 64).unwrap_or(0))
    }

    /// The last tick at or before a time.
    pub fn aligned(&self, at: SystemTime) -> SystemTime {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(self.offset);
        let tick = since.as_nanos() / self.interval.as_nanos().max(1);
        let nanos = tick.saturating_mul(self.interval.as_nanos());
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX / 4);
        // The remainder is below 10^9.
        let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        UNIX_EPOCH + Duration::new(seconds, rest) + self.offset
    }
}

/// Evenly spread over all values, and the same in every version: a digest promises that, a hasher does not.
fn stable_hash(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN: Schedule =
        Schedule { interval: Duration::from_secs(7), offset: Duration::from_secs(2), spread: Duration::ZERO };

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn ticks_are_multiples_since_the_epoch() {
        assert_eq!(SEVEN.aligned(at(9_000)), at(9_000));
        assert_eq!(SEVEN.aligned(at(15_999)), at(9_000));
    }

    #[test]
    fn names_are_spread_evenly_and_always_the_same_way() {
        let schedule = Schedule::every(Duration::from_secs(1));
        // Not a number that may change: pipelines would move with an upgrade.
        assert_eq!(schedule.delay("loadavg").as_nanos(), 151_052_877);
        let mut tenths = [0; 10];
        for key in 0..1000 {
            let delay = schedule.delay(&format!("pipeline {key}"));
            assert!(delay < schedule.interval);
            tenths[usize::try_from(delay.as_millis()).unwrap() / 100] += 1;
        }
        assert!(tenths.iter().all(|&tenth| (60..140).contains(&tenth)), "{tenths:?}");
    }

    #[test]
    fn what_has_an_offset_or_no_span_is_not_spread() {
        let schedule = Schedule::every(Duration::from_secs(1));
        assert_eq!(schedule.at(Duration::from_millis(5)).delay("loadavg"), Duration::ZERO);
        let short = Schedule { spread: Duration::from_millis(10), ..schedule };
        assert!((0..100).all(|key| short.delay(&key.to_string()) < short.spread));
        let long = Schedule { spread: Duration::from_secs(60), ..schedule };
        assert!((0..100).all(|key| long.delay(&key.to_string()) < long.interval));
    }
}
