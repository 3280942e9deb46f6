//! Slots of a table (layout and rules: `pitot_common::table`): who has which, and giving them back.
//!
//! Programs hand slots out. Who is gone keeps its slot until its last numbers have been shown for a while; then
//! its banks are emptied and the slot is free. One that comes under the name of another begins anew at once.

mod banks;
#[cfg(test)]
mod tests;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pitot_common::table::{FREE, LEAVING};

pub(crate) use self::banks::Banks;
pub use self::banks::Place;
use super::map::WritableView;

/// How long the last numbers of one that is gone are shown.
const FAREWELL: Duration = Duration::from_secs(60);
/// How long when slots are scarce.
const SHORT_FAREWELL: Duration = Duration::from_secs(5);
/// In how long everyone is looked at once, to see whether it is gone.
const PATROL: Duration = Duration::from_secs(10);

/// What stands in a table.
pub(crate) trait Kind {
    /// What is kept of one, to tell whether it is gone.
    type Proof;
    /// Slots of the table.
    const SLOTS: u32;
    /// First word of the second half of the table: by slot, who was shown there by its name.
    const SHOWN: usize;
    /// The bank of what was counted for those that never had a name.
    const GONE: u32;
    /// The bank of what was shown by a name and is no longer; none where nobody asks for it.
    const PAST: Option<u32>;

    /// Looks for one that has come to a slot.
    fn find(&self, slot: usize, identity: u64) -> Found<Self::Proof>;

    /// Whether one that was there is gone. What cannot be told is not.
    fn is_gone(&self, identity: u64, proof: &Self::Proof) -> bool;

    /// Whether programs still count for one that is gone, so that its slot cannot be given back yet.
    fn is_charged(&self, _slot: usize) -> bool {
        false
    }
}

/// What is found of one when it is met.
pub(crate) struct Found<P> {
    /// None if nobody can say it.
    pub(crate) name: Option<Box<[u8]>>,
    /// None if it is gone already.
    pub(crate) proof: Option<P>,
}

/// What is known of one that has a slot.
pub(crate) struct Known<P> {
    pub(crate) identity: u64,
    /// None of one that must be counted among the others: it was gone before anyone could name it.
    pub(crate) name: Option<Box<[u8]>>,
    /// Since when it is.
    pub(crate) gone: Option<Instant>,
    /// Whether it was shown by its name and is no longer: it must not be shown again, as one of the others.
    pub(crate) past: bool,
    proof: Option<P>,
}

/// The slots of a table.
pub(crate) struct Slots<K: Kind> {
    pub(crate) kind: K,
    table: WritableView,
    /// What is emptied with the slots.
    banks: Vec<Banks>,
    /// Whether slots are given back here. An agent that only looks leaves that to the one that owns the table.
    keeper: bool,
    known: Vec<Option<Known<K::Proof>>>,
    looked: Option<Instant>,
    /// Where the patrol goes on.
    next: usize,
}

impl<K: Kind> Slots<K> {
    pub(crate) fn new(kind: K, table: WritableView, keeper: bool) -> Self {
        let known = std::iter::repeat_with(|| None).take(K::SLOTS as usize).collect();
        Self { kind, table, banks: Vec::new(), keeper, known, looked: None, next: 0 }
    }

    /// Has a map emptied with the slots.
    pub(crate) fn clean_up(&mut self, banks: Banks) {
        self.banks.push(banks);
    }

    /// All that have slots, by slot.
    pub(crate) fn known(&self) -> impl Iterator<Item = (u32, &Known<K::Proof>)> {
        (0..).zip(&self.known).filter_map(|(slot, known)| Some((slot, known.as_ref()?)))
    }

    /// Learns who has come, looks after those that may be gone, and gives slots back; but not more often than
    /// this.
    pub(crate) fn look(&mut self, now: Instant, shortest: Duration) {
        let since = self.looked.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < shortest) {
            return;
        }
        self.looked = Some(now);
        for slot in 0..self.known.len() {
            self.learn(slot, now);
        }
        self.patrol(now, since.unwrap_or(PATROL));
        if self.keeper {
            self.give_back(now);
        }
    }

    fn learn(&mut self, slot: usize, now: Instant) {
        let identity = self.word(slot);
        if self.known[slot].as_ref().map_or(FREE, |known| known.identity) == identity {
            return;
        }
        self.known[slot] = None;
        match identity {
            // What an agent began that did not get to its end.
            LEAVING if self.keeper => self.empty(slot),
            // Or its owner's work in progress.
            FREE | LEAVING => {}
            _ => self.meet(slot, identity, now),
        }
    }

    fn meet(&mut self, slot: usize, identity: u64, now: Instant) {
        let Found { mut name, proof } = self.kind.find(slot, identity);
        // Two CPUs that met one at the same moment may have given it two slots: the second one's counts are
        // shown among the others'.
        if self.known().any(|(_, known)| known.identity == identity) {
            name = None;
        }
        let gone = proof.is_none().then_some(now);
        // An earlier agent showed it by its name, and it went before this one began.
        let past = gone.is_some() && self.word(K::SHOWN + slot) == identity;
        if name.is_some() {
            // Two series cannot have one name.
            for earlier in self.known.iter_mut().flatten().filter(|known| known.name == name) {
                earlier.past = true;
            }
            if self.keeper {
                self.table.store(K::SHOWN + slot, identity);
            }
        }
        self.known[slot] = Some(Known { identity, name, gone, past, proof });
    }

    /// Looks who is gone: at as many as it takes to have looked at all of them once in a while.
    fn patrol(&mut self, now: Instant, since: Duration) {
        let all = self.known.len();
        let share = (since.as_secs_f64() / PATROL.as_secs_f64()).min(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the slots")]
        let some = (share * all as f64).ceil() as usize;
        for _ in 0..if self.is_scarce() { all } else { some.min(all) } {
            let known = self.known[self.next].as_mut().filter(|known| known.gone.is_none());
            self.next = (self.next + 1) % all;
            if let Some(known) = known
                && known.proof.as_ref().is_some_and(|proof| self.kind.is_gone(known.identity, proof))
            {
                known.gone = Some(now);
            }
        }
    }

    fn is_scarce(&self) -> bool {
        self.known().count() >= self.known.len() * 3 / 4
    }

    /// Gives back the slots of those that have been gone and shown for long enough.
    fn give_back(&mut self, now: Instant) {
        let farewell = if self.is_scarce() { SHORT_FAREWELL } else { FAREWELL };
        for slot in 0..self.known.len() {
            let Some(known) = &self.known[slot] else { continue };
            let over = known.gone.is_some_and(|at| now.saturating_duration_since(at) >= farewell);
            if !(over || known.past) || self.kind.is_charged(slot) {
                continue;
            }
            // Before the first word is moved it must be known to whoever finds this half done.
            if self.word(K::SHOWN + slot) != known.identity {
                self.table.store(K::SHOWN + slot, FREE);
            }
            // What ends after this finds that its owner has the slot no longer.
            self.table.store(slot, LEAVING);
            self.empty(slot);
            self.known[slot] = None;
        }
    }

    /// Empties the banks of a slot and frees it. What was counted there and never shown by a name is kept for
    /// the others, and the rest where it still counts in a sum.
    fn empty(&self, slot: usize) {
        let was_shown = self.word(K::SHOWN + slot) != FREE;
        let heir = if was_shown { K::PAST } else { Some(K::GONE) };
        for banks in &self.banks {
            banks.empty(slot, heir.map(|heir| heir as usize));
        }
        self.table.store(slot, FREE);
    }

    fn word(&self, at: usize) -> u64 {
        self.table.words()[at].load(Ordering::Acquire)
    }
}
