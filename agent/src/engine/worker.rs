//! The worker: collects a round, encodes the pages that are waited for, and sleeps.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, MutexGuard, PoisonError, atomic::AtomicBool},
    thread,
    time::Instant,
};

use super::{Cell, Desk, Shared, Waiter, clock::CpuClock};
use crate::{
    accumulator::Frame,
    input::CollectContext,
    output::{Encoder, Format, Gzip, Page, Want},
    pipeline::Pipeline,
    telemetry::EngineMeters,
};

/// Inputs and encoders need little; the default of 2 MiB is never touched, but is reserved.
const STACK: usize = 512 << 10;

/// Starts a worker of a generation.
pub(super) fn spawn(shared: Arc<Shared>, generation: u64) -> io::Result<()> {
    thread::Builder::new()
        .name("pitot-collect".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let worker = Worker::new(Arc::clone(&shared), generation);
            // What an input does is caught where it is called: this is for all the rest.
            if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                shared.replace_worker(generation);
            }
        })
        .map(drop)
}

struct Worker {
    shared: Arc<Shared>,
    generation: u64,
    cancelled: Arc<AtomicBool>,
    press: Press,
    meters: EngineMeters,
    waiters: Vec<Waiter>,
}

impl Worker {
    fn new(shared: Arc<Shared>, generation: u64) -> Self {
        let press = Press::default();
        Self {
            shared,
            generation,
            cancelled: Arc::default(),
            press,
            meters: EngineMeters::new(),
            waiters: Vec::new(),
        }
    }

    fn run(mut self) {
        while self.wait() {
            let mut clock = CpuClock::new();
            if !self.collect(&mut clock) {
                return;
            }
            self.deliver(&mut clock);
        }
    }

    /// Waits for work and lays out the round; false when this worker is to end.
    fn wait(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut desk = shared.desk();
        loop {
            if desk.generation != self.generation {
                return false;
            }
            if desk.stop {
                desk.ended = true;
                shared.ended.notify_all();
                return false;
            }
            // A round in progress is what a worker left that was given up.
            if desk.round.running {
                return true;
            }
            if !desk.waiters.is_empty() || !desk.due.is_empty() {
                lay_out(&mut desk, &shared.cells);
                return true;
            }
            desk = shared.bell.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Collects what is on the list; false when this worker has been given up meanwhile.
    fn collect(&mut self, clock: &mut CpuClock) -> bool {
        loop {
            let mut desk = self.shared.desk();
            if desk.generation != self.generation {
                return false;
            }
            desk.round.current = None;
            let Some((index, tick)) = desk.round.list.pop() else { return true };
            let cell = &self.shared.cells[index];
            let mut cx = CollectContext::new(cell.deadline).cancelled_by(Arc::clone(&self.cancelled));
            if let (Some(schedule), Some(tick)) = (cell.schedule, tick) {
                cx = cx.at(schedule.aligned(tick));
            }
            desk.round.current = Some((index, cx.started));
            desk.round.cancelled = Some(Arc::clone(&self.cancelled));
            drop(desk);
            cell.collect(&cx, clock, || {
                let mut desk = self.shared.desk();
                // In one step, so that nobody gives this worker up for a pipeline that it has just left.
                let abandoned = desk.generation != self.generation;
                if !abandoned {
                    desk.round.current = None;
                }
                abandoned
            });
        }
    }

    /// Encodes for everyone who waits by now, and ends the round.
    fn deliver(&mut self, clock: &mut CpuClock) {
        {
            let mut desk = self.shared.desk();
            // Who comes during a round that leaves inputs out would be shown what they left earlier.
            let served = if desk.round.all { desk.waiters.len() } else { desk.round.waiters };
            self.waiters.extend(desk.waiters.drain(..served));
            let taken = desk.round.ticked;
            for ticked in desk.ticked.drain(..taken) {
                // A scheduler that has gone does not wait.
                let _gone = ticked.send(());
            }
            let took = desk.round.started.take().map(|at| at.elapsed());
            self.meters.collected(took.unwrap_or_default());
            desk.round.running = false;
        }
        if self.waiters.is_empty() {
            return;
        }
        self.press.forget();
        for waiter in std::mem::take(&mut self.waiters) {
            let page = self.press.page(&waiter.want, &self.shared.cells, &self.meters);
            self.meters.scraped();
            // A scraper that has gone does not wait.
            let _gone = waiter.reply.send(Ok(page));
        }
        self.meters.encoded(clock.lap());
    }
}

/// Lists what is to be collected: everything that is due, and for scrapers what has no schedule.
fn lay_out(desk: &mut MutexGuard<'_, Desk>, cells: &[Cell]) {
    let desk = &mut **desk;
    let all = desk.waiters.iter().any(|waiter| waiter.want.names.is_empty());
    let wanted = |key: &str| all || desk.waiters.iter().any(|w| w.want.names.iter().any(|name| name == key));
    desk.round.list.clear();
    // Taken from the end, so written backwards: the order of the exposition is the order of collection,
    // and what describes the agent itself comes last.
    for (index, cell) in cells.iter().enumerate().rev() {
        let is_asked_for = cell.schedule.is_none() && !desk.waiters.is_empty() && wanted(&cell.key);
        if is_asked_for && cell.takes_part() {
            desk.round.list.push((index, None));
        }
    }
    let due = desk.due.drain(..).filter(|(index, _)| cells[*index].takes_part());
    desk.round.list.extend(due.map(|(index, tick)| (index, Some(tick))));
    desk.round.running = true;
    (desk.round.all, desk.round.waiters, desk.round.ticked) = (all, desk.waiters.len(), desk.ticked.len());
    desk.round.started = Some(Instant::now());
}

/// Makes pages, each at most once a round.
#[derive(Default)]
struct Press {
    encoder: Encoder,
    gzip: Gzip,
    made: Vec<(Want, Page)>,
}

impl Press {
    /// Lets go of the last round's pages, so that their memory can be used again.
    fn forget(&mut self) {
        self.made.clear();
    }

    fn page(&mut self, want: &Want, cells: &[Cell], meters: &EngineMeters) -> Page {
        let key = Want { timeout: None, ..want.clone() };
        if let Some((_, page)) = self.made.iter().find(|(made, _)| *made == key) {
            return page.clone();
        }
        let plain = Want { gzip: false, ..key.clone() };
        let made = self.made.iter().find(|(made, _)| *made == plain).map(|(_, page)| page.clone());
        let page = made.unwrap_or_else(|| {
            let page = Page { body: self.encode(&plain.names, plain.format, cells, meters), gzip: false };
            self.made.push((plain, page.clone()));
            page
        });
        if !want.gzip {
            return page;
        }
        let Some(body) = self.gzip.compress(&page.body) else { return page };
        let page = Page { body, gzip: true };
        self.made.push((key, page.clone()));
        page
    }

    fn encode(
        &mut self,
        names: &[String],
        format: Format,
        cells: &[Cell],
        meters: &EngineMeters,
    ) -> bytes::Bytes {
        let chosen = cells.iter().filter(|cell| names.is_empty() || names.contains(&cell.key));
        let chosen = chosen.filter(|cell| cell.is_shown());
        let pipelines: Vec<MutexGuard<'_, Box<dyn Pipeline>>> = chosen.filter_map(Cell::pipeline).collect();
        let frames: Vec<&Frame> = pipelines.iter().map(|pipeline| pipeline.frame()).collect();
        if names.is_empty() {
            let page = self.encoder.encode(format, &frames);
            meters.layout(self.encoder.layout().clashes, self.encoder.layout().duplicates);
            page
        } else {
            // A selection has a layout of its own; the kept one stays as it is.
            Encoder::default().encode(format, &frames)
        }
    }
}
