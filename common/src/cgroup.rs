//! Control groups: what one pass of the iterator notes of each.
//!
//! A record that was not written in a pass carries the number of an earlier one: of a group that died in
//! between there is a gap.

use crate::bank::padded;

/// Control groups that a pass has room for.
pub const RECORDS: u32 = 4096;

/// Words of a record. Figures are as the kernel keeps them: pages, nanoseconds.
pub mod record {
    /// The pass that wrote the record; 0 while it is written.
    pub const PASS: usize = 0;
    /// The kernel's number of the group in its hierarchy, which is the inode of its directory.
    pub const ID: usize = 1;
    /// Which of the following are there, by the bits of [`super::has`].
    pub const HAS: usize = 2;
    /// Time in user mode, by ticks.
    pub const USER: usize = 3;
    /// Time in system mode, by ticks.
    pub const SYSTEM: usize = 4;
    /// Time on CPUs.
    pub const RUNTIME: usize = 5;
    /// Times of pressure: some and full, of I/O, memory and CPU.
    pub const PRESSURE: usize = 6;
    /// Words of pressure.
    pub const PRESSURES: usize = 6;
    /// Pages in use.
    pub const MEMORY: usize = 12;
    /// Pages that may be used.
    pub const MEMORY_LIMIT: usize = 13;
    /// Most pages that were used.
    pub const MEMORY_PEAK: usize = 14;
    /// Events, as `memory.events` has them: low, high, max, oom, `oom_kill`.
    pub const MEMORY_EVENTS: usize = 15;
    /// Words of events.
    pub const EVENTS: usize = 5;
    /// Periods of the CPU limit.
    pub const PERIODS: usize = 20;
    /// Periods that were throttled.
    pub const THROTTLED: usize = 21;
    /// Time of throttling.
    pub const THROTTLED_TIME: usize = 22;
    /// Time on CPUs in a period; all ones without a limit.
    pub const QUOTA: usize = 23;
    /// Length of a period.
    pub const PERIOD: usize = 24;
    /// Tasks.
    pub const PIDS: usize = 25;
    /// Tasks that there may be.
    pub const PIDS_LIMIT: usize = 26;
    /// Words of a record.
    pub const WORDS: usize = super::padded(27);
}

/// Parts of a record.
pub mod has {
    /// Pressure.
    pub const PRESSURE: u64 = 1;
    /// Memory: its controller is on.
    pub const MEMORY: u64 = 1 << 1;
    /// Throttling.
    pub const CPU: u64 = 1 << 2;
    /// Tasks.
    pub const PIDS: u64 = 1 << 3;
    /// Time on CPUs: the group is one of the unified hierarchy. Elsewhere its number is that of other groups too.
    pub const UNIFIED: u64 = 1 << 4;
}

/// Words of the header, which the end of a pass writes.
pub mod header {
    /// The pass that ended last.
    pub const PASS: usize = 0;
    /// Control groups that it came by.
    pub const COUNT: usize = 1;
    /// Words of the header.
    pub const WORDS: usize = super::padded(2);
}
