//! Waits until what was attached by links no longer runs.
//!
//! The kernel ends a link some time after its last pin and descriptor are gone: it forgets its number, and then
//! takes the program from its place. Waiting until it has also forgotten the program would be waiting for all
//! that could have held it: up to 0.3 s, in which nothing is counted.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use aya::programs::loaded_links;

const POLL: Duration = Duration::from_micros(200);
/// From the end of a link's number to that of its program's last run.
const LAST_RUN: Duration = Duration::from_millis(1);
/// For a link that somebody else holds, or if the numbers cannot be asked for, which takes `CAP_SYS_ADMIN`.
const PATIENCE: Duration = Duration::from_millis(50);

/// Returns when the links of these numbers have ended, or patience has.
pub(super) fn wait(links: &HashSet<u32>) {
    if links.is_empty() {
        return;
    }
    let start = Instant::now();
    while !have_ended(links) && start.elapsed() < PATIENCE {
        thread::park_timeout(POLL);
    }
    thread::park_timeout(LAST_RUN);
    tracing::debug!(took = ?start.elapsed(), "earlier programs are detached");
}

fn have_ended(links: &HashSet<u32>) -> bool {
    let mut can_ask = false;
    for link in loaded_links().filter_map(Result::ok) {
        can_ask = true;
        if links.contains(&link.id()) {
            return false;
        }
    }
    // No link at all is as good as no answer.
    can_ask
}
