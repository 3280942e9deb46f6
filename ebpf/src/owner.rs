// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The slots of cgroups (layout and rules: `pitot_common::owner`).

use aya_ebpf::maps::Array;
use pitot_common::owner::{OTHER, SLOTS, TABLE_WORDS, WAYS};

use crate::table;

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
    // What the table answers when there is none.
    const _: () = assert!(OTHER == SLOTS);
    let Some(table) = table.get_ptr_mut(0) else { return OTHER };
    // SAFETY: the kernel returned a pointer to a whole map value.
    table::slot_of::<TABLE_WORDS, SLOTS, WAYS>(unsafe { &mut *table }, cgroup)
}
