//! Processes: their starts, execs and exits, and what the pass over all tasks tells of each.

use crate::bank::padded;

slots! {
    /// How a process ended.
    pub enum Exit {
        /// With status 0.
        Ok = "ok",
        /// With another status.
        Error = "error",
        /// Killed by a signal.
        Signal = "signal",
    }
}

impl Exit {
    /// From the kernel's code, which is what `wait` tells: the signal in the low seven bits, the status above.
    #[inline(always)]
    pub const fn of(code: u32) -> Self {
        match code {
            _ if code & 0x7f != 0 => Self::Signal,
            _ if code >> 8 & 0xff != 0 => Self::Error,
            _ => Self::Ok,
        }
    }
}

slots! {
    /// States of a task, by the letters of `ps` and /proc.
    pub enum State {
        /// Running, or ready to.
        Running = "R",
        /// Sleeping, until something happens or a signal comes.
        Sleeping = "S",
        /// In a sleep that no signal ends, as for a disk.
        DiskSleep = "D",
        /// Stopped by a signal.
        Stopped = "T",
        /// Stopped by a debugger.
        Traced = "t",
        /// Dead, and about to be forgotten.
        Dead = "X",
        /// Dead, until its parent asks for its status.
        Zombie = "Z",
        /// Parked: a thread of the kernel whose CPU is offline.
        Parked = "P",
        /// A thread of the kernel that waits for work.
        Idle = "I",
    }
}

impl State {
    /// From `task_struct.__state` and `task_struct.exit_state`, as the kernel does it for /proc.
    pub const fn of(state: u32, exit_state: u32) -> Self {
        /// Uninterruptible, and no part of the load.
        const IDLE: u32 = 0x402;
        /// Waits for a lock of a real-time kernel; or is frozen.
        const OTHER_SLEEPS: u32 = 0x9000;
        if state & IDLE == IDLE {
            return Self::Idle;
        }
        if state & OTHER_SLEEPS != 0 {
            return Self::DiskSleep;
        }
        // The highest bit decides, of those that are shown.
        match ((state | exit_state) & 0x7f).checked_ilog2() {
            None => Self::Running,
            Some(0) => Self::Sleeping,
            Some(1) => Self::DiskSleep,
            Some(2) => Self::Stopped,
            Some(3) => Self::Traced,
            Some(4) => Self::Dead,
            Some(5) => Self::Zombie,
            Some(_) => Self::Parked,
        }
    }
}

/// Word of the processes that started.
pub const STARTS: usize = 0;
/// Word of the threads that started beside the first of their process.
pub const THREAD_STARTS: usize = 1;
/// Word of the executed programs.
pub const EXECS: usize = 2;
/// First word of the ended processes, by [`Exit`].
pub const EXITS: usize = 3;
/// Word of the nanoseconds on a CPU of the threads that are gone.
pub const GONE_CPU: usize = EXITS + Exit::COUNT;
/// Word of the bytes that threads which are gone had read and written.
pub const GONE_BYTES: usize = GONE_CPU + 1;
/// Words of one CPU's bank.
pub const BANK_WORDS: usize = padded(GONE_BYTES + 1);

/// Processes that may end at the same moment with several threads each.
pub const ENDING: u32 = 1_024;

/// What the pass over all tasks tells of one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Task {
    /// Number of its process: that of the main thread.
    pub process: u32,
    /// Its own number.
    pub thread: u32,
    /// `task_struct.__state`
    pub state: u32,
    /// `task_struct.exit_state`
    pub exit_state: u32,
    /// When its process started, in nanoseconds.
    pub start: u64,
    /// What this thread used.
    pub own: Usage,
    /// What the threads of its process that are gone had used.
    pub gone: Usage,
    /// Resident pages of its process.
    pub pages: u64,
    /// Name of its process.
    pub name: [u64; 2],
}

/// What a thread used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Usage {
    /// Nanoseconds on a CPU.
    pub cpu: u64,
    /// Bytes that came from storage, and bytes that go there.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_as_wait_tells_it() {
        assert_eq!(Exit::of(0), Exit::Ok);
        assert_eq!(Exit::of(3 << 8), Exit::Error);
        assert_eq!(Exit::of(9), Exit::Signal);
        assert_eq!(Exit::of(0x8b), Exit::Signal, "with a core");
    }

    #[test]
    fn states_are_those_of_proc() {
        let all = [(0, 0), (1, 0), (2, 0), (4, 0), (8, 0), (0x80, 0x10), (0x80, 0x20), (0x40, 0), (0x402, 0)];
        for (&state, (bits, exit)) in State::ALL.iter().zip(all) {
            assert_eq!(State::of(bits, exit), state);
        }
        assert_eq!(State::of(0x102, 0), State::DiskSleep, "killable");
        assert_eq!(State::of(0x8000, 0), State::DiskSleep, "frozen");
    }
}
