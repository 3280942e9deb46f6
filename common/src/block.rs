//! Block I/O: how long requests queued, how long the device took, and their size.

use crate::{
    bank::{LINE_WORDS, padded},
    histogram,
};

slots! {
    /// What a request asks of the device (`enum req_op`).
    pub enum Operation {
        /// `REQ_OP_READ`.
        Read = "read",
        /// `REQ_OP_WRITE`, including writes that carry a flush or force unit access.
        Write = "write",
        /// `REQ_OP_FLUSH`: empty the volatile write cache.
        Flush = "flush",
        /// `REQ_OP_DISCARD`, `REQ_OP_SECURE_ERASE`.
        Discard = "discard",
        /// Zone management, zeroing, driver commands.
        Other = "other",
    }
}

impl Operation {
    /// The operation of a request, from the low byte of its `cmd_flags`.
    #[inline(always)]
    pub const fn of(cmd_flags: u32) -> Self {
        match cmd_flags & 0xff {
            0 => Self::Read,
            1 => Self::Write,
            2 => Self::Flush,
            3 | 5 => Self::Discard,
            _ => Self::Other,
        }
    }
}

/// The table that hands every device a slot ([`crate::table`]).
pub mod device {
    use crate::bank::padded;

    /// Devices with banks of their own.
    pub const SLOTS: u32 = 32;
    /// Positions that belong together: two such sets are the whole table, so that every position is tried.
    pub const WAYS: u32 = 16;
    /// The bank of all that found no slot.
    pub const OTHER: u32 = SLOTS;
    /// The bank to which the agent moves what devices left that were gone before they had a name. No program
    /// writes it.
    pub const GONE: u32 = SLOTS + 1;
    /// Slots with banks.
    pub const BANKS: u32 = SLOTS + 2;
    /// In place of a slot: a request of a queue that has no disk.
    pub const NONE: u64 = u64::MAX;
    /// First word of the second half of the table, which programs do not touch: by slot, the device that the
    /// agent has shown by its name there.
    pub const SHOWN: usize = SLOTS as usize;
    /// First of the words in which programs note where they found a device last, by [`hint`].
    pub const HINTS: usize = SHOWN + SLOTS as usize;
    /// Words of the table.
    pub const TABLE_WORDS: usize = padded(HINTS + SLOTS as usize);

    /// The word that is the hint for a device, and for others.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn hint(identity: u64) -> usize {
        // By the sequence number: those of disks that were found together follow each other.
        HINTS + (identity as u32 % SLOTS) as usize
    }

    /// What identifies a device: its number (`major << 20 | minor`, as the kernel keeps it), and below it the
    /// sequence number that the kernel gives every disk, and every medium in it, anew.
    #[inline(always)]
    pub const fn identity(major: u32, minor: u32, sequence: u64) -> u64 {
        ((major << 20 | minor & 0xf_ffff) as u64) << 32 | sequence & 0xffff_ffff
    }
}

/// Word that counts completed requests of one device and operation.
pub const REQUESTS: usize = 0;
/// Word that counts the requests that were handed to the driver, and are followed until they are done.
pub const ISSUED: usize = 1;
/// Word that counts those of them that are done, or are followed no longer.
pub const DONE: usize = 2;
/// First word of the device time histogram: issued until completed.
pub const IO: usize = LINE_WORDS;
/// First word of the queue time histogram: allocated until issued.
pub const QUEUE: usize = IO + padded(histogram::words(histogram::TIME_SLOTS));
/// First word of the size histogram.
pub const BYTES: usize = QUEUE + padded(histogram::words(histogram::TIME_SLOTS));
/// Words of the bank of one device and operation (shared by all CPUs, written with atomic adds).
pub const BANK_WORDS: usize = BYTES + padded(histogram::words(histogram::SIZE_SLOTS));
/// Banks in the map: by device slot, then by operation.
pub const BANKS: u32 = device::BANKS * (Operation::Other as u32 + 1);

/// The bank of one owner (shared by all CPUs, written with atomic adds).
pub mod owner {
    use super::{Operation, padded};

    /// First word of the completed requests, by [`Operation`].
    pub const REQUESTS: usize = 0;
    /// First word of their bytes, by [`Operation`].
    pub const BYTES: usize = Operation::COUNT;
    /// Words that count.
    pub const COUNTERS: usize = BYTES + Operation::COUNT;
    /// Words in all.
    pub const WORDS: usize = padded(COUNTERS);
}

/// Words of the header bank.
pub mod header {
    /// Requests whose start could not be stored: the table of requests in flight was full.
    pub const LOST: usize = 0;
    /// Requests that were issued before the program was attached.
    pub const UNSEEN: usize = 1;
    /// Requests that were issued for the shared device slot.
    pub const FOLDED: usize = 2;
    /// Words in all.
    pub const WORDS: usize = crate::bank::LINE_WORDS;
}

/// Requests in flight that can be followed at once.
pub const IN_FLIGHT: u32 = 8_192;
