//! Tables of slots: who is counted in which bank.
//!
//! The position in a table *is* the slot, which is the index of a bank, and the identity of who has it is what
//! stands there. So a slot is taken with one compare-and-swap and nothing else has to agree with it. Programs
//! take slots, when they first see somebody; the agent gives them back, when who had one is gone and its banks
//! are empty again.

/// What stands in a table where nobody is.
pub const FREE: u64 = 0;
/// What stands there while the agent empties the banks of somebody who is gone.
pub const LEAVING: u64 = u64::MAX;

/// The first positions of the two sets of `WAYS` positions in which an identity may stand: it takes one in
/// whichever is emptier.
#[inline(always)]
pub const fn sets<const SLOTS: u32, const WAYS: u32>(identity: u64) -> [u32; 2] {
    let sets = SLOTS / WAYS;
    // Identities are handed out in sequence, with gaps: mixed as MurmurHash3 does it at its end.
    let mut hash = (identity ^ identity >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let first = (hash >> 59) as u32 % sets;
    let second = (hash >> 54) as u32 % sets;
    // Two different ones.
    let second = if second == first { (second + 1) % sets } else { second };
    [first * WAYS, second * WAYS]
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;
    use crate::{block::device, owner};

    /// How many find a slot before the first one does not.
    fn fill<const SLOTS: u32, const WAYS: u32>(identities: impl Iterator<Item = u64>) -> usize {
        let mut table = vec![FREE; SLOTS as usize];
        for (count, identity) in identities.enumerate() {
            let free =
                |set: u32| (set..set + WAYS).filter(|&at| table[at as usize] == FREE).collect::<Vec<_>>();
            let [first, second] = sets::<SLOTS, WAYS>(identity).map(free);
            let emptier = if second.len() > first.len() { second } else { first };
            match emptier.first() {
                Some(&at) => table[at as usize] = identity,
                None => return count,
            }
        }
        SLOTS as usize
    }

    #[test]
    fn most_slots_are_taken_before_an_owner_finds_none() {
        // A directory and its files take an identity each: cgroups come at distances of some dozens.
        for step in 1..128 {
            let taken = fill::<{ owner::SLOTS }, { owner::WAYS }>((0..).map(|n| 1 + n * step));
            assert!(taken >= 192, "{taken} of {} at a distance of {step}", owner::SLOTS);
        }
    }

    #[test]
    fn every_slot_is_taken_before_a_device_finds_none() {
        for step in 1..128 {
            let taken = fill::<{ device::SLOTS }, { device::WAYS }>((0..).map(|n| 1 + n * step));
            assert_eq!(taken, device::SLOTS as usize, "at a distance of {step}");
        }
    }

    #[test]
    fn both_sets_lie_in_the_table_and_differ() {
        const SETS: u32 = owner::SLOTS / owner::WAYS;
        let sets = sets::<{ owner::SLOTS }, { owner::WAYS }>;
        for identity in (0..100_000u64).chain([u64::MAX, u64::MAX - 1]) {
            let [first, second] = sets(identity);
            assert!(first + owner::WAYS <= owner::SLOTS && second + owner::WAYS <= owner::SLOTS);
            assert_ne!(first, second);
        }
        let is_used = |set: &u32| (0..1000).any(|identity| sets(identity)[0] == set * owner::WAYS);
        assert_eq!((0..SETS).filter(is_used).count(), SETS as usize);
    }
}
