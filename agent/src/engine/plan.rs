//! Who is due when: plain data without a clock, a timer or a thread.
//!
//! The monotonic clock drives: a tick is due at an instant. The wall clock only says where the ticks lie, so
//! it is asked at every tick and whenever somebody looks. Where it has been set, or the machine was asleep, the
//! next ticks are laid out anew. What passed on the monotonic clock and was not taken is missed: counted, never
//! made up for.

#[cfg(test)]
mod tests;

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::pipeline::Schedule;

/// A wall clock that is off by so much since the last look has been set: nobody slews it that fast.
const STEP: i64 = 100_000_000;

/// What both clocks show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) mono: Instant,
    pub(super) wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { mono: Instant::now(), wall: SystemTime::now() }
    }
}

/// A tick that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tick<K> {
    pub(super) key: K,
    /// The time that it stands for.
    pub(super) aligned: SystemTime,
    /// When it was due.
    pub(super) due: Instant,
    /// Ticks before it that passed untaken.
    pub(super) missed: u64,
}

/// Ticks of one schedule by number. All times are nanoseconds; of the wall clock, since the epoch.
#[derive(Clone, Copy, Debug)]
struct Beat {
    interval: i64,
    offset: i64,
    delay: i64,
}

impl Beat {
    /// When a tick is due.
    fn time(self, tick: i64) -> i64 {
        tick.saturating_mul(self.interval).saturating_add(self.offset + self.delay)
    }

    /// What it stands for.
    fn aligned(self, tick: i64) -> SystemTime {
        let nanos = tick.saturating_mul(self.interval).saturating_add(self.offset);
        let span = Duration::from_nanos(nanos.unsigned_abs());
        let time = if nanos < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
        time.unwrap_or(UNIX_EPOCH)
    }

    /// The last tick that is due at or before a time.
    fn last(self, wall: i64) -> i64 {
        wall.saturating_sub(self.offset + self.delay).div_euclid(self.interval)
    }
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    beat: Beat,
    /// Its next tick, and when that is due.
    tick: i64,
    due: Instant,
    /// When it last was taken, or put here.
    since: Instant,
}

impl<K> Entry<K> {
    /// Lays the next tick out anew: the first one by the wall clock. Still, a clock that is set back again and again
    /// holds nobody off for more than two intervals.
    fn align(&mut self, now: Moment) {
        let wall = nanos(now.wall);
        self.tick = self.beat.last(wall) + 1;
        let latest = after(self.since, self.beat.interval.saturating_mul(2));
        self.due = after(now.mono, self.beat.time(self.tick) - wall).min(latest);
    }
}

/// The earliest one is the greatest.
impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<K> Eq for Entry<K> {}

/// Everybody's next tick.
#[derive(Debug)]
pub(super) struct Plan<K> {
    heap: BinaryHeap<Entry<K>>,
    /// What the clocks showed at the last look.
    seen: Option<Moment>,
}

impl<K> Default for Plan<K> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), seen: None }
    }
}

impl<K: Clone> Plan<K> {
    /// Plans the ticks of a schedule, from the next one on, each by `delay` after what it stands for.
    pub(super) fn put(&mut self, key: K, schedule: Schedule, delay: Duration, now: Moment) {
        self.look(now);
        let beat = Beat {
            interval: span(schedule.interval).max(1),
            offset: span(schedule.offset),
            delay: span(delay),
        };
        let mut entry = Entry { key, beat, tick: 0, due: now.mono, since: now.mono };
        entry.align(now);
        self.heap.push(entry);
    }

    /// Forgets those that are not to be kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.heap.retain(|entry| keep(&entry.key));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// When the first one is due, by what was known at the last look.
    pub(super) fn first(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.due)
    }

    /// When the first one is due.
    pub(super) fn next_due(&mut self, now: Moment) -> Option<Instant> {
        self.look(now);
        self.first()
    }

    /// Takes a tick that is due, if there is one. Each is taken once, whatever passed since it was due.
    pub(super) fn take(&mut self, now: Moment) -> Option<Tick<K>> {
        let mut entry = self.heap.peek_mut()?;
        if entry.due > now.mono {
            return None;
        }
        let (beat, wall) = (entry.beat, nanos(now.wall));
        let late = span(now.mono - entry.due);
        let missed = late / beat.interval;
        let drift = wall - beat.time(entry.tick).saturating_add(late);
        // As long as the clock is only slewed, ticks are counted: a clock that is a little behind has not reached
        // the one that is due, and would show it a second time.
        let by_count = if drift.abs() <= beat.interval / 2 { entry.tick + missed } else { i64::MIN };
        let tick = beat.last(wall).max(by_count);
        let due = after(entry.due, missed * beat.interval);
        let taken =
            Tick { key: entry.key.clone(), aligned: beat.aligned(tick), due, missed: missed.unsigned_abs() };
        entry.tick = tick + 1;
        entry.due = after(now.mono, beat.time(tick + 1) - wall);
        entry.since = now.mono;
        Some(taken)
    }

    /// Lays everybody's next tick out anew when the wall clock has been set since the last look. Who is due already
    /// stays so.
    fn look(&mut self, now: Moment) {
        let Some(before) = self.seen.replace(now) else { return };
        let passed = span(now.mono.saturating_duration_since(before.mono));
        let drift = nanos(now.wall).saturating_sub(nanos(before.wall)).saturating_sub(passed);
        if drift.abs() <= STEP {
            return;
        }
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        for entry in entries.iter_mut().filter(|entry| entry.due > now.mono) {
            entry.align(now);
        }
        self.heap = entries.into();
    }
}

/// Nanoseconds; saturates after 292 years.
fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX / 4)
}

fn nanos(wall: SystemTime) -> i64 {
    wall.duration_since(UNIX_EPOCH).map_or_else(|before| -span(before.duration()), span)
}

/// An instant by so many nanoseconds later, or earlier.
fn after(instant: Instant, nanos: i64) -> Instant {
    let span = Duration::from_nanos(nanos.unsigned_abs());
    let moved = if nanos < 0 { instant.checked_sub(span) } else { instant.checked_add(span) };
    moved.unwrap_or(instant)
}
