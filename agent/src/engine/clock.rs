//! The CPU time of the thread that reads it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Cuts the CPU time of its thread into laps: what is done in turns takes one reading each, not two.
///
/// The kernel counts a thread's time in nanoseconds, but tells user from system time by where the timer's
/// ticks fall: that says nothing about a collection of some microseconds, so there is one sum.
pub(super) struct CpuClock {
    last: Duration,
}

impl CpuClock {
    pub(super) fn new() -> Self {
        Self { last: now() }
    }

    /// What was used since the last lap.
    pub(super) fn lap(&mut self) -> Duration {
        let now = now();
        now.saturating_sub(std::mem::replace(&mut self.last, now))
    }
}

/// Every kernel that pitot runs on has this clock; without it, nothing is counted.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_is_counted_and_waiting_is_not() {
        let mut clock = CpuClock::new();
        let mut worked = Duration::ZERO;
        while worked < Duration::from_millis(5) {
            worked += clock.lap();
        }
        let start = Instant::now();
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(clock.lap() < start.elapsed() / 2);
    }
}
