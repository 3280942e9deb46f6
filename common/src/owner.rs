//! Owners: the cgroup that an event is counted for.
//!
//! A table ([`crate::table`]) hands every cgroup a slot, which is the index of its bank in every map that counts
//! by owner. An owner's identity is that of its cgroup's directory.

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

/// First word of the second half of the table, which programs do not touch: by slot, the cgroup that the
/// agent has shown by its name there. What it counted must not be shown again among the others.
pub const SHOWN: usize = SLOTS as usize;
/// Words of the table.
pub const TABLE_WORDS: usize = padded(SHOWN + SLOTS as usize);

/// Positions that belong together in the table.
pub const WAYS: u32 = 8;

/// Words of one CPU in the map that says who runs there.
pub mod cpu {
    /// The owner of the running task: its slot plus one, [`IDLE`], or 0 when it is not known yet.
    pub const CURRENT: usize = 0;
    /// The identity of the cgroup that was looked up last on this CPU.
    pub const LAST_ID: usize = 1;
    /// Its slot.
    pub const LAST_SLOT: usize = 2;
    /// For the program alone.
    pub const SCRATCH: usize = 3;
    /// In [`CURRENT`]: nobody runs.
    pub const IDLE: u64 = u64::MAX;
    /// Words in all.
    pub const WORDS: usize = super::LINE_WORDS;
}
