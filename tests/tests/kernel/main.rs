//! The kernel's truth: what the programs count is compared with what was made, and with the kernel's own
//! numbers taken around it.
//!
//! Tests run beside each other on a busy machine. So a test counts what nobody else makes, or it holds the
//! growth of a counter between two growths of the kernel's: one measured just outside, one just inside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests sleep, start processes and read the environment that their runner sets"
)]

mod block;
mod cgroup;
mod cgroups;
mod hooks;
mod host;
mod irq;
mod limits;
mod owner;
mod net;
mod memory;
mod proc;
mod process;
#[expect(unsafe_code, reason = "system calls that have no safe wrapper because nobody needs them")]
mod raw;
mod sandwich;
mod sched;
mod settle;
mod syscall;
mod tcp;
mod watched;
