//! Which helper executes which request: one that is there already, or a new one, but never more than there may be.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    os::{fd::AsFd, unix::net::UnixStream as Connection},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::thread::CapabilitySet;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout, timeout_at},
};

use super::{
    Target,
    client::{Client, Trouble},
    control::Control,
    launch::Launched,
    meters::Meters,
    names,
    orders::{Ending, Expected, Needs, Notice, Order},
};
use crate::{
    catalogue::CheckDef,
    container::Container,
    input::check::{
        HelperError, Known, Request,
        wire::{self, WireError},
    },
};

/// Helpers of a kind in one container, at the most; further requests wait.
const SEATS: usize = 3;
/// How long a request waits for a helper that is busy before there is another one: most are back by then.
const SOON: Duration = Duration::from_millis(25);
/// How often is looked whether there is room again.
const LOOK: Duration = Duration::from_millis(1);
/// How long is waited for the spawner to say how a helper ended.
const POST_MORTEM: u32 = 20;
/// Endings that are remembered until somebody asks.
const REMEMBERED: usize = 64;

/// Helpers of the same key are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The container, and its first process.
    container: Option<(String, u32, u64)>,
    needs: Needs,
}

/// Where helpers of a key wait.
#[derive(Debug)]
struct Room {
    seats: Arc<Semaphore>,
    /// How many seats there are.
    wide: usize,
    idle: Vec<Client>,
    /// The network namespace that the first one found. The others have to find the same.
    net: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    last: u32,
    running: HashSet<u32>,
    /// Of these, those that were told to end for want of room.
    evicted: HashSet<u32>,
    ended: VecDeque<(u32, Ending)>,
    rooms: HashMap<Key, Room>,
    is_gone: bool,
    /// There is another spawner, which waits for word.
    is_new: bool,
}

/// All helpers of the agent.
#[derive(Debug)]
pub(super) struct Pool {
    control: Control,
    missing: CapabilitySet,
    checks: &'static [Known],
    most: usize,
    state: Mutex<State>,
    meters: Meters,
}

impl Pool {
    pub(super) fn new(launched: Launched, checks: &'static [Known], most: usize) -> Self {
        let Launched { control, pid, missing } = launched;
        let control = Control::new(control, pid);
        let state = Mutex::new(State { is_new: true, ..State::default() });
        Self { control, missing, checks, most, state, meters: Meters::new() }
    }

    pub(super) fn running(&self) -> usize {
        let mut state = self.lock();
        self.hear(&mut state);
        state.running.len()
    }

    pub(super) async fn execute(
        &self,
        target: &Target,
        needs: &CheckDef,
        request: &Request,
    ) -> Result<Vec<u8>, HelperError> {
        let begun = Instant::now();
        let until = begun + request.timeout;
        let attempt = self.attempt(target, Needs::of(needs), request, until);
        // What is dropped here has its helper killed.
        let result = timeout_at(until.into(), attempt).await;
        let result = result.unwrap_or(Err(HelperError::Timeout(request.timeout)));
        self.meters.asked(result.as_ref().err(), begun.elapsed());
        result
    }

    async fn attempt(
        &self,
        target: &Target,
        needs: Needs,
        request: &Request,
        until: Instant,
    ) -> Result<Vec<u8>, HelperError> {
        let known = self.checks.iter().find(|known| known.def.name == request.input);
        let known =
            known.ok_or_else(|| HelperError::Failed(format!("there is no check {}", request.input)))?;
        let (key, expected) = match target {
            Target::Host => (Key { container: None, needs }, None),
            Target::Container(container) => {
                let expected = self.expected(container)?;
                let identity = (container.id.clone(), expected.pid, expected.started);
                (Key { container: Some(identity), needs }, Some(expected))
            }
        };
        let seats = self.seats(&key);
        let seat = match timeout(SOON, seats.acquire()).await {
            Ok(seat) => seat,
            Err(_elapsed) => {
                self.widen(&key);
                seats.acquire().await
            }
        };
        let _seat = seat.map_err(|error| HelperError::Failed(error.to_string()))?;
        loop {
            let idle = self.idle(&key);
            let is_new = idle.is_none();
            let mut lease = match idle {
                Some(client) => Lease::of(self, client),
                None => self.start(&key, needs, expected.clone()).await?,
            };
            let Some(client) = lease.client.take() else { continue };
            match client.ask(request, until).await {
                Ok((response, client)) => {
                    let response = match wire::verify(known.def, &response) {
                        Ok(()) => Ok(response),
                        Err(WireError::Failed(why)) => Err(HelperError::Failed(why)),
                        Err(lie) => return Err(lease.trouble(lie.into()).await),
                    };
                    lease.give_back(&key, client);
                    return response;
                }
                Err(Trouble::Left) if !is_new => lease.end = End::Left,
                Err(trouble) => return Err(lease.trouble(trouble).await),
            }
        }
    }

    /// How the container is recognised, unless nobody can enter it.
    fn expected(&self, container: &Container) -> Result<Expected, HelperError> {
        if let Some(why) = &container.sandboxed {
            return Err(HelperError::Unsupported(why.clone()));
        }
        if !self.missing.is_empty() {
            let takes =
                format!("entering containers takes {}: run as root, or grant them", names(self.missing));
            return Err(HelperError::Unsupported(takes));
        }
        let process = container
            .process
            .ok_or_else(|| HelperError::NoTarget("its first process is not visible from here".to_owned()))?;
        Ok(Expected {
            pid: process.pid,
            started: process.started,
            net: None,
            is_apart: container.host_network == Some(false),
            cgroup: container.cgroup.clone(),
        })
    }

    fn seats(&self, key: &Key) -> Arc<Semaphore> {
        let mut state = self.lock();
        self.hear(&mut state);
        Arc::clone(&state.room(key).seats)
    }

    /// Another seat, if there may be one.
    fn widen(&self, key: &Key) {
        let mut state = self.lock();
        let room = state.room(key);
        if room.wide < SEATS {
            room.wide += 1;
            room.seats.add_permits(1);
        }
    }

    /// The one that was used last: the others get the chance to leave.
    fn idle(&self, key: &Key) -> Option<Client> {
        self.lock().rooms.get_mut(key)?.idle.pop()
    }

    /// A new helper, once it has arrived.
    async fn start(
        &self,
        key: &Key,
        needs: Needs,
        expected: Option<Expected>,
    ) -> Result<Lease<'_>, HelperError> {
        let net = self.lock().room(key).net;
        let expected = expected.map(|expected| Expected { net, ..expected });
        let failed = |error: io::Error| HelperError::Failed(error.to_string());
        let (ours, theirs) = Connection::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let id = self.claim().await?;
        let mut lease = Lease { pool: self, id, client: None, end: End::NotStarted };
        let order = Order::Start { id, needs, expected };
        while let Err(error) = self.control.order(&order, Some(theirs.as_fd())) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(HelperError::Died(format!("the spawner cannot be told: {error}")));
            }
            sleep(LOOK).await;
        }
        lease.end = End::Killed("timeout");
        // Otherwise its end would never be noticed here.
        drop(theirs);
        self.meters.started();
        match Client::arrived(id, ours).await {
            Ok((client, net)) => {
                self.lock().room(key).net = Some(net);
                lease.client = Some(client);
                Ok(lease)
            }
            Err(trouble) => Err(lease.trouble(trouble).await),
        }
    }

    /// A number for a new helper, as soon as there may be one more.
    async fn claim(&self) -> Result<u32, HelperError> {
        loop {
            {
                let mut state = self.lock();
                self.hear(&mut state);
                if state.is_gone {
                    return Err(HelperError::Died("the spawner has ended".to_owned()));
                }
                if state.running.len() < self.most && !state.is_new {
                    state.last = state.last.wrapping_add(1);
                    let id = state.last;
                    state.running.insert(id);
                    self.meters.running(state.running.len());
                    return Ok(id);
                }
                if state.running.len() >= self.most
                    && state.evicted.is_empty()
                    && let Some(idle) = state.longest_idle()
                {
                    self.control.kill(idle.id);
                    Meters::killed("room");
                    state.evicted.insert(idle.id);
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Takes note of helpers that have ended. Their connections are closed, and rooms that nobody needs are left.
    fn hear(&self, state: &mut State) {
        let mut gone = HashSet::new();
        let is_there = self.control.hear(|notice| match notice {
            Notice::Ended { id, ending } => {
                gone.insert(id);
                state.ended.push_back((id, ending));
            }
            // The first one was heard at the start. Helpers end with their spawner.
            Notice::Ready { .. } => {
                tracing::warn!(
                    "the spawner of helpers has ended, and all helpers with it; there is another one"
                );
                Meters::spawner_replaced();
                gone.extend(state.running.iter().copied());
                state.is_new = true;
            }
        });
        if state.is_new {
            // Before all that it is to start.
            state.is_new = self.control.order(&Order::Begin, None).is_err();
        }
        if !is_there && !state.is_gone {
            tracing::error!(
                "the spawner of helpers and its keeper have ended: no check is executed until the agent is started again"
            );
            state.is_gone = true;
            gone.extend(state.running.iter().copied());
        }
        if gone.is_empty() {
            return;
        }
        state.running.retain(|id| !gone.contains(id));
        state.evicted.retain(|id| !gone.contains(id));
        state.rooms.retain(|_, room| {
            room.idle.retain(|client| !gone.contains(&client.id));
            !room.idle.is_empty() || Arc::strong_count(&room.seats) > 1
        });
        let old = state.ended.len().saturating_sub(REMEMBERED);
        state.ended.drain(..old);
        self.meters.running(state.running.len());
    }

    /// How a helper ended, if the spawner says so soon.
    async fn ending(&self, id: u32) -> String {
        for _ in 0..POST_MORTEM {
            {
                let mut state = self.lock();
                self.hear(&mut state);
                if let Some((_, ending)) = state.ended.iter().find(|(ended, _)| *ended == id) {
                    return ending.to_string();
                }
            }
            sleep(LOOK).await;
        }
        "without a word".to_owned()
    }

    /// Nothing that is locked here can be left half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn room(&mut self, key: &Key) -> &mut Room {
        self.rooms.entry(key.clone()).or_insert_with(|| Room {
            seats: Arc::new(Semaphore::new(1)),
            wide: 1,
            idle: Vec::new(),
            net: None,
        })
    }

    fn longest_idle(&mut self) -> Option<Client> {
        // Numbers rise: the lowest one has been there for the longest time.
        let idle = self.rooms.values_mut().filter(|room| !room.idle.is_empty());
        let room = idle.min_by_key(|room| room.idle.first().map(|client| client.id))?;
        Some(room.idle.remove(0))
    }
}

/// A helper that somebody uses. Unless it is given back, it is killed.
struct Lease<'p> {
    pool: &'p Pool,
    id: u32,
    client: Option<Client>,
    end: End,
}

/// What becomes of a helper when the one that uses it is through.
enum End {
    /// The spawner does not know of it yet.
    NotStarted,
    /// It goes on.
    GivenBack,
    /// It has left, or says so.
    Left,
    /// It is of no use any more.
    Killed(&'static str),
}

impl<'p> Lease<'p> {
    /// Whoever gives up waiting does so because time is up.
    fn of(pool: &'p Pool, client: Client) -> Self {
        Self { pool, id: client.id, client: Some(client), end: End::Killed("timeout") }
    }

    fn give_back(mut self, key: &Key, client: Option<Client>) {
        self.end = if client.is_some() { End::GivenBack } else { End::Left };
        self.pool.lock().room(key).idle.extend(client);
    }

    /// What went wrong, with what the spawner knows about it.
    async fn trouble(&mut self, trouble: Trouble) -> HelperError {
        let error = match trouble {
            Trouble::Left => HelperError::NoTarget("it has ended".to_owned()),
            Trouble::Ended => HelperError::Died(self.pool.ending(self.id).await),
            Trouble::Error(error) => error,
        };
        self.end = End::Killed(error.reason());
        error
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        match self.end {
            End::GivenBack => {}
            End::NotStarted => {
                self.pool.lock().running.remove(&self.id);
            }
            // What says that it leaves may lie.
            End::Left => self.pool.control.kill(self.id),
            End::Killed(reason) => {
                self.pool.control.kill(self.id);
                Meters::killed(reason);
            }
        }
    }
}
