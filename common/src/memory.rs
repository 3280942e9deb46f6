//! Memory: page faults, stalls of tasks that have to free memory themselves, and victims of the OOM killer.

use crate::{bank::padded, histogram, owner};

slots! {
    /// Where a page fault comes from.
    pub enum Mode {
        /// A program's own access.
        User = "user",
        /// An access of the kernel, nearly always to memory of the program it works for.
        Kernel = "kernel",
    }
}

slots! {
    /// What ran out of memory.
    pub enum Scope {
        /// The host.
        Global = "global",
        /// A cgroup, up to its limit.
        Cgroup = "cgroup",
    }
}

slots! {
    /// Why the OOM killer came.
    pub enum Cause {
        /// The host had no memory left.
        Global = "global",
        /// A cgroup had reached its limit.
        Cgroup = "cgroup",
        /// It cannot be told: the task that ran out was not seen to look for memory before.
        Unknown = "unknown",
    }
}

impl Cause {
    /// The cause for a task that last looked for memory in this scope.
    #[inline(always)]
    pub const fn of(scope: Scope) -> Self {
        match scope {
            Scope::Global => Self::Global,
            Scope::Cgroup => Self::Cgroup,
        }
    }
}

/// What a task waits for while it frees memory itself; a task is in one of each at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// Reclaim.
    Reclaim(Scope),
    /// Compaction.
    Compaction,
}

impl Stall {
    /// The key of a task's stall in the table of stalls.
    #[inline(always)]
    pub const fn key(self, task: u32) -> u64 {
        (task as u64) << 2 | self.index() as u64
    }

    /// First word of its histogram.
    #[inline(always)]
    pub const fn at(self) -> usize {
        STALLS + self.index() * padded(TIMES)
    }

    #[inline(always)]
    const fn index(self) -> usize {
        match self {
            Self::Reclaim(scope) => scope.index(),
            Self::Compaction => Scope::COUNT,
        }
    }
}

/// Which scope a task last reclaimed for, in one word: tasks share words, so it says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last(pub u64);

impl Last {
    /// The word of a task in the table.
    #[inline(always)]
    pub const fn word(task: u32) -> u32 {
        task % LAST
    }

    /// A task and its scope.
    #[inline(always)]
    pub const fn new(task: u32, scope: Scope) -> Self {
        Self((task as u64) << 2 | (scope.index() as u64 + 1))
    }

    /// Why the OOM killer comes for this task, as far as the word knows.
    #[inline(always)]
    pub const fn cause(self, task: u32) -> Cause {
        if self.0 == Self::new(task, Scope::Global).0 {
            Cause::of(Scope::Global)
        } else if self.0 == Self::new(task, Scope::Cgroup).0 {
            Cause::of(Scope::Cgroup)
        } else {
            Cause::Unknown
        }
    }
}

const TIMES: usize = histogram::words(histogram::TIME_SLOTS);

/// First word of the page faults, by [`Mode`].
pub const FAULTS: usize = 0;
/// First word of the pages that tasks reclaimed, by [`Scope`].
pub const RECLAIMED: usize = FAULTS + Mode::COUNT;
/// First word of the OOM killer's victims, by [`Cause`].
pub const VICTIMS: usize = RECLAIMED + Scope::COUNT;
/// First word of the histograms of stalls.
const STALLS: usize = padded(VICTIMS + Cause::COUNT);
/// Words of one CPU's bank.
pub const BANK_WORDS: usize = STALLS + (Scope::COUNT + 1) * padded(TIMES);

/// Words of the header bank.
pub mod header {
    /// Starts that could not be stored: the table was full.
    pub const LOST: usize = 0;
    /// Of those, the ones whose end has come.
    pub const LOST_ENDED: usize = 1;
    /// Ends without a start, beyond the ones that were lost.
    pub const UNSEEN: usize = 2;
    /// Words in all.
    pub const WORDS: usize = crate::bank::LINE_WORDS;
}

/// Words of the OOM killer's victims by owner.
pub const OWNER_WORDS: usize = padded(owner::BANKS as usize);

/// Words of one CPU about the task that was last told to die there, on kernels that say no more than its
/// number when they call it a victim.
pub mod doomed {
    /// Its number.
    pub const TASK: usize = 0;
    /// The node of its cgroup.
    pub const NODE: usize = 1;
    /// What identifies its cgroup.
    pub const ID: usize = 2;
    /// Words in all.
    pub const WORDS: usize = crate::bank::LINE_WORDS;
}

/// Stalls that can be timed at once.
pub const TIMED: u32 = 4_096;
/// Words of the table of last scopes.
pub const LAST: u32 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::LINE_WORDS;

    const ALL: [Stall; 3] = [Stall::Reclaim(Scope::Global), Stall::Reclaim(Scope::Cgroup), Stall::Compaction];

    #[test]
    fn the_counters_fill_one_cache_line() {
        assert_eq!(STALLS, LINE_WORDS);
    }

    #[test]
    fn the_histograms_lie_side_by_side_to_the_end_of_the_bank() {
        assert_eq!(ALL[0].at(), STALLS);
        for pair in ALL.windows(2) {
            assert!(pair[0].at() + TIMES <= pair[1].at());
        }
        assert_eq!(ALL[2].at() + padded(TIMES), BANK_WORDS);
    }

    #[test]
    fn stalls_of_different_tasks_and_kinds_have_different_keys() {
        for (n, one) in ALL.iter().enumerate() {
            assert_ne!(one.key(1), one.key(2));
            assert!(ALL[n + 1..].iter().all(|other| (1..6).all(|task| other.key(task) != one.key(1))));
        }
    }

    #[test]
    fn a_last_scope_is_that_of_its_task_alone() {
        assert_eq!(Last::new(7, Scope::Global).cause(7), Cause::Global);
        assert_eq!(Last::new(7, Scope::Cgroup).cause(7), Cause::Cgroup);
        let other = 7 + LAST;
        assert_eq!(Last::word(other), Last::word(7));
        assert_eq!(Last::new(7, Scope::Cgroup).cause(other), Cause::Unknown);
        assert_eq!(Last(0).cause(7), Cause::Unknown);
        assert_eq!(Last(0).cause(0), Cause::Unknown);
    }
}
