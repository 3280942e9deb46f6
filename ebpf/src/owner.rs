// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The slots of cgroups, and noting their names (layout and rules: `pitot_common::owner`).

use aya_ebpf::{
    helpers::{bpf_probe_read_kernel, generated::bpf_probe_read_kernel_str},
    maps::Array,
};
use pitot_common::owner::{OTHER, SLOTS, TABLE_WORDS, WAYS, note};

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
    table::slot_of::<TABLE_WORDS, SLOTS, WAYS, false>(unsafe { &mut *table }, cgroup)
}

/// The directory of a cgroup in the unified tree, by its address; the offsets are those of its fields.
#[derive(Clone, Copy)]
pub struct Node {
    /// `kernfs_node`
    pub address: u64,
    /// What identifies the cgroup.
    pub id: u64,
    /// `kernfs_node.name`
    pub name: u32,
    /// `kernfs_node.parent`
    pub parent: u32,
}

impl Node {
    /// Notes the names of the directory and of the one above it.
    #[inline(always)]
    pub fn note(self, words: &mut [u64; note::WORDS]) {
        // SAFETY: a word of the note; volatile, so that it is 0 before anything else changes.
        unsafe { (&raw mut words[note::ID]).write_volatile(0) };
        let parent = Self::read(self.address, self.parent);
        let name = Self::read(parent, self.name);
        // SAFETY: there is room for so many bytes; the helper checks the address of the name.
        unsafe {
            bpf_probe_read_kernel_str(
                (&raw mut words[note::PARENT]).cast(),
                note::PARENT_BYTES as u32,
                name as *const _,
            )
        };
        let name = Self::read(self.address, self.name);
        // SAFETY: as above.
        unsafe {
            bpf_probe_read_kernel_str(
                (&raw mut words[note::NAME]).cast(),
                note::NAME_BYTES as u32,
                name as *const _,
            )
        };
        // SAFETY: as above; the last of all.
        unsafe { (&raw mut words[note::ID]).write_volatile(self.id) };
    }

    #[inline(always)]
    fn read(address: u64, offset: u32) -> u64 {
        let at = (address as *const u8).wrapping_add(offset as usize);
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(at.cast::<u64>()) }.unwrap_or(0)
    }
}
