//! Tests on kernels whose tracepoints are not exact themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::host::note;

/// Gives a test five windows; it passes with the first that is exact.
///
/// There are kernels whose tracepoints themselves miss events: on a 6.18 guest kernel, one of two CPUs
/// misses about three context switches a second and the other none; perf counts too few there as well. A
/// program that always loses events fails; a rarer loss shows only in what is said of each window.
pub(crate) fn settle(test: impl Fn()) {
    for window in 1..5 {
        if catch_unwind(AssertUnwindSafe(&test)).is_ok() {
            return;
        }
        note(&format!("window {window} was not exact, another one"));
    }
    test();
}
