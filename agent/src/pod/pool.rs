//! Which helper executes which request: one that is there already, or a new one, but never more than there may be.

use std::{
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
    errand::Errand,
    launch::Launched,
    lease::{End, Lease},
    meters::Meters,
    orders::{Expected, Needs, Order},
    state::{Identity, Key, State},
    stuck::Verdict,
};
use crate::{
    catalogue::CheckDef,
    input::check::{
        HelperError, Known, Request,
        wire::{self, WireError},
    },
};

/// How long a request waits for a helper that is busy before there is another one: most are back by then.
const SOON: Duration = Duration::from_millis(25);
/// How often is looked whether there is room again.
const LOOK: Duration = Duration::from_millis(1);
/// How long is waited for the spawner to say how a helper ended.
const POST_MORTEM: u32 = 20;

/// All helpers of the agent.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) control: Control,
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
        state.hear(&self.control, &self.meters);
        state.present()
    }

    pub(super) fn stuck(&self) -> usize {
        let mut state = self.lock();
        state.hear(&self.control, &self.meters);
        state.killed.stuck()
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
        let errand = Errand::new(target, needs, request, self.missing)?;
        let key = &errand.key;
        let seats = self.seats(key);
        let seat = match timeout(SOON, seats.acquire()).await {
            Ok(seat) => seat,
            Err(_elapsed) => {
                self.lock().room(key).widen();
                seats.acquire().await
            }
        };
        let _seat = seat.map_err(|error| HelperError::Failed(error.to_string()))?;
        loop {
            self.let_pass(&errand).await?;
            let idle = self.idle(key);
            let is_new = idle.is_none();
            let mut lease = match idle {
                Some(client) => Lease::of(self, &errand, client),
                None => self.start(&errand).await?,
            };
            let Some(client) = lease.client.take() else { continue };
            match client.ask(request, until).await {
                Ok((response, client)) => {
                    let response = match wire::verify(known.def, &response) {
                        Ok(()) => Ok(response),
                        Err(WireError::Failed(why)) => Err(HelperError::Failed(why)),
                        Err(lie) => return Err(lease.trouble(lie.into()).await),
                    };
                    lease.give_back(client);
                    return response;
                }
                Err(Trouble::Left) if !is_new => lease.end = End::Left,
                Err(trouble) => return Err(lease.trouble(trouble).await),
            }
        }
    }

    fn seats(&self, key: &Key) -> Arc<Semaphore> {
        let mut state = self.lock();
        state.hear(&self.control, &self.meters);
        Arc::clone(&state.room(key).seats)
    }

    /// The one that was used last: the others get the chance to leave.
    fn idle(&self, key: &Key) -> Option<Client> {
        self.lock().rooms.get_mut(key)?.idle.pop()
    }

    /// Waits until it is known that a request does not hang already, as far as that takes long.
    async fn let_pass(&self, errand: &Errand<'_>) -> Result<(), HelperError> {
        loop {
            match self.lock().killed.request(errand) {
                Verdict::Go => return Ok(()),
                Verdict::Wait => {}
                Verdict::Stuck => return Err(HelperError::Stuck),
            }
            sleep(LOOK).await;
            self.lock().hear(&self.control, &self.meters);
        }
    }

    /// A new helper, once it has arrived.
    async fn start<'a>(&'a self, errand: &'a Errand<'a>) -> Result<Lease<'a>, HelperError> {
        let Errand { key, expected, .. } = errand;
        let net = self.lock().net(key);
        let expected = expected.clone().map(|expected| Expected { net, ..expected });
        let failed = |error: io::Error| HelperError::Failed(error.to_string());
        let (ours, theirs) = Connection::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let id = self.claim(key.container.as_ref()).await?;
        let mut lease = Lease { pool: self, errand, id, client: None, end: End::NotStarted };
        let order = Order::Start { id, needs: key.needs, expected };
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
                let mut state = self.lock();
                state.not_started = None;
                state.note_net(key, net);
                drop(state);
                lease.client = Some(client);
                Ok(lease)
            }
            Err(trouble) => Err(lease.trouble(trouble).await),
        }
    }

    /// A number for a new helper, as soon as there may be one more.
    async fn claim(&self, container: Option<&Identity>) -> Result<u32, HelperError> {
        loop {
            {
                let mut state = self.lock();
                state.hear(&self.control, &self.meters);
                if state.is_gone {
                    return Err(HelperError::Died(
                        "the spawner and its keeper have ended: start the agent again".to_owned(),
                    ));
                }
                let verdict = state.killed.helper(container);
                if verdict == Verdict::Stuck {
                    return Err(HelperError::Stuck);
                }
                let has_room = state.present() < self.most;
                if has_room && verdict == Verdict::Go && !state.is_new {
                    state.last = state.last.wrapping_add(1);
                    let id = state.last;
                    state.running.insert(id);
                    self.meters.running(state.present());
                    return Ok(id);
                }
                if !has_room
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

    /// How a helper ended, if the spawner says so soon.
    pub(super) async fn ending(&self, id: u32) -> String {
        for _ in 0..POST_MORTEM {
            {
                let mut state = self.lock();
                state.hear(&self.control, &self.meters);
                if let Some((_, ending)) = state.ended.iter().find(|(ended, _)| *ended == id) {
                    return ending.to_string();
                }
            }
            sleep(LOOK).await;
        }
        "without a word".to_owned()
    }

    /// Nothing that is locked here can be left half changed.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
