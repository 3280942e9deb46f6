//! The worker of a lane: collects a round, encodes the pages that are waited for, and sleeps until the next tick.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use nix::sys::prctl::set_timerslack;

use super::{
    Shared,
    cell::{Cell, Source},
    clock::CpuClock,
    lane::{Current, Desk, Job, Lane, SCRAPES, Waiter},
    plan::Moment,
    press::Press,
    slot::{Lease, Missing},
};
use crate::{input::CollectContext, pipeline::Outcome, telemetry::EngineMeters};

/// Inputs and encoders need little; the default of 2 MiB is never touched, but is reserved.
const STACK: usize = 512 << 10;
/// How long a worker sleeps at most while something is planned: whether the wall clock has been set is found out by
/// looking at it.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// What a page waits for at least, should a scheduled collection be in progress.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// Starts a worker of a generation.
pub(super) fn spawn(shared: Arc<Shared>, lane: usize, generation: u64) -> io::Result<()> {
    thread::Builder::new()
        .name(shared.lanes[lane].thread().to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let worker = Worker::new(Arc::clone(&shared), lane, generation);
            // What an input does is caught where it is called: this is for all the rest.
            if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                shared.replace_worker(lane, generation);
            }
        })
        .map(drop)
}

struct Worker {
    shared: Arc<Shared>,
    lane: usize,
    generation: u64,
    cancelled: Arc<AtomicBool>,
    press: Press,
    meters: EngineMeters,
    waiters: Vec<Waiter>,
}

impl Worker {
    fn new(shared: Arc<Shared>, lane: usize, generation: u64) -> Self {
        Self {
            shared,
            lane,
            generation,
            cancelled: Arc::default(),
            press: Press::default(),
            meters: EngineMeters::new(),
            waiters: Vec::new(),
        }
    }

    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let lane = &shared.lanes[self.lane];
        if lane.is_exact()
            && let Err(error) = set_timerslack(1)
        {
            tracing::debug!(%error, "ticks may be late by the usual slack of timers");
        }
        while self.wait(lane) {
            let mut clock = CpuClock::new();
            if !self.collect(lane, &mut clock) {
                return;
            }
            self.deliver(lane, &mut clock);
        }
    }

    /// Waits for work and lays out the round; false when this worker is to end.
    fn wait(&self, lane: &Lane) -> bool {
        let mut desk = lane.desk();
        loop {
            if desk.generation != self.generation {
                return false;
            }
            if desk.stop {
                desk.staffed = false;
                lane.ended.notify_all();
                return false;
            }
            // A round in progress is what a worker left that was given up.
            if desk.round.running {
                return true;
            }
            if desk.plan.is_empty() && desk.waiters.is_empty() {
                desk = lane.bell.wait(desk).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = Moment::now();
            let left = desk.plan.next_due(now).map(|due| due.saturating_duration_since(now.mono));
            match left.filter(|left| !left.is_zero() && desk.waiters.is_empty()) {
                Some(left) => {
                    let left = left.min(LOOK_AT_CLOCK);
                    desk = lane.bell.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    desk.lay_out(&self.shared.roster(), self.shared.is_keeping(), now);
                    return true;
                }
            }
        }
    }

    /// Collects what is on the list; false when this worker has been given up meanwhile.
    fn collect(&mut self, lane: &Lane, clock: &mut CpuClock) -> bool {
        loop {
            let job = {
                let mut desk = lane.desk();
                if desk.generation != self.generation {
                    return false;
                }
                let Some(job) = desk.round.list.pop() else { return true };
                job
            };
            self.collect_one(lane, &job, clock);
        }
    }

    /// Collects, and notes how it went and what it cost by the thread's clock. What ends after this worker has been
    /// given up is too late for anyone.
    fn collect_one(&mut self, lane: &Lane, job: &Job, clock: &mut CpuClock) {
        let cell = &job.cell;
        let (deadline, source) = {
            let terms = cell.terms();
            (terms.deadline, terms.source.clone())
        };
        let until = Instant::now() + deadline;
        let mut lease = match cell.slot.lease(until) {
            Ok(lease) => lease,
            Err(Missing::Gone) => return,
            Err(Missing::Busy | Missing::Stuck) => {
                return cell.note_timeout("still busy with an earlier collection");
            }
        };
        let (mut lent, reason) = match source.as_ref().map(|source| lend(source, until)).transpose() {
            Ok(lent) => (lent, None),
            Err(reason) => (None, Some(reason)),
        };
        let mut cx = CollectContext::new(deadline).cancelled_by(Arc::clone(&self.cancelled));
        if let Some(due) = job.tick {
            cx = cx.at(due.aligned);
            lane.note_late(cell.note_tick(cx.started, due.at));
        }
        self.begin(
            lane,
            Current {
                cell: Arc::clone(cell),
                version: lease.version(),
                source: lent.as_ref().map(|(cell, lease)| (Arc::clone(cell), lease.version())),
                since: cx.started,
                deadline,
                cancelled: Arc::clone(&self.cancelled),
            },
        );
        let outcome = attempt(&mut lease, &cx, lent.as_mut().map(|(_, lease)| lease));
        if outcome == Outcome::Published && !self.is_given_up(lane) {
            offer(cell, &mut lease, &cx);
        }
        let took = cx.started.elapsed();
        let cpu = clock.lap();
        if self.end(lane) {
            cell.note(&mut lease, outcome, took, cpu, reason);
            return;
        }
        cell.note_late(cpu);
        if let Some(pipeline) = lease.get() {
            pipeline.withdraw();
        }
        drop((lease, lent));
        self.meters.stuck(self.shared.come_back());
        tracing::info!(input = cell.key, seconds = took.as_secs_f64(), "came back, too late");
    }

    fn begin(&self, lane: &Lane, current: Current) {
        lane.desk().round.current = Some(current);
    }

    fn is_given_up(&self, lane: &Lane) -> bool {
        lane.desk().generation != self.generation
    }

    /// Ends a collection; false when this worker has been given up meanwhile. In one step, so that nobody gives it up
    /// for a pipeline that it has just left.
    fn end(&mut self, lane: &Lane) -> bool {
        let mut desk = lane.desk();
        if desk.generation != self.generation {
            return false;
        }
        // Where it could not be given up, it was only told.
        if desk.round.current.take().is_some_and(|current| current.is_cancelled()) {
            self.cancelled = Arc::default();
        }
        true
    }

    /// Encodes for everyone who waits by now, and ends the round.
    fn deliver(&mut self, lane: &Lane, clock: &mut CpuClock) {
        let started = {
            let mut desk = lane.desk();
            let Desk { round, waiters, .. } = &mut *desk;
            // Who comes during a round that leaves inputs out would be shown what they left earlier.
            let served = if round.all { waiters.len() } else { round.waiters };
            self.waiters.extend(waiters.drain(..served));
            round.running = false;
            round.started.take().unwrap_or_else(Instant::now)
        };
        if lane.index != SCRAPES {
            return;
        }
        self.meters.collected(started.elapsed());
        if self.waiters.is_empty() {
            return;
        }
        self.press.forget();
        let until = (started + self.shared.budget).max(Instant::now() + LEAST_WAIT);
        let roster = self.shared.roster();
        for waiter in std::mem::take(&mut self.waiters) {
            let page = self.press.page(&waiter.want, &roster.cells, until, &self.meters);
            self.meters.scraped();
            // A scraper that has gone does not wait.
            let _gone = waiter.reply.send(Ok(page));
        }
        self.meters.encoded(clock.lap());
    }
}

/// Takes out the pipeline whose frames are wanted.
fn lend(source: &Source, until: Instant) -> Result<(&Arc<Cell>, Lease<'_>), String> {
    let cell = source.cell.as_ref().ok_or_else(|| format!("its source `{}` does not exist", source.key))?;
    Ok((cell, cell.lend(until)?))
}

/// One collection. An input's panic is caught by its pipeline, which then leaves it alone for a while.
fn attempt(lease: &mut Lease<'_>, cx: &CollectContext, source: Option<&mut Lease<'_>>) -> Outcome {
    let Some(pipeline) = lease.get() else { return Outcome::Skipped };
    let frame = source.and_then(|source| source.get()).map(|source| source.frame());
    catch_unwind(AssertUnwindSafe(|| pipeline.collect(cx, frame))).unwrap_or_else(|_| {
        pipeline.withdraw();
        Outcome::Panicked
    })
}

/// Offers what was published to the places where it goes.
fn offer(cell: &Cell, lease: &mut Lease<'_>, cx: &CollectContext) {
    let Some(pipeline) = lease.get() else { return };
    for output in pipeline.outputs() {
        let offered = || output.offer(&cell.key, cx.aligned_timestamp, pipeline.frame());
        if catch_unwind(AssertUnwindSafe(offered)).is_err() {
            tracing::error!(
                pipeline = cell.key,
                output = output.name(),
                "panicked when it was offered a frame"
            );
        }
    }
}
