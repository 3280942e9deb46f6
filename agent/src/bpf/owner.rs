//! Owners: the cgroups that kernel programs count for (layout and rules: `pitot_common::owner`).
//!
//! All objects that share a table share one of these.

mod names;
mod notes;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pitot_common::owner::{BANKS, GONE, OTHER, PAST, SHOWN, SLOTS, cpu};

use self::{
    names::{Name, Names},
    notes::noted,
};
pub use super::slots::Place;
use super::{
    map::{View, WritableView},
    slots::{Banks, Found, Kind, Slots},
};
use crate::catalogue::{Entries, MapDef};

/// The maps of owners, which every object that counts by owner declares.
pub const OWNER_MAPS: &[MapDef] = &[
    MapDef { name: "OWNER_TABLE", entries: Entries::Fixed(1) },
    MapDef { name: "OWNER_CPU", entries: Entries::PerCpu },
];

/// Collections that follow each other faster share one look at the table.
const SHORTEST: Duration = Duration::from_millis(100);

/// The owners of a table, for all inputs that count by it.
#[derive(Clone)]
pub struct Owners {
    slots: Arc<Mutex<Slots<Cgroups>>>,
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

/// Who stands in the table.
struct Cgroups {
    /// Who runs on each CPU.
    cpus: View,
    names: Names,
    /// By slot, what programs noted of the names.
    notes: Option<View>,
}

impl Kind for Cgroups {
    type Proof = ();
    const SLOTS: u32 = SLOTS;
    const SHOWN: usize = SHOWN;
    const GONE: u32 = GONE;
    const PAST: Option<u32> = Some(PAST);

    fn find(&self, slot: usize, cgroup: u64) -> Found<()> {
        match self.names.of(cgroup) {
            Name::Path(path) => Found { name: Some(path), proof: Some(()) },
            Name::Gone => {
                let name = self.notes.as_ref().and_then(|notes| noted(notes.words(), slot, cgroup));
                Found { name, proof: None }
            }
            Name::Unknown => {
                Found { name: Some(format!("cgroup {cgroup}").into_bytes().into()), proof: Some(()) }
            }
        }
    }

    fn is_gone(&self, cgroup: u64, (): &()) -> bool {
        self.names.is_gone(cgroup)
    }

    /// The last task of a cgroup may outlive it by a moment.
    fn is_charged(&self, slot: usize) -> bool {
        let charged = slot as u64 + 1;
        let mut cpus = self.cpus.words().chunks_exact(cpu::WORDS);
        cpus.any(|bank| bank[cpu::CURRENT].load(Ordering::Acquire) == charged)
    }
}

impl Place {
    /// Nothing but banks of owners.
    pub const fn banks(words: usize) -> Self {
        Self { run: BANKS as usize * words, first: 0, words }
    }
}

impl Owners {
    /// The owners of a table, and of those who run on each CPU.
    pub(super) fn new(table: WritableView, cpus: View, sysfs: &Path, keeper: bool) -> Self {
        let slots = Slots::new(Cgroups { cpus, names: Names::find(sysfs), notes: None }, table, keeper);
        Self { slots: Arc::new(Mutex::new(slots)), lost_track: Arc::default() }
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
        if let Some(mut slots) = self.slots() {
            slots.clean_up(Banks { view, place, lasts: |_| true });
        }
    }

    /// Has those that are gone before they are met named by what a program noted of them.
    pub fn take_notes(&self, notes: View) {
        if let Some(mut slots) = self.slots() {
            slots.kind.notes = Some(notes);
        }
    }

    /// Visits every owner that has a slot, and returns how many slots are in use. None, and no visit, while
    /// another thread hangs in here: whoever sums owners up must then show no sum at all.
    pub fn visit(&self, now: Instant, mut visit: impl FnMut(Owner<'_>)) -> Option<Usage> {
        let mut slots = self.slots()?;
        slots.look(now, SHORTEST);
        let mut usage = Usage::default();
        for (slot, known) in slots.known() {
            *if known.gone.is_some() { &mut usage.gone } else { &mut usage.live } += 1;
            let (cgroup, name, past) = (known.identity, known.name.as_deref(), known.past);
            visit(Owner { slot, cgroup, name, past });
        }
        Some(usage)
    }

    fn slots(&self) -> Option<MutexGuard<'_, Slots<Cgroups>>> {
        match self.slots.try_lock() {
            Ok(slots) => Some(slots),
            // A panic in a visit is the input's.
            Err(std::sync::TryLockError::Poisoned(slots)) => Some(slots.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

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
