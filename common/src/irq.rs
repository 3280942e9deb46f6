//! Interrupts: how long the handlers of soft and hard interrupts run, and how long soft ones wait to run.

use crate::{bank::padded, histogram};

slots! {
    /// Soft interrupts, numbered as the kernel numbers them (`enum` in `linux/interrupt.h`).
    pub enum Vector {
        /// `HI_SOFTIRQ`: urgent tasklets.
        Hi = "hi",
        /// `TIMER_SOFTIRQ`: timers of the timer wheel.
        Timer = "timer",
        /// `NET_TX_SOFTIRQ`: packets to send, and those that were sent.
        NetTx = "net_tx",
        /// `NET_RX_SOFTIRQ`: packets that came in.
        NetRx = "net_rx",
        /// `BLOCK_SOFTIRQ`: completed block requests.
        Block = "block",
        /// `IRQ_POLL_SOFTIRQ`: block devices that are polled under load.
        IrqPoll = "irq_poll",
        /// `TASKLET_SOFTIRQ`: tasklets.
        Tasklet = "tasklet",
        /// `SCHED_SOFTIRQ`: load balancing.
        Sched = "sched",
        /// `HRTIMER_SOFTIRQ`: high-resolution timers that need not run in the hard interrupt.
        Hrtimer = "hrtimer",
        /// `RCU_SOFTIRQ`: read-copy-update.
        Rcu = "rcu",
    }
}

/// Words of one CPU's line of marks: which hard interrupt runs, and what could not be timed.
pub mod cpu {
    use crate::bank::padded;

    /// When the hard interrupt's handler began.
    pub const LINE_STARTED: usize = 0;
    /// Number of the line whose handler runs, plus 1; 0: none runs.
    pub const LINE: usize = LINE_STARTED + 1;
    /// Runs of soft interrupts that ended and whose start was not seen.
    pub const UNTIMED_SOFTIRQS: usize = LINE + 1;
    /// The same of hard interrupts.
    pub const UNTIMED_HARDIRQS: usize = UNTIMED_SOFTIRQS + 1;
    /// Words in all.
    pub const WORDS: usize = padded(UNTIMED_HARDIRQS + 1);
}

/// Words of one vector on one CPU: when it was raised and began, and histograms of how long it ran and waited.
///
/// Soft interrupts often run on a CPU that has just been woken, in whose caches there is nothing of this. What
/// one costs is the lines and pages that are touched, so these lie together, and never across pages.
pub mod vector {
    use crate::histogram;

    /// Slots of a histogram, one for each power of two: up to 36 years.
    pub const SLOTS: usize = 61;
    /// When it was raised; 0: not raised.
    pub const RAISED: usize = 0;
    /// When it began to run; 0: does not run.
    pub const STARTED: usize = RAISED + 1;
    /// First word of the histogram of run times.
    pub const RUN: usize = STARTED + 1;
    /// First word of the histogram of waits.
    pub const WAIT: usize = RUN + histogram::words(SLOTS);
    /// Words in all: a KiB.
    pub const WORDS: usize = WAIT + histogram::words(SLOTS);
    const _: () = assert!(WORDS == 128);
}

/// Lines with series of their own; the last slot is shared by all that come later.
pub const LINES: u32 = 64;
/// The slot that later lines share.
pub const OTHER_LINE: u32 = LINES - 1;
/// Numbers of lines that can get a slot; a kernel counts them up from 0 as devices come.
pub const NUMBERS: u32 = 2_048;
/// Words of one line's histogram (shared by all CPUs, written with atomic adds).
pub const LINE_WORDS: usize = padded(histogram::words(histogram::TIME_SLOTS));

/// Words of the header bank.
pub mod header {
    /// Line slots handed out so far (may pass [`super::OTHER_LINE`]).
    pub const NEXT_LINE: usize = 0;
    /// Runs that fell into the shared slot.
    pub const FOLDED: usize = 1;
    /// First word of the numbers of the lines, plus 1, by slot; 0: nobody's.
    pub const LINES: usize = crate::bank::LINE_WORDS;
    /// Words in all.
    pub const WORDS: usize = crate::bank::padded(LINES + super::LINES as usize);
}
