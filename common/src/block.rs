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

/// Devices with series of their own; the last slot is shared by all that come later.
pub const DEVICES: u32 = 32;
/// The slot that later devices share.
pub const OTHER_DEVICE: u32 = DEVICES - 1;

/// Word that counts completed requests of one device and operation.
pub const REQUESTS: usize = 0;
/// First word of the device time histogram: issued until completed.
pub const IO: usize = LINE_WORDS;
/// First word of the queue time histogram: allocated until issued.
pub const QUEUE: usize = IO + padded(histogram::words(histogram::TIME_SLOTS));
/// First word of the size histogram.
pub const BYTES: usize = QUEUE + padded(histogram::words(histogram::TIME_SLOTS));
/// Words of the bank of one device and operation (shared by all CPUs, written with atomic adds).
pub const BANK_WORDS: usize = BYTES + padded(histogram::words(histogram::SIZE_SLOTS));
/// Banks in the map: by device slot, then by operation.
pub const BANKS: u32 = DEVICES * (Operation::Other as u32 + 1);

/// Words of the header bank.
pub mod header {
    /// Device slots handed out so far (may pass [`super::OTHER_DEVICE`]).
    pub const NEXT_DEVICE: usize = 0;
    /// Requests whose start could not be stored: the table of requests in flight was full.
    pub const LOST: usize = 1;
    /// Requests that were issued before the program was attached.
    pub const UNSEEN: usize = 2;
    /// Completions that fell into the shared device slot.
    pub const FOLDED: usize = 3;
    /// Words in all.
    pub const WORDS: usize = crate::bank::LINE_WORDS;
}

/// Requests in flight that can be followed at once.
pub const IN_FLIGHT: u32 = 8_192;
