//! Owners: the cgroups that kernel programs count for (layout and rules: `pitot_common::owner`).
//!
//! Programs hand out slots, and this gives them back: a cgroup that is gone keeps its slot until its last
//! numbers have been shown and its banks are empty. All objects that share a table share one of these.

mod names;
mod notes;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pitot_common::{
    owner::{BANKS, GONE, OTHER, PAST, SHOWN, SLOTS, cpu},
    table::{FREE, LEAVING},
};

use self::{
    names::{Name, Names},
    notes::noted,
};
use super::map::{View, WritableView};
use crate::catalogue::{Entries, MapDef};

/// The maps of owners, which every object that counts by owner declares.
pub const OWNER_MAPS: &[MapDef] = &[
    MapDef { name: "OWNER_TABLE", entries: Entries::Fixed(1) },
    MapDef { name: "OWNER_CPU", entries: Entries::PerCpu },
];

/// How long the last numbers of an owner that is gone are shown.
const FAREWELL: Duration = Duration::from_secs(60);
/// How long when slots are scarce.
const SHORT_FAREWELL: Duration = Duration::from_secs(5);
/// Slots in use from which they are scarce.
const SCARCE: usize = SLOTS as usize * 3 / 4;
/// In how long every owner is looked at once, to see whether it is gone.
const PATROL: Duration = Duration::from_secs(10);
/// Collections that follow each other faster share one look at the table.
const SHORTEST: Duration = Duration::from_millis(100);

/// The owners of a table, for all inputs that count by it.
#[derive(Clone)]
pub struct Owners {
    registry: Arc<Mutex<Registry>>,
    lost_track: Arc<AtomicBool>,
}

/// One owner, as an input meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The index of its banks.
    pub slot: u32,
    /// Its cgroup's identity.
    pub cgroup: u64,
    /// Its path in the unified tree; none for one that must be counted among the others, because it was gone
    /// before anyone could name it.
    pub name: Option<&'a [u8]>,
    /// Whether it was shown by its name and is no longer: it must not be shown again, as one of the others.
    pub past: bool,
}

/// How many slots are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By cgroups that live.
    pub live: usize,
    /// By cgroups that are gone and are still shown.
    pub gone: usize,
}

struct Registry {
    table: WritableView,
    /// Who runs on each CPU.
    cpus: View,
    names: Names,
    /// By slot, what programs noted of the names.
    notes: Option<View>,
    /// Whether slots are given back here. An agent that only looks leaves that to the one that owns the table.
    keeper: bool,
    slots: Vec<Option<Known>>,
    banks: Vec<Banks>,
    looked: Option<Instant>,
    /// Where the patrol goes on.
    next: usize,
}

/// What is known of a slot's owner.
struct Known {
    cgroup: u64,
    name: Option<Box<[u8]>>,
    gone: Option<Instant>,
    past: bool,
}

/// A map by owner, to be emptied when an owner is gone.
struct Banks {
    view: WritableView,
    place: Place,
}

/// Where the banks of owners lie in a map: in any number of runs (one for each CPU, say), the first bank of
/// each some words after its begin.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Words of a run.
    pub run: usize,
    /// Words before its first bank.
    pub first: usize,
    /// Words of a bank.
    pub words: usize,
}

impl Place {
    /// Nothing but banks.
    pub const fn banks(words: usize) -> Self {
        Self { run: BANKS as usize * words, first: 0, words }
    }

    /// The banks of one owner, one in each run.
    pub fn of(self, view: &View, slot: u32) -> impl Iterator<Item = &[AtomicU64]> {
        let at = self.first + slot as usize * self.words;
        view.words().chunks_exact(self.run).map(move |run| &run[at..at + self.words])
    }
}

impl Owners {
    /// The owners of a table, and of those who run on each CPU.
    pub(super) fn new(table: WritableView, cpus: View, sysfs: &Path, keeper: bool) -> Self {
        let slots = std::iter::repeat_with(|| None).take(SLOTS as usize).collect();
        let registry = Registry {
            table,
            cpus,
            names: Names::find(sysfs),
            notes: None,
            keeper,
            slots,
            banks: Vec::new(),
            looked: None,
            next: 0,
        };
        Self { registry: Arc::new(Mutex::new(registry)), lost_track: Arc::default() }
    }

    /// Notes that nobody follows any more who runs on which CPU.
    pub fn lose_track(&self) {
        self.lost_track.store(true, Ordering::Relaxed);
    }

    /// Whether it is known who runs on which CPU, so that programs can charge whoever that is.
    pub fn keeps_track(&self) -> bool {
        !self.lost_track.load(Ordering::Relaxed)
    }

    /// Has a map emptied with the slots.
    pub fn clean_up(&self, view: WritableView, place: Place) {
        if let Some(mut registry) = self.registry() {
            registry.banks.push(Banks { view, place });
        }
    }

    /// Has those that are gone before they are met named by what a program noted of them.
    pub fn take_notes(&self, notes: View) {
        if let Some(mut registry) = self.registry() {
            registry.notes = Some(notes);
        }
    }

    /// Visits every owner that has a slot, and returns how many slots are in use. None, and no visit, while
    /// another thread hangs in here: whoever sums owners up must then show no sum at all.
    pub fn visit(&self, now: Instant, mut visit: impl FnMut(Owner<'_>)) -> Option<Usage> {
        let mut registry = self.registry()?;
        registry.look(now);
        let mut usage = Usage::default();
        for (slot, known) in (0..).zip(&registry.slots) {
            let Some(known) = known else { continue };
            *if known.gone.is_some() { &mut usage.gone } else { &mut usage.live } += 1;
            let (cgroup, name, past) = (known.cgroup, known.name.as_deref(), known.past);
            visit(Owner { slot, cgroup, name, past });
        }
        Some(usage)
    }

    fn registry(&self) -> Option<MutexGuard<'_, Registry>> {
        match self.registry.try_lock() {
            Ok(registry) => Some(registry),
            // A panic in a visit is the input's.
            Err(std::sync::TryLockError::Poisoned(registry)) => Some(registry.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

impl Registry {
    /// Learns the owners that have come, looks after those that may be gone, and gives slots back.
    fn look(&mut self, now: Instant) {
        let since = self.looked.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < SHORTEST) {
            return;
        }
        self.looked = Some(now);
        self.learn(now);
        self.patrol(now, since.unwrap_or(PATROL));
        if self.keeper {
            self.give_back(now);
        }
    }

    fn learn(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let cgroup = self.table.words()[slot].load(Ordering::Acquire);
            if self.slots[slot].as_ref().map_or(FREE, |known| known.cgroup) == cgroup {
                continue;
            }
            self.slots[slot] = match cgroup {
                FREE => None,
                // What an agent began that did not get to its end; or its owner's work in progress.
                LEAVING => {
                    if self.keeper {
                        self.empty(slot);
                    }
                    None
                }
                _ => Some(self.meet(slot, cgroup, now)),
            };
            if self.keeper && self.slots[slot].as_ref().is_some_and(|known| known.name.is_some()) {
                self.table.store(SHOWN + slot, cgroup);
            }
        }
    }

    fn meet(&self, slot: usize, cgroup: u64, now: Instant) -> Known {
        // Two CPUs that met a cgroup at the same moment may have given it two slots: the second one's counts
        // are shown among the others'.
        if self.slots.iter().flatten().any(|known| known.cgroup == cgroup) {
            return Known { cgroup, name: None, gone: None, past: false };
        }
        match self.names.of(cgroup) {
            Name::Path(path) => Known { cgroup, name: Some(path), gone: None, past: false },
            Name::Gone => {
                let name = self.notes.as_ref().and_then(|notes| noted(notes.words(), slot, cgroup));
                // An earlier agent showed it by its name, and it went before this one began.
                let past = self.table.words()[SHOWN + slot].load(Ordering::Acquire) == cgroup;
                Known { cgroup, name, gone: Some(now), past }
            }
            Name::Unknown => {
                let name = Some(format!("cgroup {cgroup}").into_bytes().into());
                Known { cgroup, name, gone: None, past: false }
            }
        }
    }

    /// Looks whether owners are gone: as many as it takes to have looked at all of them once in a while.
    fn patrol(&mut self, now: Instant, since: Duration) {
        let all = self.slots.len();
        let share = (since.as_secs_f64() / PATROL.as_secs_f64()).min(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the slots")]
        let some = (share * all as f64).ceil() as usize;
        let some = if self.in_use() >= SCARCE { all } else { some.min(all) };
        for _ in 0..some {
            let slot = self.next;
            self.next = (slot + 1) % all;
            if let Some(known) = &mut self.slots[slot]
                && known.gone.is_none()
                && self.names.is_gone(known.cgroup)
            {
                known.gone = Some(now);
            }
        }
    }

    fn in_use(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Gives back the slots of owners that are gone and have been shown for long enough.
    fn give_back(&mut self, now: Instant) {
        let farewell = if self.in_use() >= SCARCE { SHORT_FAREWELL } else { FAREWELL };
        for slot in 0..self.slots.len() {
            let Some(known) = &self.slots[slot] else { continue };
            let over = known.gone.is_some_and(|at| now.saturating_duration_since(at) >= farewell);
            if !(over || known.past) || self.runs_somewhere(slot) {
                continue;
            }
            // Before the first word is moved it must be known to whoever finds this half done.
            if self.table.words()[SHOWN + slot].load(Ordering::Acquire) != known.cgroup {
                self.table.store(SHOWN + slot, FREE);
            }
            self.table.store(slot, LEAVING);
            self.empty(slot);
            self.slots[slot] = None;
        }
    }

    /// Whether a CPU still charges an owner: the last task of a cgroup may outlive it by a moment.
    fn runs_somewhere(&self, slot: usize) -> bool {
        let charged = slot as u64 + 1;
        self.cpus
            .words()
            .chunks_exact(cpu::WORDS)
            .any(|bank| bank[cpu::CURRENT].load(Ordering::Acquire) == charged)
    }

    /// Empties the banks of a slot and frees it. What was counted there is kept: with the past, or, if it was
    /// never shown by its owner's name, with what is shown as the others'.
    fn empty(&self, slot: usize) {
        let shown = self.table.words()[SHOWN + slot].load(Ordering::Acquire) != FREE;
        let heir = if shown { PAST } else { GONE } as usize;
        for Banks { view, place } in &self.banks {
            for run in (0..view.words().len()).step_by(place.run) {
                for word in 0..place.words {
                    let [from, to] = [slot, heir].map(|bank| run + place.first + bank * place.words + word);
                    let [left, kept] = [from, to].map(|at| view.words()[at].load(Ordering::Acquire));
                    if left != 0 {
                        view.store(to, kept.wrapping_add(left));
                        view.store(from, 0);
                    }
                }
            }
        }
        self.table.store(slot, FREE);
    }
}

impl Owners {
    /// Adds up the first words of every owner's banks, and hands them out by name; last those of all that have
    /// none, if they counted anything, as `other`. Sums of zeros only are left out.
    pub fn sums<const WORDS: usize>(
        &self,
        now: Instant,
        view: &View,
        place: Place,
        mut deliver: impl FnMut(&[u8], &[u64; WORDS]),
    ) {
        let add = |sums: &mut [u64; WORDS], slot| {
            for bank in place.of(view, slot) {
                for (sum, word) in sums.iter_mut().zip(bank) {
                    *sum += word.load(Ordering::Relaxed);
                }
            }
        };
        let mut others = [0; WORDS];
        let visited = self.visit(now, |owner| match owner.name {
            _ if owner.past => {}
            None => add(&mut others, owner.slot),
            Some(name) => {
                let mut sums = [0; WORDS];
                add(&mut sums, owner.slot);
                if sums != [0; WORDS] {
                    deliver(name, &sums);
                }
            }
        });
        if visited.is_none() {
            return;
        }
        add(&mut others, OTHER);
        add(&mut others, GONE);
        if others != [0; WORDS] {
            deliver(b"other", &others);
        }
    }
}
