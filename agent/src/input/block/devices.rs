//! Devices: which slot is whose, and giving back those of devices that are gone.
//!
//! Programs take the slots. A device that is gone keeps its own until its last numbers have been shown for a
//! while; one that has come back under the same name, with another medium or file, begins anew at once.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pitot_common::{
    block::{
        BANK_WORDS, DONE, ISSUED, Operation,
        device::{GONE, OTHER, SHOWN, SLOTS},
    },
    table::{FREE, LEAVING},
};

use super::disks::{Disk, Disks, is_gone};
use crate::bpf::map::WritableView;

/// How long the last numbers of a device that is gone are shown.
const FAREWELL: Duration = Duration::from_secs(60);
/// How long when slots are scarce.
const SHORT_FAREWELL: Duration = Duration::from_secs(5);
/// Slots in use from which they are scarce.
const SCARCE: usize = SLOTS as usize * 3 / 4;
/// How often it is looked which devices are gone, while slots are not scarce.
const PATROL: Duration = Duration::from_secs(10);
/// Words of a slot's banks.
const SLOT_WORDS: usize = Operation::COUNT * BANK_WORDS;

pub(super) struct Devices {
    table: WritableView,
    banks: WritableView,
    disks: Disks,
    /// Whether slots are given back here. An agent that only looks leaves that to the one that owns the table.
    keeper: bool,
    slots: Vec<Option<Known>>,
    patrolled: Option<Instant>,
}

/// What is known of a slot's device.
struct Known {
    device: u64,
    /// None of one that must be counted among the others, because it was gone before anyone could name it.
    name: Option<Box<str>>,
    proof: Option<PathBuf>,
    gone: Option<Instant>,
    /// Whether it was shown by its name and is no longer.
    past: bool,
}

impl Devices {
    /// The devices of a table, and their banks.
    pub(super) fn new(table: WritableView, banks: WritableView, sysfs: &Path, keeper: bool) -> Self {
        let slots = std::iter::repeat_with(|| None).take(SLOTS as usize).collect();
        Self { table, banks, disks: Disks::new(sysfs), keeper, slots, patrolled: None }
    }

    /// Learns the devices that have come, looks after those that may be gone, and gives slots back.
    pub(super) fn look(&mut self, now: Instant) {
        self.learn(now);
        let since = self.patrolled.map(|at| now.saturating_duration_since(at));
        if self.in_use() >= SCARCE || since.is_none_or(|since| since >= PATROL) {
            self.patrolled = Some(now);
            self.patrol(now);
        }
        if self.keeper {
            self.give_back(now);
        }
    }

    /// The devices that are shown by their names, with their slots.
    pub(super) fn named(&self) -> impl Iterator<Item = (usize, &str)> {
        let known = self.slots.iter().enumerate().filter_map(|(slot, known)| Some((slot, known.as_ref()?)));
        known
            .filter(|(_, known)| !known.past)
            .filter_map(|(slot, known)| Some((slot, known.name.as_deref()?)))
    }

    /// The slots of all others.
    pub(super) fn others(&self) -> impl Iterator<Item = usize> {
        let is_nameless = |known: &Known| !known.past && known.name.is_none();
        let slots = self.slots.iter().enumerate();
        let slots = slots.filter(move |(_, known)| known.as_ref().is_some_and(is_nameless));
        slots.map(|(slot, _)| slot).chain([OTHER as usize, GONE as usize])
    }

    fn learn(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let device = self.word(slot);
            if self.slots[slot].as_ref().map_or(FREE, |known| known.device) == device {
                continue;
            }
            self.slots[slot] = None;
            match device {
                // What an agent began that did not get to its end.
                LEAVING if self.keeper => self.empty(slot),
                FREE | LEAVING => {}
                _ => self.meet(slot, device, now),
            }
        }
    }

    fn meet(&mut self, slot: usize, device: u64, now: Instant) {
        let found = self.disks.find(device);
        let gone = found.is_none().then_some(now);
        let (mut name, proof) = found.map_or((None, None), |Disk { name, proof }| (Some(name), proof));
        // Two CPUs that met a device at the same moment may have given it two slots: the second one's counts
        // are shown among the others'.
        if self.slots.iter().flatten().any(|known| known.device == device) {
            name = None;
        }
        // Two series cannot have one name.
        if let Some(name) = &name {
            for earlier in self.slots.iter_mut().flatten().filter(|known| known.name.as_ref() == Some(name)) {
                earlier.past = true;
            }
            if self.keeper {
                self.table.store(SHOWN + slot, device);
            }
        }
        let past = gone.is_some() && self.word(SHOWN + slot) == device;
        self.slots[slot] = Some(Known { device, name, proof, gone, past });
    }

    fn patrol(&mut self, now: Instant) {
        for known in self.slots.iter_mut().flatten().filter(|known| known.gone.is_none()) {
            if known.proof.as_deref().is_some_and(|proof| is_gone(proof, known.device)) {
                known.gone = Some(now);
            }
        }
    }

    fn in_use(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn give_back(&mut self, now: Instant) {
        let farewell = if self.in_use() >= SCARCE { SHORT_FAREWELL } else { FAREWELL };
        for slot in 0..self.slots.len() {
            let Some(known) = &self.slots[slot] else { continue };
            let over = known.gone.is_some_and(|at| now.saturating_duration_since(at) >= farewell);
            if !over && !known.past {
                continue;
            }
            // Before the first word is moved it must be known to whoever finds this half done.
            if self.word(SHOWN + slot) != known.device {
                self.table.store(SHOWN + slot, FREE);
            }
            // A request that still is in flight finds that its device has the slot no longer.
            self.table.store(slot, LEAVING);
            self.empty(slot);
            self.slots[slot] = None;
        }
    }

    /// Empties the banks of a slot and frees it. What was never shown by a name is kept, for the others.
    fn empty(&self, slot: usize) {
        let shown = self.word(SHOWN + slot) != FREE;
        let [from, to] = [slot, GONE as usize].map(|slot| slot * SLOT_WORDS);
        for word in 0..SLOT_WORDS {
            let left = self.banks.words()[from + word].load(Ordering::Acquire);
            // Nothing is in flight for a device that is gone.
            let is_flight = [ISSUED, DONE].contains(&(word % BANK_WORDS));
            if left != 0 {
                if !shown && !is_flight {
                    let kept = self.banks.words()[to + word].load(Ordering::Acquire);
                    self.banks.store(to + word, kept.wrapping_add(left));
                }
                self.banks.store(from + word, 0);
            }
        }
        self.table.store(slot, FREE);
    }

    fn word(&self, word: usize) -> u64 {
        self.table.words()[word].load(Ordering::Acquire)
    }
}
