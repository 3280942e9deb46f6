//! Devices: which slot is whose.
//!
//! One that has come back under the same name, with another medium or file, is another device.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pitot_common::block::{
    BANK_WORDS, DONE, ISSUED, Operation,
    device::{BANKS, GONE, OTHER, SHOWN, SLOTS},
};

use super::disks::{Disk, Disks, is_gone};
use crate::bpf::{
    map::WritableView,
    slots::{Banks, Found, Kind, Place, Slots},
};

/// The banks of a slot's operations.
const PLACE: Place = Place {
    run: BANKS as usize * Operation::COUNT * BANK_WORDS,
    first: 0,
    words: Operation::COUNT * BANK_WORDS,
};

pub(super) struct Devices(Slots<Disks>);

impl Kind for Disks {
    /// The file that says whether it is still the same disk, where there is one.
    type Proof = Option<PathBuf>;
    const SLOTS: u32 = SLOTS;
    const SHOWN: usize = SHOWN;
    const GONE: u32 = GONE;
    const PAST: Option<u32> = None;

    fn find(&self, _: usize, device: u64) -> Found<Option<PathBuf>> {
        let found = self.disk(device).map(|Disk { name, proof }| (name.into(), proof));
        let (name, proof) = found.unzip();
        Found { name, proof }
    }

    fn is_gone(&self, device: u64, proof: &Option<PathBuf>) -> bool {
        proof.as_deref().is_some_and(|proof| is_gone(proof, device))
    }
}

impl Devices {
    /// The devices of a table, and their banks.
    pub(super) fn new(table: WritableView, banks: WritableView, sysfs: &Path, keeper: bool) -> Self {
        let mut slots = Slots::new(Disks::new(sysfs), table, keeper);
        // Nothing is in flight for a device that is gone.
        let lasts = |word| ![ISSUED, DONE].contains(&(word % BANK_WORDS));
        slots.clean_up(Banks { view: banks, place: PLACE, lasts });
        Self(slots)
    }

    /// Learns the devices that have come, looks after those that may be gone, and gives slots back.
    pub(super) fn look(&mut self, now: Instant) {
        self.0.look(now, Duration::ZERO);
    }

    /// The devices that are shown by their names, with their slots.
    pub(super) fn named(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let shown = self.0.known().filter(|(_, known)| !known.past);
        shown.filter_map(|(slot, known)| Some((slot, known.name.as_deref()?)))
    }

    /// The slots of all others.
    pub(super) fn others(&self) -> impl Iterator<Item = u32> {
        let nameless = self.0.known().filter(|(_, known)| !known.past && known.name.is_none());
        nameless.map(|(slot, _)| slot).chain([OTHER, GONE])
    }
}
