//! The engine: runs pipelines, on one thread as long as all goes well and nothing has a schedule.
//!
//! Work is divided into *lanes*, each with a thread: one for what is collected when it is scraped, which also encodes
//! the pages, and one each for slow, quick and fast schedules, so that none of these holds up the others. A worker
//! collects what is due, one pipeline after the other. When a collection does not end in time, the worker is given up:
//! the thread stays with the pipeline that blocks it, and a new worker goes on with the next. So a source that hangs
//! in the kernel costs its own series, one thread, and one deadline once.
//!
//! Who notices is whoever waits for a page; schedules, for which nobody waits, have a thread that looks while
//! something is being collected. Without schedules, an idle engine wakes nobody.

mod cell;
mod clock;
mod edit;
mod lane;
mod plan;
mod press;
mod report;
mod roster;
mod slot;
mod watch;
mod worker;

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

use self::{
    cell::Cell,
    lane::{Lane, SCRAPES, Waiter},
    roster::Roster,
    watch::MOST_STUCK,
};
pub use self::{
    edit::{Edit, Rejected},
    lane::LANES,
    report::Report,
};
use crate::{
    catalogue::Rank,
    output::{Page, Refused, Want},
    pipeline::Pipeline,
    telemetry::EngineMeters,
};

/// A running engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    lanes: [Lane; 1 + LANES.len()],
    roster: Mutex<Arc<Roster>>,
    /// How long a scrape waits for inputs.
    budget: Duration,
    /// Schedules are kept.
    keeping: AtomicBool,
    is_stopped: AtomicBool,
    /// Threads that were given up and have not come back.
    stuck: AtomicUsize,
    /// Held during a change of the set of pipelines.
    editing: Mutex<()>,
    /// Places that were ever made.
    cells_ever: AtomicU64,
    /// There is a thread that looks after the lanes.
    watching: Mutex<bool>,
    watch_bell: Condvar,
    meters: EngineMeters,
}

/// What the collections of a pipeline took.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Its key.
    pub key: String,
    /// Tells it from one of the same key that was there before and was removed.
    pub id: u64,
    /// How soon it may be done without.
    pub rank: Rank,
    /// CPU time since it was put.
    pub cpu: Duration,
}

/// How soon a waiting scraper looks whether the worker is stuck.
const LOOK: Duration = Duration::from_millis(25);

impl Engine {
    /// Starts a worker for these pipelines, and lets their inputs begin. Those that cannot be run are left out, which is logged: as
    /// [`Self::apply`] would say.
    pub fn start(mut pipelines: Vec<Box<dyn Pipeline>>, budget: Duration) -> io::Result<Self> {
        for pipeline in &mut pipelines {
            pipeline.begin();
        }
        let shared = Arc::new(Shared {
            lanes: std::array::from_fn(Lane::new),
            roster: Mutex::default(),
            budget,
            keeping: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            stuck: AtomicUsize::new(0),
            editing: Mutex::default(),
            cells_ever: AtomicU64::new(0),
            watching: Mutex::new(false),
            watch_bell: Condvar::new(),
            meters: EngineMeters::new(),
        });
        shared.lanes[SCRAPES].desk().staffed = true;
        worker::spawn(Arc::clone(&shared), SCRAPES, 0)?;
        let engine = Self { shared };
        for rejected in engine.apply(Edit { put: pipelines, remove: Vec::new() }) {
            tracing::error!(pipeline = rejected.key, reason = rejected.reason, "cannot be run");
        }
        Ok(engine)
    }

    /// Collects every pipeline that has a schedule when it is due, from now on. Before, they are collected whenever
    /// they are scraped, as those without a schedule always are.
    pub fn keep_schedules(&self) {
        let shared = &self.shared;
        let _one_at_a_time = shared.editing.lock().unwrap_or_else(PoisonError::into_inner);
        if !shared.keeping.swap(true, Ordering::AcqRel) {
            shared.roster().cells.iter().for_each(|cell| shared.plan(cell));
        }
    }

    /// A page of what is collected now. Scrapers that come while a collection runs share it.
    pub async fn scrape(&self, want: Want) -> Result<Page, Refused> {
        let roster = self.shared.roster();
        if let Some(unknown) = want.names.iter().find(|name| roster.find(name).is_none()) {
            return Err(Refused::BadRequest(format!("there is no input {unknown}")));
        }
        drop(roster);
        // The worker holds itself to the budget; the rest is for encoding on a busy machine. A scraper that
        // says how long it waits gets its refusal before it has gone.
        let patience = self.shared.budget * 4;
        let patience = want.timeout.map_or(patience, |timeout| timeout.mul_f64(0.9).min(patience));
        let (reply, mut answer) = oneshot::channel();
        let lane = &self.shared.lanes[SCRAPES];
        lane.desk().waiters.push(Waiter { want, reply });
        lane.bell.notify_one();
        let asked = Instant::now();
        while asked.elapsed() < patience {
            match timeout(LOOK, &mut answer).await {
                Ok(Ok(page)) => return page,
                Ok(Err(_)) => break,
                Err(_) => {
                    self.shared.supervise(SCRAPES);
                }
            }
        }
        Err(Refused::Unavailable(
            "no page in time: the machine is overloaded, or the agent is shutting down".to_owned(),
        ))
    }

    /// What each pipeline is doing, in the order of the page.
    pub fn reports(&self) -> Vec<Report> {
        self.shared.roster().cells.iter().map(|cell| cell.view()).collect()
    }

    /// What the collections of each pipeline took of the CPU, in the same order.
    pub fn usage(&self) -> Vec<Usage> {
        let of = |cell: &Arc<Cell>| Usage {
            key: cell.key.clone(),
            id: cell.id,
            rank: cell.terms().rank,
            cpu: cell.cpu(),
        };
        self.shared.roster().cells.iter().map(of).collect()
    }

    /// Collects a pipeline at one in so many occasions (scrapes or ticks of its schedule) from now on; 0 sheds
    /// it. Between those, a page has what it delivered last, as between the ticks of a schedule. False when there is
    /// no such pipeline.
    pub fn restrict(&self, key: &str, every: u32) -> bool {
        let roster = self.shared.roster();
        let cell = roster.find(key);
        cell.inspect(|cell| cell.restrict(every)).is_some()
    }

    /// Gives the input of a pipeline up, with all that it holds. False while a collection is in it; a pipeline that
    /// is not there holds nothing.
    pub fn close(&self, key: &str, reason: &str) -> bool {
        self.shared.roster().find(key).is_none_or(|cell| cell.close(reason))
    }

    /// Whether collections come to an end.
    pub fn healthy(&self) -> Result<(), String> {
        if self.shared.stuck.load(Ordering::Acquire) >= MOST_STUCK {
            let roster = self.shared.roster();
            let stuck = roster.cells.iter().filter(|cell| cell.slot.stuck().is_some());
            let names: Vec<&str> = stuck.map(|cell| cell.key.as_str()).collect();
            let names = names.join(", ");
            return Err(format!("{MOST_STUCK} threads are stuck, and no more are started: {names}"));
        }
        let running = self.shared.lanes[SCRAPES].desk().round.started.map(|at| at.elapsed());
        match running {
            Some(since) if since > self.shared.budget * 10 => {
                Err(format!("a collection has been running for {} s", since.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// Ends the workers after what they are doing, and waits for that; false when it took longer. A thread that
    /// is stuck ends with the process.
    pub fn stop(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        self.shared.is_stopped.store(true, Ordering::Release);
        // Not between its look at that and its sleep.
        drop(self.shared.watching.lock());
        self.shared.watch_bell.notify_all();
        for lane in &self.shared.lanes {
            lane.desk().stop = true;
            lane.bell.notify_all();
        }
        let ends = |lane: &Lane| {
            let left = until.saturating_duration_since(Instant::now());
            let ended = lane.ended.wait_timeout_while(lane.desk(), left, |desk| desk.staffed);
            !ended.unwrap_or_else(PoisonError::into_inner).0.staffed
        };
        self.shared.lanes.iter().all(ends)
    }
}

impl Shared {
    fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_roster(&self, roster: Roster) {
        *self.roster.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(roster);
    }

    fn is_keeping(&self) -> bool {
        self.keeping.load(Ordering::Acquire)
    }
}
