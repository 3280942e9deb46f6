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
/// First word of the wait histogram.
pub const WAIT: usize = crate::bank::LINE_WORDS;
/// Words of one CPU's bank.
pub const BANK_WORDS: usize = padded(WAIT + histogram::words(histogram::TIME_SLOTS));
