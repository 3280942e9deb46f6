//! How schedules are kept: by each pipeline, and by the lane that runs it.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use pitot_common::histogram::{Scale, TIME_SLOTS};

use crate::{accumulator::Histogram, catalogue::Buckets};

/// How a pipeline keeps its schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Distance of its ticks as it was asked for.
    pub(crate) interval: Duration,
    /// Ticks that were taken.
    pub(crate) ticks: u64,
    /// Ticks that were not.
    pub(crate) skipped: u64,
    /// Time between the last two collections.
    pub(crate) distance: Option<Duration>,
    /// How long after its time a collection began, at the worst.
    pub(crate) worst: Peak,
    /// When the last one began.
    pub(crate) last: Option<Instant>,
}

impl Pace {
    /// Notes a collection that began so late.
    pub(crate) fn tick(&mut self, began: Instant, late: Duration) {
        self.ticks += 1;
        self.distance = self.last.map(|last| began.saturating_duration_since(last));
        self.last = Some(began);
        self.worst.note(began, late);
    }
}

/// The worst of the last minute or two: one that is kept for ever says little about today.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    now: Duration,
    before: Duration,
    since: Option<Instant>,
}

impl Peak {
    const SPAN: Duration = Duration::from_secs(60);

    fn note(&mut self, at: Instant, value: Duration) {
        match self.since.map(|since| at.saturating_duration_since(since)) {
            Some(age) if age < Self::SPAN => self.now = self.now.max(value),
            age => {
                let recent = age.is_some_and(|age| age < Self::SPAN * 2);
                self.before = if recent { self.now } else { Duration::ZERO };
                (self.now, self.since) = (value, Some(at));
            }
        }
    }

    /// The worst.
    pub(crate) fn get(self) -> Duration {
        self.now.max(self.before)
    }
}

/// How a lane keeps the schedules of its pipelines.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Which.
    pub(crate) name: &'static str,
    /// How long after their time collections began.
    pub(crate) lateness: Histogram,
}

impl Lane {
    /// Buckets of [`Self::lateness`].
    pub(crate) const LATENESS: Buckets =
        Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -20, last: 4 };

    /// One that nobody runs in yet.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, lateness: Histogram::new(Self::LATENESS) }
    }
}

/// Where the agent's own input finds the lanes.
static LANES: Mutex<Vec<Weak<Mutex<Lane>>>> = Mutex::new(Vec::new());

/// Puts a lane on the board.
pub(crate) fn open_lane(name: &'static str) -> Arc<Mutex<Lane>> {
    let shared = Arc::new(Mutex::new(Lane::new(name)));
    let mut lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
    lanes.retain(|other| other.strong_count() > 0);
    lanes.push(Arc::downgrade(&shared));
    shared
}

/// Visits every lane that something ran in.
pub(crate) fn for_each_lane(mut visit: impl FnMut(&Lane)) {
    let lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
    for lane in lanes.iter().filter_map(Weak::upgrade) {
        let lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
        if lane.lateness.count() > 0 {
            visit(&lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_remembered_for_a_minute_or_two() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut peak = Peak::default();
        peak.note(start, second * 5);
        peak.note(start + second * 59, second);
        assert_eq!(peak.get(), second * 5);
        peak.note(start + second * 61, second);
        assert_eq!(peak.get(), second * 5);
        peak.note(start + second * 122, second * 2);
        assert_eq!(peak.get(), second * 2);
        // Nothing came for long: what was before is old.
        peak.note(start + second * 1000, second);
        assert_eq!(peak.get(), second);
    }

    #[test]
    fn a_distance_is_known_from_the_second_tick_on() {
        let (start, millis) = (Instant::now(), Duration::from_millis);
        let mut pace = Pace::default();
        pace.tick(start, millis(1));
        assert_eq!((pace.ticks, pace.distance), (1, None));
        pace.tick(start + millis(30), millis(7));
        assert_eq!((pace.ticks, pace.distance, pace.worst.get()), (2, Some(millis(30)), millis(7)));
    }
}
