// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Finding the slot of a cgroup, or taking one, and noting its name (layout and rules: `pitot_common::owner`).

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::{
    helpers::{bpf_probe_read_kernel, generated::bpf_probe_read_kernel_str},
    maps::Array,
};
use pitot_common::owner::{FREE, OTHER, SLOTS, TABLE_WORDS, WAYS, note, sets};

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
    let (mine, first_free) = search(table, first, cgroup);
    if mine != 0 {
        return first + mine.trailing_zeros();
    }
    let (mine, second_free) = search(table, second, cgroup);
    if mine != 0 {
        return second + mine.trailing_zeros();
    }
    let second_is_emptier = second_free.count_ones() > first_free.count_ones();
    let (set, free) = if second_is_emptier { (second, second_free) } else { (first, first_free) };
    if free == 0 {
        return OTHER;
    }
    take(table, set + free.trailing_zeros(), cgroup)
}

/// Which ways of a set are a cgroup's and which are free, a bit each.
///
/// Reckoned without a branch: the verifier follows both ways of each, which are a million ways through two
/// sets.
#[inline(always)]
fn search(table: &[u64; TABLE_WORDS], set: u32, cgroup: u64) -> (u32, u32) {
    let (mut mine, mut free) = (0, 0);
    // Eight comparisons in a row: the compiler leaves no loop.
    let mut way = 0;
    while way < WAYS {
        let at = (set + way) % SLOTS;
        // SAFETY: a reference to a word of the table; volatile, because other CPUs write it.
        let owner = unsafe { core::ptr::read_volatile(&raw const table[at as usize]) };
        mine |= equal(owner, cgroup) << way;
        free |= equal(owner, FREE) << way;
        way += 1;
    }
    (mine, free)
}

/// 1 of two equal numbers, otherwise 0.
#[inline(always)]
fn equal(a: u64, b: u64) -> u32 {
    let differing = a ^ b;
    // Of a number that is not zero, it or its negative has the top bit. Hidden, or the compiler would see the
    // comparison and make a branch of it.
    let negative = opaque(differing.wrapping_neg() as usize) as u64;
    opaque(((differing | negative) >> 63 ^ 1) as usize) as u32
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

/// The directory of a cgroup in the unified tree, by its address; the offsets are those of its fields.
#[derive(Clone, Copy)]
pub struct Node {
    /// `kernfs_node`
    pub address: u64,
    /// `kernfs_node.id`
    pub id: u32,
    /// `kernfs_node.name`
    pub name: u32,
    /// `kernfs_node.parent`
    pub parent: u32,
}

impl Node {
    /// What identifies the cgroup; 0 if it cannot be read.
    #[inline(always)]
    pub fn id(self) -> u64 {
        Self::read(self.address, self.id)
    }

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
        unsafe { (&raw mut words[note::ID]).write_volatile(self.id()) };
    }

    #[inline(always)]
    fn read(address: u64, offset: u32) -> u64 {
        let at = (address as *const u8).wrapping_add(offset as usize);
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(at.cast::<u64>()) }.unwrap_or(0)
    }
}
