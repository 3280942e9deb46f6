//! Lanes: each has a thread of its own, so that what is slow in one of them is not in the way of the others.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::oneshot;

use super::{
    cell::Cell,
    plan::{Moment, Plan},
    roster::Roster,
};
use crate::{
    output::{Page, Refused, Want},
    pipeline::Schedule,
    telemetry,
};

/// The lane that scrapers wait for. It has no schedules.
pub(super) const SCRAPES: usize = 0;
/// The names of the other ones, from the slow to the fast.
pub const LANES: &[&str] = &["slow", "quick", "fast"];
/// Shorter intervals than these are for the next lane.
const BOUNDS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(10)];
/// The thread of each lane.
const THREADS: [&str; 1 + LANES.len()] = ["pitot-collect", "pitot-slow", "pitot-quick", "pitot-fast"];

/// The lane of a schedule.
pub(super) fn lane_of(schedule: Schedule) -> usize {
    1 + BOUNDS.iter().filter(|bound| schedule.interval < **bound).count()
}

/// What is collected by one thread after the other, never two at a time.
pub(super) struct Lane {
    pub(super) index: usize,
    desk: Mutex<Desk>,
    pub(super) bell: Condvar,
    /// Rung when the worker has ended.
    pub(super) ended: Condvar,
    /// How its schedules are kept.
    pub(super) figures: Option<Arc<Mutex<telemetry::Lane>>>,
}

/// What is to be done and who does it. Locked for moments only.
#[derive(Default)]
pub(super) struct Desk {
    /// Only the worker of this generation works; others have been given up.
    pub(super) generation: u64,
    /// There is a worker, or one is being started.
    pub(super) staffed: bool,
    pub(super) stop: bool,
    pub(super) waiters: Vec<Waiter>,
    pub(super) plan: Plan<Arc<Cell>>,
    pub(super) round: Round,
}

/// A scraper.
pub(super) struct Waiter {
    pub(super) want: Want,
    pub(super) reply: oneshot::Sender<Result<Page, Refused>>,
}

/// Something to collect, and the tick that it is collected for.
pub(super) struct Job {
    pub(super) cell: Arc<Cell>,
    pub(super) tick: Option<Due>,
}

/// A tick that is taken.
#[derive(Clone, Copy)]
pub(super) struct Due {
    pub(super) aligned: SystemTime,
    pub(super) at: Instant,
}

/// The collection in progress.
#[derive(Default)]
pub(super) struct Round {
    pub(super) running: bool,
    /// It collects all that scrapers can want, so that those who come later may share it.
    pub(super) all: bool,
    /// Scrapers that it was laid out for.
    pub(super) waiters: usize,
    pub(super) started: Option<Instant>,
    /// What is still to be collected, last one first.
    pub(super) list: Vec<Job>,
    pub(super) current: Option<Current>,
}

/// What is being collected.
pub(super) struct Current {
    pub(super) cell: Arc<Cell>,
    pub(super) version: u64,
    /// Whose frames it takes, with its version: nobody else has that meanwhile.
    pub(super) source: Option<(Arc<Cell>, u64)>,
    pub(super) since: Instant,
    pub(super) deadline: Duration,
    /// Raised when nobody waits for it any more.
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Current {
    /// Whether it has been said that nobody waits for it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

impl Lane {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            desk: Mutex::default(),
            bell: Condvar::new(),
            ended: Condvar::new(),
            figures: index.checked_sub(1).map(|at| telemetry::open_lane(LANES[at])),
        }
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of its threads.
    pub(super) fn thread(&self) -> &'static str {
        THREADS[self.index]
    }

    /// Whether a tick has to be taken as exactly as the kernel can. What comes rarely may come with others, which
    /// spares the host a wake-up.
    pub(super) fn is_exact(&self) -> bool {
        self.index > 1
    }

    /// Notes how late a collection began.
    pub(super) fn note_late(&self, late: Duration) {
        if let Some(figures) = &self.figures {
            let nanos = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
            figures.lock().unwrap_or_else(PoisonError::into_inner).lateness.observe(nanos);
        }
    }
}

impl Desk {
    /// Lists what is to be collected: what is due, and for scrapers what has no schedule, or everything as long as
    /// schedules are not kept.
    pub(super) fn lay_out(&mut self, roster: &Roster, keeping: bool, now: Moment) {
        let (round, waiters) = (&mut self.round, &self.waiters);
        round.list.clear();
        let all = waiters.iter().any(|waiter| waiter.want.names.is_empty());
        if !waiters.is_empty() {
            let asked = |cell: &Cell| all || waiters.iter().any(|w| roster.feeds(cell, &w.want.names));
            for cell in &roster.order {
                let is_free = !keeping || cell.terms().schedule.is_none();
                if is_free && asked(cell) && cell.takes_part() {
                    round.list.push(Job { cell: Arc::clone(cell), tick: None });
                }
            }
        }
        while let Some(tick) = self.plan.take(now) {
            if tick.missed > 0 {
                tick.key.note_skipped(tick.missed);
            }
            if tick.key.takes_part() {
                let due = Due { aligned: tick.aligned, at: tick.due };
                round.list.push(Job { cell: tick.key, tick: Some(due) });
            }
        }
        if roster.has_sources && waiters.is_empty() {
            round.list.sort_unstable_by_key(|job| job.cell.depth.load(Ordering::Relaxed));
        }
        // Taken from the end.
        round.list.reverse();
        (round.running, round.all, round.waiters) = (true, all, waiters.len());
        round.started = Some(now.mono);
    }
}
