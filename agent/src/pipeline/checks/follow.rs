//! The loop of one pipeline: what runs on the host, whose turn it is, and which checks have ended.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::{Id, JoinSet},
};

use super::desk::{Desk, Flight, Ticket};
use crate::{
    catalogue::CheckDef,
    container::Directory,
    input::check::{HelperError, Request},
    pod::{Helpers, Target},
};

/// Who executes checks. An answer comes within the timeout of the request, or a little later.
pub trait Execute: Send + Sync {
    /// Executes a request and returns the response.
    fn execute<'a>(
        &'a self,
        target: &'a Target,
        needs: &'static CheckDef,
        request: &'a Request,
    ) -> Answered<'a>;
}

/// A response on its way.
pub type Answered<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, HelperError>> + Send + 'a>>;

impl Execute for Helpers {
    fn execute<'a>(
        &'a self,
        target: &'a Target,
        needs: &'static CheckDef,
        request: &'a Request,
    ) -> Answered<'a> {
        Box::pin(Self::execute(self, target, needs, request))
    }
}

/// What whoever executes checks gets beyond the timeout before it is not waited for any more.
const GRACE: Duration = Duration::from_secs(1);

/// The targets of a pipeline, between the thread that checks and the one that collects.
pub(super) struct Shared {
    desk: Mutex<Desk>,
    /// Rung when there is something to look at, if anybody waits for that.
    answered: Condvar,
    waiting: AtomicUsize,
    /// Tells the loop that it is to end.
    pub(super) closed: Notify,
}

impl Shared {
    pub(super) fn new(desk: Desk) -> Self {
        Self {
            desk: Mutex::new(desk),
            answered: Condvar::new(),
            waiting: AtomicUsize::new(0),
            closed: Notify::new(),
        }
    }

    /// The targets. Held for moments only.
    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The targets, once that holds which is waited for, or the time has come.
    pub(super) fn wait(
        &self,
        until: Instant,
        mut is_there: impl FnMut(&Desk) -> bool,
    ) -> MutexGuard<'_, Desk> {
        let mut desk = self.desk();
        while !is_there(&desk) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Changed and read with the desk locked: who is about to wait is not missed.
            self.waiting.fetch_add(1, Ordering::Relaxed);
            desk = self.answered.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        desk
    }

    /// Wakes whoever waits. Ringing takes a system call also where nobody hears it.
    fn ring(&self, _desk: &MutexGuard<'_, Desk>) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.answered.notify_all();
        }
    }
}

/// Checks the targets of a pipeline until it is closed.
pub(super) async fn follow(shared: Arc<Shared>, mut directory: Directory, execute: Arc<dyn Execute>) {
    let needs = shared.desk().plan().needs;
    let mut flights: JoinSet<Result<Vec<u8>, HelperError>> = JoinSet::new();
    let mut tickets: HashMap<Id, Ticket> = HashMap::new();
    // Until there is somebody who finds out what runs here.
    let mut is_followed = true;
    settle(&shared, &directory);
    loop {
        let wake = {
            let mut desk = shared.desk();
            while let Some(Flight { ticket, target, request }) = desk.next(Instant::now()) {
                let execute = Arc::clone(&execute);
                let flight = flights.spawn(async move { fly(&*execute, &target, needs, &request).await });
                tickets.insert(flight.id(), ticket);
            }
            shared.ring(&desk);
            desk.wake()
        };
        tokio::select! {
            () = shared.closed.notified() => return,
            is_there = directory.changed(), if is_followed => {
                is_followed = is_there;
                shared.desk().is_alone = !is_there;
                settle(&shared, &directory);
            }
            Some(landed) = flights.join_next_with_id() => {
                let (id, result) = match landed {
                    Ok((id, result)) => (id, result),
                    Err(error) => (error.id(), Err(HelperError::Failed("the request panicked".to_owned()))),
                };
                if let Some(ticket) = tickets.remove(&id) {
                    let result = result.as_deref().map_err(Clone::clone);
                    shared.desk().land(ticket, result, Instant::now());
                }
            }
            () = until(wake) => {}
        }
    }
}

fn settle(shared: &Shared, directory: &Directory) {
    let snapshot = directory.now();
    shared.desk().settle(&snapshot, Instant::now());
}

async fn fly(
    execute: &dyn Execute,
    target: &Target,
    needs: &'static CheckDef,
    request: &Request,
) -> Result<Vec<u8>, HelperError> {
    let late = || HelperError::Timeout(request.timeout);
    let done = tokio::time::timeout(request.timeout + GRACE, execute.execute(target, needs, request));
    done.await.unwrap_or_else(|_| Err(late()))
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
