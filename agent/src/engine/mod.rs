//! The engine: runs pipelines, on one thread as long as all goes well.
//!
//! A worker thread collects what is due, one pipeline after the other, and encodes the pages that scrapers
//! wait for. Nobody else does either. When a collection does not end in time, whoever waits for it gives
//! the worker up: the thread stays with the pipeline that blocks it, and a new worker goes on with the
//! next. So a source that hangs in the kernel costs its own series, one thread, and one deadline once.

mod cell;
mod clock;
mod scheduler;
mod worker;

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::oneshot, time::timeout};

use self::cell::Cell;
pub use self::{cell::Report, scheduler::keep_schedules};
use crate::{
    output::{Page, Refused, Want},
    pipeline::Pipeline,
};

/// A running engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    cells: Vec<Cell>,
    /// How long a scrape waits for inputs.
    budget: Duration,
    desk: Mutex<Desk>,
    bell: Condvar,
    /// Rung when the worker has ended.
    ended: Condvar,
}

/// What is to be done and who does it. Locked for moments only.
#[derive(Default)]
struct Desk {
    /// Only the worker of this generation works; others have been given up.
    generation: u64,
    stop: bool,
    /// The worker has ended because of that.
    ended: bool,
    waiters: Vec<Waiter>,
    /// Scheduled pipelines that are due, with their tick.
    due: Vec<(usize, SystemTime)>,
    ticked: Vec<oneshot::Sender<()>>,
    round: Round,
}

/// A scraper.
struct Waiter {
    want: Want,
    reply: oneshot::Sender<Result<Page, Refused>>,
}

/// The collection in progress.
#[derive(Default)]
struct Round {
    running: bool,
    /// It collects all that scrapers can want, so that those who come later may share it.
    all: bool,
    /// Scrapers that it was laid out for.
    waiters: usize,
    /// Schedules that it was laid out for.
    ticked: usize,
    started: Option<Instant>,
    /// What is still to be collected, last one first.
    list: Vec<(usize, Option<SystemTime>)>,
    /// What is being collected, and since when.
    current: Option<(usize, Instant)>,
    /// Raised when whoever collects it has been given up.
    cancelled: Option<Arc<AtomicBool>>,
}

/// How soon a waiting scraper looks whether the worker is stuck.
const LOOK: Duration = Duration::from_millis(25);

impl Engine {
    /// Starts a worker for these pipelines.
    pub fn start(pipelines: Vec<Box<dyn Pipeline>>, budget: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            cells: pipelines.into_iter().map(Cell::new).collect(),
            budget,
            desk: Mutex::new(Desk::default()),
            bell: Condvar::new(),
            ended: Condvar::new(),
        });
        worker::spawn(Arc::clone(&shared), 0)?;
        Ok(Self { shared })
    }

    /// A page of what is collected now. Scrapers that come while a collection runs share it.
    pub async fn scrape(&self, want: Want) -> Result<Page, Refused> {
        if let Some(unknown) =
            want.names.iter().find(|name| self.shared.cells.iter().all(|c| c.key != **name))
        {
            return Err(Refused::BadRequest(format!("there is no input {unknown}")));
        }
        // The worker holds itself to the budget; the rest is for encoding on a busy machine. A scraper that
        // says how long it waits gets its refusal before it has gone.
        let patience = self.shared.budget * 4;
        let patience = want.timeout.map_or(patience, |timeout| timeout.mul_f64(0.9).min(patience));
        let (reply, mut answer) = oneshot::channel();
        self.shared.desk().waiters.push(Waiter { want, reply });
        self.shared.bell.notify_one();
        let asked = Instant::now();
        while asked.elapsed() < patience {
            match timeout(LOOK, &mut answer).await {
                Ok(Ok(page)) => return page,
                Ok(Err(_)) => break,
                Err(_) => self.shared.supervise(),
            }
        }
        Err(Refused::Unavailable(
            "no page in time: the machine is overloaded, or the agent is shutting down".to_owned(),
        ))
    }

    /// Collects scheduled pipelines that are due, and waits until that is done.
    async fn tick(&self, due: &[(usize, SystemTime)]) {
        let (done, mut answer) = oneshot::channel();
        {
            let mut desk = self.shared.desk();
            desk.due.extend_from_slice(due);
            desk.ticked.push(done);
        }
        self.shared.bell.notify_one();
        while timeout(LOOK, &mut answer).await.is_err() {
            self.shared.supervise();
        }
    }

    /// What each pipeline is doing.
    pub fn reports(&self) -> Vec<Report> {
        self.shared.cells.iter().map(Cell::view).collect()
    }

    /// The names of the pipelines, in their order.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.shared.cells.iter().map(|cell| cell.key.as_str())
    }

    /// What the collections of each pipeline took of the CPU, in the same order.
    pub fn cpu(&self) -> impl Iterator<Item = Duration> {
        self.shared.cells.iter().map(Cell::cpu)
    }

    /// Collects a pipeline at one in so many occasions (scrapes or ticks of its schedule) from now on; 0 sheds
    /// it. Between those, a page has what it delivered last, as between the ticks of a schedule.
    pub fn restrict(&self, pipeline: usize, every: u32) {
        self.shared.cells[pipeline].restrict(every);
    }

    /// Gives the input of a pipeline up, with all that it holds. False while a collection is in it.
    pub fn close(&self, pipeline: usize, reason: &str) -> bool {
        self.shared.cells[pipeline].close(reason)
    }

    /// Whether collections come to an end.
    pub fn healthy(&self) -> Result<(), String> {
        let running = self.shared.desk().round.started.map(|at| at.elapsed());
        match running {
            Some(since) if since > self.shared.budget * 10 => {
                Err(format!("a collection has been running for {} s", since.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// Ends the worker after what it is doing, and waits for that; false when it took longer. A thread that
    /// is stuck ends with the process.
    pub fn stop(&self, within: Duration) -> bool {
        let mut desk = self.shared.desk();
        desk.stop = true;
        self.shared.bell.notify_all();
        let (desk, _) = self
            .shared
            .ended
            .wait_timeout_while(desk, within, |desk| !desk.ended)
            .unwrap_or_else(PoisonError::into_inner);
        desk.ended
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the worker up if it has been in one pipeline for too long, or in a scrape for longer than its
    /// budget, and lets a new one go on.
    fn supervise(self: &Arc<Self>) {
        let mut desk = self.desk();
        let Some((index, since)) = desk.round.current else { return };
        let cell = &self.cells[index];
        let over_budget = desk.round.started.is_some_and(|at| at.elapsed() >= self.budget);
        let overdue = since.elapsed() >= cell.deadline;
        if !overdue && !over_budget {
            return;
        }
        cell.stuck.store(true, std::sync::atomic::Ordering::Release);
        if let Some(cancelled) = desk.round.cancelled.take() {
            cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        desk.generation += 1;
        desk.round.current = None;
        let late = if over_budget { std::mem::take(&mut desk.round.list) } else { Vec::new() };
        let generation = desk.generation;
        drop(desk);
        cell.note_timeout(&if overdue {
            format!("no answer within its deadline of {} ms", cell.deadline.as_millis())
        } else {
            format!("not done when the scrape's budget of {} ms was over", self.budget.as_millis())
        });
        for (index, _) in late {
            let budget = self.budget.as_millis();
            self.cells[index].pass_over(&format!("not reached within the scrape's budget of {budget} ms"));
        }
        self.start_worker(generation);
    }

    /// Puts another worker in the place of one that panicked. Its round is over: who waited for it is told,
    /// and who came later is served.
    fn replace_worker(self: &Arc<Self>, panicked: u64) {
        let mut desk = self.desk();
        if desk.generation != panicked {
            return;
        }
        tracing::error!("the worker panicked: another one goes on");
        desk.generation += 1;
        desk.round = Round::default();
        desk.ticked.clear();
        let generation = desk.generation;
        drop(desk);
        self.start_worker(generation);
    }

    fn start_worker(self: &Arc<Self>, generation: u64) {
        if let Err(error) = worker::spawn(Arc::clone(self), generation) {
            tracing::error!(%error, "cannot start a new worker thread");
        }
    }
}
