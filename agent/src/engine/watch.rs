//! Notices collections that do not end, and has the lanes go on without them.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    Shared,
    lane::{Current, SCRAPES},
    worker,
};

/// Threads that inputs may keep. With that many, the machine has another problem than a slow input.
pub(super) const MOST_STUCK: usize = 16;
/// How long a collection that nobody waits for may be overdue before that is noticed.
const LOOK: Duration = Duration::from_millis(100);
/// How long the watch sleeps at most: the wall clock may have been set.
const LONGEST: Duration = Duration::from_secs(60);

impl Shared {
    /// Has the lane's thread started, unless it has one.
    pub(super) fn staff(self: &Arc<Self>, lane: usize) {
        let mut desk = self.lanes[lane].desk();
        if desk.staffed || desk.stop {
            return;
        }
        desk.staffed = true;
        let generation = desk.generation;
        drop(desk);
        if let Err(error) = worker::spawn(Arc::clone(self), lane, generation) {
            tracing::error!(%error, "cannot start a worker thread");
            // Whoever looks next tries again.
            self.lanes[lane].desk().staffed = false;
        }
    }

    /// Gives the worker of a lane up if it has been in one pipeline for too long, or in a scrape for longer than
    /// its budget, and lets a new one go on. Returns when that is to be asked again, if nothing else happens.
    pub(super) fn supervise(self: &Arc<Self>, lane: usize) -> Option<Instant> {
        let mut desk = self.lanes[lane].desk();
        if !desk.staffed {
            drop(desk);
            self.staff(lane);
            return Some(Instant::now() + LOOK);
        }
        let next = desk.plan.first().map(|due| due.max(Instant::now()) + LOOK);
        let round = &mut desk.round;
        let Some(current) = &round.current else { return next };
        let over_budget =
            round.waiters > 0 && round.started.is_some_and(|started| started.elapsed() >= self.budget);
        let overdue = current.since.elapsed() >= current.deadline;
        if !overdue && !over_budget {
            return Some(current.since + current.deadline);
        }
        let was_told = current.is_cancelled();
        current.cancelled.store(true, Ordering::Relaxed);
        let reason = if overdue {
            format!("no answer within its deadline of {} ms", current.deadline.as_millis())
        } else {
            format!("not done when the scrape's budget of {} ms was over", self.budget.as_millis())
        };
        if !self.may_give_up() {
            let cell = Arc::clone(&current.cell);
            drop(desk);
            if !was_told {
                cell.note_timeout(&reason);
                tracing::error!(
                    input = cell.key,
                    "is stuck, as are {MOST_STUCK} threads: no more is started"
                );
            }
            return Some(Instant::now() + LOOK);
        }
        let current = round.current.take();
        let late = if over_budget { std::mem::take(&mut round.list) } else { Vec::new() };
        desk.generation += 1;
        desk.staffed = false;
        drop(desk);
        if let Some(Current { cell, version, source, .. }) = current {
            if let Some((source, version)) = source {
                source.slot.give_up(version);
            }
            // Another pipeline in its place has nothing to do with it.
            if cell.slot.give_up(version) {
                cell.note_timeout(&reason);
            }
        }
        for job in late {
            let budget = self.budget.as_millis();
            job.cell.pass_over(&format!("not reached within the scrape's budget of {budget} ms"));
        }
        self.staff(lane);
        next
    }

    /// Counts one more thread that is stuck, unless there are too many.
    fn may_give_up(&self) -> bool {
        let more = |stuck: usize| (stuck < MOST_STUCK).then_some(stuck + 1);
        let before = self.stuck.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        if let Ok(before) = before {
            self.meters.stuck(before + 1);
        }
        before.is_ok()
    }

    /// Counts one thread less; returns how many are left.
    pub(super) fn come_back(&self) -> usize {
        self.stuck.fetch_sub(1, Ordering::AcqRel).saturating_sub(1)
    }

    /// Puts another worker in the place of one that panicked. Its round is over: who waited for it is served by
    /// the next.
    pub(super) fn replace_worker(self: &Arc<Self>, lane: usize, panicked: u64) {
        let mut desk = self.lanes[lane].desk();
        if desk.generation != panicked {
            return;
        }
        tracing::error!("a worker panicked: another one goes on");
        desk.generation += 1;
        desk.round = super::lane::Round::default();
        desk.staffed = false;
        drop(desk);
        self.staff(lane);
    }

    /// Has somebody look after the lanes with schedules; nobody waits for those.
    pub(super) fn watch(self: &Arc<Self>) {
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        if *watching {
            drop(watching);
            self.watch_bell.notify_one();
            return;
        }
        let shared = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name("pitot-watch".to_owned())
            .stack_size(128 << 10)
            .spawn(move || shared.keep_watch());
        match spawned {
            Ok(_) => *watching = true,
            Err(error) => tracing::error!(%error, "cannot start the thread that notices stuck ones"),
        }
    }

    /// Looks while something is being collected, and whenever something may have begun to be.
    fn keep_watch(self: Arc<Self>) {
        loop {
            let lanes = SCRAPES + 1..self.lanes.len();
            let next = lanes.filter(|&lane| self.is_used(lane)).filter_map(|lane| self.supervise(lane)).min();
            let now = Instant::now();
            let left = next.map_or(LONGEST, |next| next.saturating_duration_since(now));
            let left = left.clamp(Duration::from_millis(1), LONGEST);
            let watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_stopped.load(Ordering::Acquire) {
                return;
            }
            drop(self.watch_bell.wait_timeout(watching, left));
        }
    }

    /// Whether a lane has anything to do.
    fn is_used(&self, lane: usize) -> bool {
        let desk = self.lanes[lane].desk();
        !desk.stop && (desk.round.running || !desk.plan.is_empty())
    }
}
