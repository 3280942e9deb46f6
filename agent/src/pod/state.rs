//! Which helpers there are, as far as the agent has heard.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use tokio::sync::Semaphore;

use super::{
    client::Client,
    control::Control,
    errand::Errand,
    meters::Meters,
    orders::{Ending, Needs, Notice, Order},
    stuck::Killed,
};

/// Helpers of a kind in one container, at the most; further requests wait.
const SEATS: usize = 3;
/// Keys whose network is remembered after their last helper has left.
const MOST_NETS: usize = 4096;
/// Endings that are remembered until somebody asks.
const REMEMBERED: usize = 64;

/// Helpers of the same key are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// None for the host.
    pub(super) container: Option<Identity>,
    pub(super) needs: Needs,
}

/// A container, and its first process.
pub(super) type Identity = (String, u32, u64);

/// Where helpers of a key wait.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) seats: Arc<Semaphore>,
    /// How many seats there are.
    wide: usize,
    pub(super) idle: Vec<Client>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) last: u32,
    pub(super) running: HashSet<u32>,
    /// Of these, those that were told to end for want of room.
    pub(super) evicted: HashSet<u32>,
    /// Of these, those that a request had killed.
    pub(super) killed: Killed,
    pub(super) ended: VecDeque<(u32, Ending)>,
    pub(super) rooms: HashMap<Key, Room>,
    pub(super) nets: HashMap<Key, u64>,
    /// The error of the last one that could not be started, until one is.
    pub(super) not_started: Option<i32>,
    pub(super) is_gone: bool,
    /// There is another spawner, which waits for word.
    pub(super) is_new: bool,
}

impl State {
    pub(super) fn room(&mut self, key: &Key) -> &mut Room {
        self.rooms.entry(key.clone()).or_insert_with(|| Room {
            seats: Arc::new(Semaphore::new(1)),
            wide: 1,
            idle: Vec::new(),
        })
    }

    /// The network namespace that the first helper of a key found. All others have to find the same, also when the
    /// first one is long gone.
    pub(super) fn net(&self, key: &Key) -> Option<u64> {
        self.nets.get(key).copied()
    }

    pub(super) fn note_net(&mut self, key: &Key, net: u64) {
        if self.nets.len() >= MOST_NETS {
            let rooms = &self.rooms;
            self.nets.retain(|key, _| rooms.contains_key(key));
        }
        self.nets.insert(key.clone(), net);
    }

    /// Helpers that take part in the bound that all share. Of those that are stuck nobody could make room.
    pub(super) fn present(&self) -> usize {
        self.running.len() - self.killed.stuck()
    }

    /// Takes note of a helper that was just killed, unless it has ended already.
    pub(super) fn killed(&mut self, id: u32, errand: &Errand<'_>) {
        if self.running.contains(&id) {
            self.killed.add(id, errand);
        }
    }

    pub(super) fn longest_idle(&mut self) -> Option<Client> {
        // Numbers rise: the lowest one has been there for the longest time.
        let idle = self.rooms.values_mut().filter(|room| !room.idle.is_empty());
        let room = idle.min_by_key(|room| room.idle.first().map(|client| client.id))?;
        Some(room.idle.remove(0))
    }

    /// Takes note of helpers that have ended. Their connections are closed, and rooms that nobody needs are left.
    pub(super) fn hear(&mut self, control: &Control, meters: &Meters) {
        let mut gone = HashSet::new();
        let is_there = control.hear(|notice| match notice {
            Notice::Ended { id, ending } => {
                gone.insert(id);
                if let Ending::NotStarted(error) = ending
                    && self.not_started.replace(error) != Some(error)
                {
                    tracing::warn!(%ending, "no helper");
                }
                self.ended.push_back((id, ending));
            }
            // The first one was heard at the start. Helpers end with their spawner.
            Notice::Ready { .. } => {
                tracing::warn!(
                    "the spawner of helpers has ended, and all helpers with it; there is another one"
                );
                Meters::spawner_replaced();
                gone.extend(self.running.iter().copied());
                self.is_new = true;
            }
        });
        if self.is_new {
            // Before all that it is to start.
            self.is_new = control.order(&Order::Begin, None).is_err();
        }
        if !is_there && !self.is_gone {
            tracing::error!(
                "the spawner of helpers and its keeper have ended: no check is executed until the agent is started again"
            );
            self.is_gone = true;
            gone.extend(self.running.iter().copied());
        }
        let changes = self.killed.look(&gone);
        if changes {
            meters.stuck(self.killed.stuck());
        }
        if gone.is_empty() && !changes {
            return;
        }
        self.running.retain(|id| !gone.contains(id));
        self.evicted.retain(|id| !gone.contains(id));
        self.rooms.retain(|_, room| {
            room.idle.retain(|client| !gone.contains(&client.id));
            !room.idle.is_empty() || Arc::strong_count(&room.seats) > 1
        });
        let old = self.ended.len().saturating_sub(REMEMBERED);
        self.ended.drain(..old);
        meters.running(self.present());
    }
}

impl Room {
    /// Another seat, if there may be one.
    pub(super) fn widen(&mut self) {
        if self.wide < SEATS {
            self.wide += 1;
            self.seats.add_permits(1);
        }
    }
}
