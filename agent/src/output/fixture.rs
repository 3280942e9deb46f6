//! Frames for the tests of the encoders.

use std::time::Instant;

use pitot_common::histogram::{Scale, TIME_SLOTS};

use crate::{
    accumulator::{Accumulator, AsIs, Histogram, Limits, SeriesStore},
    catalogue::{Buckets, Label, Metric, Unit},
};

pub(super) const BUCKETS: Buckets =
    Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -2, last: 1 };

static THINGS: Metric =
    Metric::counter("node_things_total", "Things, \\ and\nmore \"things\".", &[Label::bounded("path", 9)]);
static LEVEL: Metric =
    Metric::gauge("node_level_bytes", "Level.", &[Label::fixed("side", &["left", "right", "top"])])
        .unit(Unit::Bytes);
static OLD: Metric = Metric::untyped("node_old", "Whatever.", &[]);
pub(super) static WAIT: Metric =
    Metric::histogram("node_wait_seconds", "Waits.", BUCKETS, &[Label::cpu()]).unit(Unit::Seconds);

/// A store after one cycle with these samples.
pub(super) fn store(samples: impl FnOnce(&mut dyn Accumulator)) -> SeriesStore {
    let mut store = SeriesStore::new(Box::new(AsIs), Limits::default());
    cycle(&mut store, samples);
    store
}

/// Another cycle.
pub(super) fn cycle(store: &mut SeriesStore, samples: impl FnOnce(&mut dyn Accumulator)) {
    store.begin(Instant::now());
    samples(store);
    store.publish();
}

/// One family of every kind, with values that are hard to write.
pub(super) fn every_kind() -> SeriesStore {
    let mut waits = Histogram::new(BUCKETS);
    for seconds in [0.0, 0.25, 0.5, 0.75, 1.0, 8.0] {
        waits.observe(std::time::Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap());
    }
    store(|acc| {
        acc.put(&THINGS, &[b"/a b"], 3.0);
        acc.put(&THINGS, &[b"q\"b\\s\nn"], 0.25);
        acc.put(&LEVEL, &[b"left"], f64::NAN);
        acc.put(&LEVEL, &[b"right"], f64::INFINITY);
        acc.put(&LEVEL, &[b"top"], f64::NEG_INFINITY);
        acc.put(&OLD, &[], 9_007_199_254_740_992.0);
        acc.put(&WAIT, &[b"0"], &waits);
    })
}
