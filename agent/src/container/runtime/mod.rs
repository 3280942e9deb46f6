//! Clients of the APIs of container runtimes and of the kubelet: they say what containers are called.
//!
//! That a container runs is known without any of them. A client is asked about new containers only; every question has
//! a deadline and every answer a bound, and a runtime that is down costs nothing but the names of what it started.

mod asked;
mod config;
mod cri;
mod docker;
mod find;
mod http;
mod kubelet;
mod labels;
mod listen;
mod place;
mod podman;
#[cfg(test)]
mod real;
mod trouble;

use std::time::Duration;

pub use self::{config::PodsConfig, find::sources};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(2);
/// How long all calls may take that one question leads to.
const QUESTION: Duration = Duration::from_secs(4);
/// How long an answer may be, in bytes.
const ANSWER: usize = 8 << 20;
/// Containers that are asked for by name; about more of them, the runtime is asked for its whole list.
const FEW: usize = 2;
