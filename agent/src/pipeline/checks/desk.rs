//! All targets of a pipeline: whom to check next, and what was found.
//!
//! A machine without clock, thread or helper: it is told the time, what runs on the host and how checks ended, and says
//! what is to be started. No target is checked twice at once, also when it goes and comes back meanwhile.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{plan::Plan, queue::Queue, seat::Seat, targets::find};
use crate::{
    accumulator::Accumulator,
    container::Snapshot,
    input::{
        Overdue,
        check::{HelperError, Request},
    },
    pod::Target,
};

/// Targets that are shown one by one.
const SHOWN: usize = 100;

/// All targets of a pipeline.
pub(super) struct Desk {
    plan: Plan,
    seats: BTreeMap<u64, Seat>,
    by_identity: HashMap<String, u64>,
    queue: Queue,
    /// Where places within the interval are counted from.
    origin: Instant,
    next_seat: u64,
    stage: Stage,
    /// Nobody finds out what runs on the host.
    pub(super) is_alone: bool,
    pub(super) overdue: Overdue,
    /// Targets past the limit, or with the labels of another.
    left_out: usize,
}

/// What has become of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not been told what runs on the host.
    New,
    /// Its targets are by another plan.
    Replanned,
    /// It has the targets that there are.
    Settled,
    /// Another one has taken over.
    Closed,
}

/// A check that is to be started.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) ticket: Ticket,
    pub(super) target: Target,
    pub(super) request: Request,
}

/// What a check that ends is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    seat: u64,
    version: u64,
    is_slow: bool,
    started: Instant,
    timeout: Duration,
}

impl Desk {
    /// One without targets.
    pub(super) fn new(plan: Plan, origin: Instant) -> Self {
        Self {
            queue: Queue::new(plan.concurrency, plan.rate),
            plan,
            seats: BTreeMap::new(),
            by_identity: HashMap::new(),
            origin,
            next_seat: 0,
            stage: Stage::New,
            is_alone: false,
            overdue: Overdue::default(),
            left_out: 0,
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes over what an earlier one knew of its targets. Checks that it had under way are lost with it.
    pub(super) fn take_over(&mut self, old: &mut Self) {
        let stage = std::mem::replace(&mut old.stage, Stage::Closed);
        if !std::ptr::eq(self.plan.def, old.plan.def) {
            return;
        }
        (self.origin, self.overdue, self.next_seat) = (old.origin, old.overdue, old.next_seat);
        if stage != Stage::New {
            self.stage = Stage::Replanned;
        }
        for (id, mut seat) in std::mem::take(&mut old.seats) {
            if seat.is_gone {
                continue;
            }
            if seat.flight.take().is_some() {
                // It is done again.
                seat.version += 1;
            }
            self.queue.push(seat.turn(id));
            self.by_identity.insert(seat.found.identity.clone(), id);
            self.seats.insert(id, seat);
        }
        old.by_identity.clear();
    }

    /// Takes what runs on the host: new targets are due at once, those that are gone are forgotten.
    pub(super) fn settle(&mut self, snapshot: &Snapshot, now: Instant) {
        if self.stage == Stage::Closed {
            return;
        }
        let is_other_plan = std::mem::replace(&mut self.stage, Stage::Settled) == Stage::Replanned;
        let targets = find(&self.plan, snapshot);
        self.left_out = targets.left_out;
        let mut here = HashSet::with_capacity(targets.found.len());
        for found in targets.found {
            let Some(&id) = self.by_identity.get(&found.identity) else {
                let id = self.next_seat;
                self.next_seat += 1;
                self.by_identity.insert(found.identity.clone(), id);
                let seat = Seat::new(&self.plan, found, now);
                self.queue.push(seat.turn(id));
                self.seats.insert(id, seat);
                here.insert(id);
                continue;
            };
            here.insert(id);
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            let before = seat.turn(id);
            let was_gone = seat.is_gone;
            if seat.update(&self.plan, found, is_other_plan) || was_gone {
                seat.due = now;
            } else if is_other_plan && seat.due > now {
                let from = now.checked_sub(self.plan.schedule.interval / 2).unwrap_or(now);
                seat.schedule(&self.plan, self.origin, from, now);
            }
            // One that is being checked waits again when that has ended.
            if seat.flight.is_none() {
                self.queue.remove(before);
                self.queue.push(seat.turn(id));
            }
        }
        let gone: Vec<u64> = self.seats.keys().filter(|id| !here.contains(id)).copied().collect();
        for id in gone {
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            if seat.flight.is_some() {
                seat.is_gone = true;
                continue;
            }
            self.queue.remove(seat.turn(id));
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(seat) = self.seats.remove(&id) {
            self.by_identity.remove(&seat.found.identity);
        }
    }

    /// The next check that is to be started now, if any is. What cannot be asked at all is answered here.
    pub(super) fn next(&mut self, now: Instant) -> Option<Flight> {
        loop {
            let turn = self.queue.pop(now)?;
            let Some(seat) = self.seats.get_mut(&turn.seat) else {
                self.queue.landed(turn.is_slow);
                continue;
            };
            match seat.request(self.plan.network_mode) {
                Ok((target, request)) => {
                    seat.flight = Some(now);
                    let ticket = Ticket {
                        seat: turn.seat,
                        version: seat.version,
                        is_slow: turn.is_slow,
                        started: now,
                        timeout: request.timeout,
                    };
                    return Some(Flight { ticket, target, request });
                }
                Err(error) => {
                    self.queue.landed(turn.is_slow);
                    seat.answer(Err(error), now, now, Duration::ZERO);
                    self.overdue.missed += seat.schedule(&self.plan, self.origin, now, now);
                    self.queue.push(seat.turn(turn.seat));
                }
            }
        }
    }

    /// When to look again; none while that depends on a check that ends.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.queue.wake()
    }

    /// Takes the end of a check.
    pub(super) fn land(&mut self, ticket: Ticket, result: Result<&[u8], HelperError>, now: Instant) {
        self.queue.landed(ticket.is_slow);
        let Some(seat) = self.seats.get_mut(&ticket.seat) else { return };
        seat.flight = None;
        if seat.is_gone {
            return self.forget(ticket.seat);
        }
        if seat.version == ticket.version {
            seat.answer(result, ticket.started, now, ticket.timeout);
            self.overdue.missed += seat.schedule(&self.plan, self.origin, ticket.started, now);
        } else {
            // The answer is to another question: it is asked again.
            seat.due = now;
        }
        self.queue.push(seat.turn(ticket.seat));
    }

    /// Whether every target that there is has had an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.stage != Stage::New && self.here().all(|seat| seat.result.is_some())
    }

    /// Whether it knows targets at all.
    pub(super) fn is_empty(&self) -> bool {
        self.here().next().is_none()
    }

    fn here(&self) -> impl Iterator<Item = &Seat> {
        self.seats.values().filter(|seat| !seat.is_gone)
    }

    /// Delivers the newest result of every target, and what was not executed.
    pub(super) fn deliver(&mut self, now: Instant, acc: &mut dyn Accumulator) {
        let interval = self.plan.schedule.interval;
        let mut stale = 0;
        for seat in self.here() {
            stale += u64::from(!seat.deliver(now, interval, acc));
        }
        self.overdue.stale += stale;
    }

    /// Whatever helps to understand it.
    pub(super) fn debug_info(&self, now: Instant) -> serde_json::Value {
        let targets: Vec<_> = self.here().take(SHOWN).map(|seat| seat.debug_info(now)).collect();
        serde_json::json!({
            "interval_seconds": self.plan.schedule.interval.as_secs_f64(),
            "not_shown": self.here().count() - targets.len(),
            "targets": targets,
            "targets_left_out": self.left_out,
            "missed": self.overdue.missed,
            "stale": self.overdue.stale,
        })
    }
}
