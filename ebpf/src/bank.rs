// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Writing to banks of `u64` words (layout: `pitot_common::bank`).

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use pitot_common::histogram::{FIRST, SUM, Scale, ZERO};

/// `BPF_F_MMAPABLE`: the agent reads the pages in place.
pub const MMAPABLE: u32 = 1 << 10;

/// Hides where an index comes from, so that LLVM keeps the bounds check on the very register that is used:
/// it likes to check an earlier form of the number, which the verifier cannot connect with the access.
///
/// A move to itself: nothing at all would leave two source lines for the next instruction, and the kernel
/// refuses a program with that.
#[inline(always)]
pub fn opaque(mut index: usize) -> usize {
    // SAFETY: the register keeps its value.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) index, options(pure, nomem, nostack)) };
    index
}

/// A bank that only the running CPU writes, from a place that nothing can interrupt: plain stores.
pub struct Own<'a, const WORDS: usize>(pub &'a mut [u64; WORDS]);

impl<const WORDS: usize> Own<'_, WORDS> {
    /// Adds to a word; out of range does nothing, which keeps the verifier content.
    #[inline(always)]
    pub fn add(&mut self, word: usize, n: u64) {
        if let Some(cell) = self.0.get_mut(word) {
            *cell = cell.wrapping_add(n);
        }
    }

    /// Counts a value in the histogram of `slots` slots that starts at word `at`.
    #[inline(always)]
    pub fn observe(&mut self, at: usize, scale: Scale, slots: usize, value: u64) {
        if value == 0 {
            self.add(at + ZERO, 1);
            return;
        }
        let slot = scale.slot(value) as usize;
        if slot < slots {
            self.add(opaque(at + FIRST + slot), 1);
            self.add(at + SUM, value);
        }
    }
}

/// A bank that all CPUs write: atomic adds.
pub struct Shared<'a, const WORDS: usize>(pub &'a mut [u64; WORDS]);

impl<const WORDS: usize> Shared<'_, WORDS> {
    /// Adds to a word and returns nothing, which compiles to one `lock xadd`.
    #[inline(always)]
    pub fn add(&mut self, word: usize, n: u64) {
        if let Some(cell) = self.0.get_mut(word) {
            // SAFETY: the reference proves the word is inside the map value; the kernel keeps it there.
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(cell, n) };
        }
    }

    /// Adds to a word and returns what it held.
    ///
    /// Not relaxed: of a relaxed add LLVM 22 makes the instruction that returns nothing, even where the
    /// result is used, and then takes `n` for the result.
    #[inline(always)]
    pub fn fetch_add(&mut self, word: usize, n: u64) -> u64 {
        match self.0.get_mut(word) {
            // SAFETY: as above.
            Some(cell) => unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(cell, n) },
            None => u64::MAX,
        }
    }

    /// Counts a value in the histogram of `slots` slots that starts at word `at`.
    #[inline(always)]
    pub fn observe(&mut self, at: usize, scale: Scale, slots: usize, value: u64) {
        if value == 0 {
            self.add(at + ZERO, 1);
            return;
        }
        let slot = scale.slot(value) as usize;
        if slot < slots {
            self.add(opaque(at + FIRST + slot), 1);
            self.add(at + SUM, value);
        }
    }
}
