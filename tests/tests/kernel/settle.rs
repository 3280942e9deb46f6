//! Tests on kernels whose tracepoints are not exact themselves.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::host::note;

/// How many windows a test has where nobody says.
const WINDOWS: u32 = 5;

/// Gives a test five windows, or as many as `PITOT_TEST_WINDOWS` says; it passes with the first that is exact.
///
/// There are kernels whose tracepoints themselves miss events: on a 6.18 guest kernel, on one of two CPUs and
/// not on the other, none fires in the idle task and in some old processes; perf sees too few there as well. A
/// program that always loses events fails; a rarer loss shows only in what is said of each window. In the
/// machines of `cargo xtask vm` no event is missed, and one window has to do.
pub(crate) fn settle(test: impl Fn()) {
    for window in 1..windows() {
        if catch_unwind(AssertUnwindSafe(&test)).is_ok() {
            return;
        }
        note(&format!("window {window} was not exact, another one"));
    }
    test();
}

/// One where no event is missed.
pub(crate) fn windows() -> u32 {
    env::var("PITOT_TEST_WINDOWS").ok().map_or(WINDOWS, |value| value.parse().unwrap())
}
