//! System calls: how many, and (opt-in) how long.

use crate::{bank::padded, histogram, owner};

/// Calls with a number of their own in a bank; the highest number in use is below 480 on every
/// architecture.
pub const NUMBERS: u32 = 512;
/// Word that counts calls with a number of [`NUMBERS`] or above (x32, invalid, seccomp's -1).
pub const OTHER: usize = NUMBERS as usize;
/// Word that counts calls made through the 32-bit table, whose numbers mean other calls.
pub const COMPAT: usize = OTHER + 1;
/// Word that counts calls whose start could not be stored, so that their latency is missing.
pub const LOST: usize = OTHER + 2;
/// First of the words that count calls by owner, one for each of [`owner::BANKS`].
pub const OWNERS: usize = padded(LOST + 1);
/// Words of one CPU's bank.
pub const BANK_WORDS: usize = padded(OWNERS + owner::BANKS as usize);

/// Calls whose errors can be counted.
pub const CHOSEN: u32 = 32;
/// Words of the errors of one call: by error number, 0 for numbers that have none.
pub const ERROR_WORDS: u32 = 136;
/// Words of one CPU's bank of errors: by the place of the call among the chosen ones.
pub const ERRORS_WORDS: usize = padded((CHOSEN * ERROR_WORDS) as usize);
/// Words of the map that says, by the number of a call, its place among the chosen ones plus one.
pub const CHOICE_WORDS: usize = NUMBERS as usize;

/// Words of one call's latency histogram (shared by all CPUs, written with atomic adds).
pub const LATENCY_WORDS: usize = padded(histogram::words(histogram::TIME_SLOTS));
/// Calls in flight that the latency histogram can follow at once; 10,240 starts cost about 0.8 MiB and
/// are only allocated when the latency is on.
pub const IN_FLIGHT: u32 = 10_240;
