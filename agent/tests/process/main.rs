//! The agent as a process: how it starts, ends, is killed and comes back, and what it does on hosts that
//! lack something. Each test has pins of its own, and removes them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests start processes, wait for them and read the environment that their runner sets"
)]

mod agent;
mod budget;
mod bursts;
mod degraded;
#[path = "../../../tests/tests/kernel/host.rs"]
mod host;
mod pins;
#[path = "../../../tests/tests/kernel/raw.rs"]
#[expect(unsafe_code, reason = "system calls that have no safe wrapper because nobody needs them")]
#[expect(dead_code, reason = "shared with the tests of the kernel programs, which need more of it")]
mod raw;
mod restart;
mod shared;
mod succession;
mod together;
