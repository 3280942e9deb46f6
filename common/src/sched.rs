//! Scheduler: context switches, migrations, and how long runnable tasks waited for a CPU.

use crate::{bank::padded, histogram};

slots! {
    /// Why the outgoing task left the CPU.
    pub enum Switch {
        /// It could have run on: time slice over, a more urgent task, or `sched_yield`.
        Preempted = "preempted",
        /// It went to sleep: I/O, a lock, a timer, exit.
        Blocked = "blocked",
        /// The CPU was idle: the outgoing task was the idle task.
        Idle = "idle",
    }
}

/// First word of the switch counters, by [`Switch`].
pub const SWITCHES: usize = 0;
/// Word of the migration counter.
pub const MIGRATIONS: usize = Switch::COUNT;
/// Word of the run queue's clock at the last switch; 0 while the program writes, and before the first one.
pub const LAST: usize = MIGRATIONS + 1;
/// Word of the nanoseconds in which nobody ran.
pub const IDLE: usize = LAST + 1;
/// Word of the run queue's clock at the first switch.
pub const FIRST: usize = IDLE + 1;
/// A word for the program alone.
pub const SCRATCH: usize = FIRST + 1;
/// First word of the wait histogram.
pub const WAIT: usize = crate::bank::LINE_WORDS;
/// Word of the switches that only the next one told of.
pub const UNSEEN: usize = WAIT + histogram::words(histogram::TIME_SLOTS);
/// Words of one CPU's bank.
pub const BANK_WORDS: usize = padded(UNSEEN + 1);

/// The bank of one owner on one CPU.
pub mod owner {
    use super::{Switch, histogram, padded};

    /// Word of the nanoseconds that its tasks ran.
    pub const RUN: usize = 0;
    /// First word of the switch counters, by [`Switch`]; nobody's are idle.
    pub const SWITCHES: usize = 1;
    /// First word of the wait histogram, by octaves.
    pub const WAIT: usize = SWITCHES + Switch::Idle.index();
    /// Words in all.
    pub const WORDS: usize = padded(WAIT + histogram::words(histogram::OCTAVE_SLOTS));
}
