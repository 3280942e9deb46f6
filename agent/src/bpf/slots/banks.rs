//! Banks: what was counted for who has a slot.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::bpf::map::{View, WritableView};

/// Where the banks lie in a map: in any number of runs (one for each CPU, say), the first bank of each some
/// words after its begin.
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
    /// The banks of one slot, one in each run.
    pub fn of(self, view: &View, slot: u32) -> impl Iterator<Item = &[AtomicU64]> {
        let at = self.first + slot as usize * self.words;
        view.words().chunks_exact(self.run).map(move |run| &run[at..at + self.words])
    }
}

/// A map of banks, to be emptied with the slots.
pub(crate) struct Banks {
    pub(crate) view: WritableView,
    pub(crate) place: Place,
    /// Whether a word of a bank is a count that an heir takes over. What is in flight ends with its owner.
    pub(crate) lasts: fn(usize) -> bool,
}

impl Banks {
    /// Empties the banks of a slot that no program counts in any more, into those of its heir.
    pub(super) fn empty(&self, slot: usize, heir: Option<usize>) {
        let Self { view, place, lasts } = self;
        for run in (0..view.words().len()).step_by(place.run) {
            for word in 0..place.words {
                let at = |bank: usize| run + place.first + bank * place.words + word;
                let load = |at: usize| view.words()[at].load(Ordering::Acquire);
                let left = load(at(slot));
                if left == 0 {
                    continue;
                }
                if let Some(to) = heir.filter(|_| lasts(word)).map(at) {
                    view.store(to, load(to).wrapping_add(left));
                }
                view.store(at(slot), 0);
            }
        }
    }
}
