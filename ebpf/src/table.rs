// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Finding somebody's slot in a table, or taking one (layout and rules: `pitot_common::table`).

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use pitot_common::table::{FREE, sets};

use crate::bank::opaque;

/// The slot of an identity in the first `SLOTS` words of a table; one that has none takes one, and gets `SLOTS`
/// when there is none. With `RETRY` it takes another one when a CPU was faster; without, it gets none this time,
/// which halves the ways through a program.
#[inline(always)]
pub fn slot_of<const WORDS: usize, const SLOTS: u32, const WAYS: u32, const RETRY: bool>(
    table: &mut [u64; WORDS],
    identity: u64,
) -> u32 {
    let [first, second] = sets::<SLOTS, WAYS>(identity);
    let (mine, first_free) = search::<WORDS, SLOTS, WAYS>(table, first, identity);
    if mine != 0 {
        return first + mine.trailing_zeros();
    }
    let (mine, second_free) = search::<WORDS, SLOTS, WAYS>(table, second, identity);
    if mine != 0 {
        return second + mine.trailing_zeros();
    }
    let second_is_emptier = second_free.count_ones() > first_free.count_ones();
    let (set, free) = if second_is_emptier { (second, second_free) } else { (first, first_free) };
    if free == 0 {
        return SLOTS;
    }
    let at = set + free.trailing_zeros();
    if take(table, at, identity) {
        return at;
    }
    if !RETRY {
        return SLOTS;
    }
    // From the other end.
    let at = set + u32::BITS - 1 - free.leading_zeros();
    if take(table, at, identity) { at } else { SLOTS }
}

/// Which ways of a set are an identity's and which are free, a bit each.
///
/// Reckoned without a branch: the verifier follows both ways of each, which are a million ways through two
/// sets.
#[inline(always)]
fn search<const WORDS: usize, const SLOTS: u32, const WAYS: u32>(
    table: &[u64; WORDS],
    set: u32,
    identity: u64,
) -> (u32, u32) {
    const { assert!(WAYS == EIGHT || WAYS == 2 * EIGHT) };
    let (mine, free) = search_eight::<WORDS, SLOTS>(table, set, identity);
    if WAYS == EIGHT {
        return (mine, free);
    }
    let (more_mine, more_free) = search_eight::<WORDS, SLOTS>(table, set + EIGHT, identity);
    (mine | more_mine << EIGHT, free | more_free << EIGHT)
}

/// As many as the compiler writes out in a row: of more it would make a loop.
const EIGHT: u32 = 8;

#[inline(always)]
fn search_eight<const WORDS: usize, const SLOTS: u32>(
    table: &[u64; WORDS],
    first: u32,
    identity: u64,
) -> (u32, u32) {
    let (mut mine, mut free) = (0, 0);
    let mut way = 0;
    while way < EIGHT {
        let at = (first + way) % SLOTS;
        // SAFETY: a reference to a word of the table; volatile, because other CPUs write it.
        let here = unsafe { core::ptr::read_volatile(&raw const table[at as usize]) };
        mine |= equal(here, identity) << way;
        free |= equal(here, FREE) << way;
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

/// Takes a free position, unless another CPU was faster, for another identity.
#[inline(always)]
fn take<const WORDS: usize>(table: &mut [u64; WORDS], at: u32, identity: u64) -> bool {
    let Some(cell) = table.get_mut(opaque(at as usize)) else { return false };
    // SAFETY: a word of the map value; all who write it do so atomically.
    let (here, taken) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(cell, FREE, identity)
    };
    taken || here == identity
}
