//! Owners: the cgroup that an event is counted for.
//!
//! A table hands every cgroup a slot, which is the index of its bank in every map that counts by owner. The
//! position in the table *is* the slot, and the cgroup's identity is what stands there, so a slot is taken
//! with one compare-and-swap and nothing else has to agree with it. Programs take slots, when they first see
//! a cgroup; the agent gives them back, when a cgroup is gone and its banks are empty again.

use crate::bank::{LINE_WORDS, padded};

/// Owners with a bank of their own.
pub const SLOTS: u32 = 256;
/// The bank of all that found no slot.
pub const OTHER: u32 = SLOTS;
/// The bank to which the agent moves what owners left that were gone before they had a name. No program
/// writes it.
pub const GONE: u32 = SLOTS + 1;
/// The bank to which it moves what owners left that were shown by their name and are no longer, so that the
/// banks still add up to all that was counted.
pub const PAST: u32 = SLOTS + 2;
/// Banks of a map by owner (of one CPU, if it is by CPU as well).
pub const BANKS: u32 = SLOTS + 3;

/// What stands in the table where no owner is.
pub const FREE: u64 = 0;
/// What stands in the table while the agent empties the banks of an owner that is gone.
pub const LEAVING: u64 = u64::MAX;

/// First word of the second half of the table, which programs do not touch: by slot, the cgroup that the
/// agent has shown by its name there. What it counted must not be shown again among the others.
pub const SHOWN: usize = SLOTS as usize;
/// Words of the table.
pub const TABLE_WORDS: usize = padded(SHOWN + SLOTS as usize);

/// Positions that belong together: an owner stands in one of two such sets, whichever was emptier.
pub const WAYS: u32 = 8;
const SETS: u32 = SLOTS / WAYS;

/// The first positions of the two sets in which a cgroup may stand.
#[inline(always)]
pub const fn sets(cgroup: u64) -> [u32; 2] {
    // Identities are handed out in sequence, with gaps: mixed as MurmurHash3 does it at its end.
    let mut hash = (cgroup ^ cgroup >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let first = (hash >> 59) as u32 % SETS;
    let second = (hash >> 54) as u32 % SETS;
    // Two different ones.
    let second = if second == first { (second + 1) % SETS } else { second };
    [first * WAYS, second * WAYS]
}

/// Words of what is noted of an owner that may be gone before the agent has looked for its name.
pub mod note {
    /// The identity of the cgroup; 0 while the rest is written.
    pub const ID: usize = 0;
    /// The name of the directory above its own, up to a zero; the root's is empty.
    pub const PARENT: usize = 1;
    /// Its directory's own name, up to a zero.
    pub const NAME: usize = 32;
    /// Room for the parent's name, in bytes. One that fills it may have been cut.
    pub const PARENT_BYTES: usize = (NAME - PARENT) * 8;
    /// Room for its own name, in bytes: as long as any file's may be.
    pub const NAME_BYTES: usize = 256;
    /// Words in all.
    pub const WORDS: usize = NAME + NAME_BYTES / 8;
}

/// Words of one CPU in the map that says who runs there.
pub mod cpu {
    /// The owner of the running task: its slot plus one, [`IDLE`], or 0 when it is not known yet.
    pub const CURRENT: usize = 0;
    /// The identity of the cgroup that was looked up last on this CPU.
    pub const LAST_ID: usize = 1;
    /// Its slot.
    pub const LAST_SLOT: usize = 2;
    /// In [`CURRENT`]: nobody runs.
    pub const IDLE: u64 = u64::MAX;
    /// Words in all.
    pub const WORDS: usize = super::LINE_WORDS;
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    /// How many owners find a slot before the first one does not.
    fn fill(ids: impl Iterator<Item = u64>) -> usize {
        let mut table = vec![FREE; SLOTS as usize];
        for (count, id) in ids.enumerate() {
            let free =
                |set: u32| (set..set + WAYS).filter(|&at| table[at as usize] == FREE).collect::<Vec<_>>();
            let [first, second] = sets(id).map(free);
            let emptier = if second.len() > first.len() { second } else { first };
            match emptier.first() {
                Some(&at) => table[at as usize] = id,
                None => return count,
            }
        }
        SLOTS as usize
    }

    #[test]
    fn most_slots_are_taken_before_an_owner_finds_none() {
        // A directory and its files take an identity each: cgroups come at distances of some dozens.
        for step in 1..128 {
            let taken = fill((0..).map(|n| 1 + n * step));
            assert!(taken >= 192, "{taken} of {SLOTS} at a distance of {step}");
        }
    }

    #[test]
    fn both_sets_lie_in_the_table_and_differ() {
        for id in (0..100_000u64).chain([u64::MAX, u64::MAX - 1]) {
            let [first, second] = sets(id);
            assert!(first + WAYS <= SLOTS && second + WAYS <= SLOTS && first != second);
        }
        let used: Vec<u32> = (0..SETS).filter(|set| (0..1000).any(|id| sets(id)[0] == set * WAYS)).collect();
        assert_eq!(used.len(), SETS as usize);
    }
}
