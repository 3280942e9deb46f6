//! The real binary, from outside: what it prints, serves, refuses and survives.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![expect(
    clippy::disallowed_methods,
    reason = "these tests start programs and look at their own environment"
)]
#![expect(clippy::print_stderr, reason = "what is skipped is said")]

mod agent;
mod blocked_file;
mod checks;
mod client;
mod command_line;
mod configured;
mod conformance;
mod exposition;
mod formats;
mod golden;
mod hung_mount;
#[path = "../hung/mod.rs"]
mod hung;
mod outputs;
mod prometheus;
mod protobuf;
mod queries;
mod reload;
mod server;
