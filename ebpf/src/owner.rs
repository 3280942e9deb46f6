// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Finding the slot of a cgroup, or taking one (layout and rules: `pitot_common::owner`).

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::maps::Array;
use pitot_common::owner::{FREE, OTHER, SLOTS, TABLE_WORDS, WAYS, sets};

use crate::bank::opaque;

/// The table of owners.
pub type Table = Array<[u64; TABLE_WORDS]>;

/// Declares the maps of owners, which all objects that count by owner share.
#[macro_export]
macro_rules! owners {
    () => {
        /// Which cgroup has which slot.
        #[map]
        static OWNER_TABLE: $crate::owner::Table = Array::with_max_entries(1, $crate::bank::MMAPABLE);
        /// Who runs on each CPU: written when tasks switch.
        #[map]
        static OWNER_CPU: Array<[u64; pitot_common::owner::cpu::WORDS]> =
            Array::with_max_entries(1, $crate::bank::MMAPABLE);
    };
}

/// The slot of a cgroup; one that has none takes one, and shares [`OTHER`] when there is none.
#[inline(always)]
pub fn slot_of(table: &Table, cgroup: u64) -> u32 {
    let Some(table) = table.get_ptr_mut(0) else { return OTHER };
    let [first, second] = sets(cgroup);
    // SAFETY: the kernel returned a pointer to a whole map value.
    let table = unsafe { &mut *table };
    let (here, first) = search(table, first, cgroup);
    if here < SLOTS {
        return here;
    }
    let (here, second) = search(table, second, cgroup);
    if here < SLOTS {
        return here;
    }
    let emptier = if second.free > first.free { second } else { first };
    if emptier.free > 0 { take(table, emptier.at, cgroup) } else { OTHER }
}

/// The free positions of a set.
#[derive(Clone, Copy)]
struct Room {
    free: u32,
    /// One of them.
    at: u32,
}

/// Where in a set a cgroup stands, [`SLOTS`] for nowhere, and what is free there.
#[inline(always)]
fn search(table: &[u64; TABLE_WORDS], set: u32, cgroup: u64) -> (u32, Room) {
    let mut room = Room { free: 0, at: 0 };
    // Eight comparisons in a row: the compiler leaves no loop.
    let mut way = 0;
    while way < WAYS {
        let at = (set + way) % SLOTS;
        // SAFETY: a reference to a word of the table; volatile, because other CPUs write it.
        let owner = unsafe { core::ptr::read_volatile(&raw const table[at as usize]) };
        if owner == cgroup {
            return (at, room);
        }
        if owner == FREE {
            room = Room { free: room.free + 1, at };
        }
        way += 1;
    }
    (SLOTS, room)
}

/// Takes a free position, unless another CPU was faster: then it is the same cgroup's, or the next event of
/// this one tries again.
#[inline(always)]
fn take(table: &mut [u64; TABLE_WORDS], at: u32, cgroup: u64) -> u32 {
    let Some(cell) = table.get_mut(opaque(at as usize)) else { return OTHER };
    // SAFETY: a word of the map value; all who write it do so atomically.
    let (owner, taken) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(cell, FREE, cgroup)
    };
    if taken || owner == cgroup { at } else { OTHER }
}
