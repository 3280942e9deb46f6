//! Which target is next, and whether it may be checked already.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Targets that wait for their turn, and how many are being checked.
///
/// Those that were slow the last time have half of the places at most, so that dead ones, each of which takes its whole
/// time to be found dead, hold up nobody else.
#[derive(Debug)]
pub(super) struct Queue {
    quick: Lane,
    slow: Lane,
    most: usize,
    /// The least time between two starts.
    gap: Duration,
    /// When the next may start.
    gate: Option<Instant>,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeSet<(Instant, u64)>,
    flying: usize,
}

/// One that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// When it is due.
    pub(super) due: Instant,
    /// Which target.
    pub(super) seat: u64,
    /// Whether it was slow the last time.
    pub(super) is_slow: bool,
}

impl Queue {
    /// One for so many checks at once, and so many starts in a second; 0 is no limit.
    pub(super) fn new(most: usize, rate: f64) -> Self {
        let gap = if rate > 0.0 {
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX)
        } else {
            Duration::ZERO
        };
        Self { quick: Lane::default(), slow: Lane::default(), most: most.max(1), gap, gate: None }
    }

    fn lane(&mut self, is_slow: bool) -> &mut Lane {
        if is_slow { &mut self.slow } else { &mut self.quick }
    }

    pub(super) fn push(&mut self, turn: Turn) {
        self.lane(turn.is_slow).waiting.insert((turn.due, turn.seat));
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        self.lane(turn.is_slow).waiting.remove(&(turn.due, turn.seat));
    }

    /// Ends a check that was started in this lane.
    pub(super) fn landed(&mut self, is_slow: bool) {
        let lane = self.lane(is_slow);
        lane.flying = lane.flying.saturating_sub(1);
    }

    /// Whether one more of those that are slow may be started.
    fn has_room_for_slow(&self) -> bool {
        self.slow.flying < (self.most / 2).max(1)
    }

    /// The one that comes next, as far as there is room.
    fn first(&self) -> Option<Turn> {
        if self.quick.flying + self.slow.flying >= self.most {
            return None;
        }
        let turn =
            |lane: &Lane, is_slow| lane.waiting.first().map(|&(due, seat)| Turn { due, seat, is_slow });
        let slow = if self.has_room_for_slow() { turn(&self.slow, true) } else { None };
        match (turn(&self.quick, false), slow) {
            (Some(quick), Some(slow)) => Some(if slow.due < quick.due { slow } else { quick }),
            (quick, slow) => quick.or(slow),
        }
    }

    /// Takes the one that is to be started now, if any is.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Turn> {
        let turn = self.first().filter(|turn| turn.due <= now && self.gate.is_none_or(|gate| gate <= now))?;
        self.remove(turn);
        self.lane(turn.is_slow).flying += 1;
        if !self.gap.is_zero() {
            // By the rate, also when this one comes a little late; never to make up for a pause.
            let from =
                self.gate.filter(|gate| now.saturating_duration_since(*gate) < self.gap).unwrap_or(now);
            self.gate = from.checked_add(self.gap);
        }
        Some(turn)
    }

    /// When to look again; none while that depends on a check that ends.
    pub(super) fn wake(&self) -> Option<Instant> {
        let due = self.first()?.due;
        Some(self.gate.map_or(due, |gate| gate.max(due)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(due: Instant, seat: u64, is_slow: bool) -> Turn {
        Turn { due, seat, is_slow }
    }

    #[test]
    fn slow_ones_leave_room_for_others() {
        let now = Instant::now();
        let mut queue = Queue::new(4, 0.0);
        for seat in 0..8 {
            queue.push(turn(now, seat, seat < 6));
        }
        let started: Vec<u64> = std::iter::from_fn(|| queue.pop(now)).map(|turn| turn.seat).collect();
        assert_eq!(started, [6, 7, 0, 1]);
        assert_eq!(queue.wake(), None);
        queue.landed(true);
        assert_eq!(queue.pop(now).unwrap().seat, 2);
    }

    #[test]
    fn starts_keep_to_the_rate_and_make_up_for_nothing() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut queue = Queue::new(100, 10.0);
        (0..5).for_each(|seat| queue.push(turn(start, seat, false)));
        assert!(queue.pop(at(0)).is_some() && queue.pop(at(99)).is_none());
        assert_eq!(queue.wake(), Some(at(100)));
        assert!(queue.pop(at(150)).is_some() && queue.pop(at(199)).is_none());
        assert!(queue.pop(at(200)).is_some());
        assert!(queue.pop(at(1_000)).is_some() && queue.pop(at(1_000)).is_none());
    }
}
