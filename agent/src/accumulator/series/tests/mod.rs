mod changes;
mod computed;
mod folding;
mod taken_over;

use std::time::Duration;

use super::*;
use crate::{
    accumulator::{AsIs, Family},
    catalogue::{Kind, Label},
};

static BYTES: Metric = Metric::counter("x_bytes_total", "X.", &[Label::bounded("device", 9)]);

fn store(limits: Limits) -> SeriesStore {
    SeriesStore::new(Box::new(AsIs), limits)
}

fn cycle(store: &mut SeriesStore, devices: &[&str]) {
    store.begin(Instant::now());
    for (n, device) in devices.iter().enumerate() {
        (store as &mut dyn Accumulator).put(&BYTES, &[device.as_bytes()], n as f64);
    }
    store.publish();
}

fn lines(store: &SeriesStore) -> impl Iterator<Item = (&Family, u32)> {
    store
        .frame()
        .families()
        .iter()
        .flat_map(|family| family.series().iter().map(move |&index| (family, index)))
}

/// Line and value of every published number.
fn values(store: &SeriesStore) -> Vec<(String, f64)> {
    lines(store)
        .filter_map(|(_, index)| match store.frame().value(index)? {
            Value::Number(value) => {
                let line = store.frame().series(index).rendered().line();
                Some((String::from_utf8_lossy(line).trim_end().to_owned(), value))
            }
            Value::Histogram(_) => None,
        })
        .collect()
}

/// The value of the series with this line.
fn value(store: &SeriesStore, line: &str) -> Option<f64> {
    values(store).into_iter().find(|(have, _)| have == line).map(|(_, value)| value)
}

/// A clock that a test moves.
struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn after(&mut self, millis: u64) -> Instant {
        self.0 += Duration::from_millis(millis);
        self.0
    }
}

#[test]
fn a_series_is_found_again_in_any_order() {
    let mut store = store(Limits::default());
    cycle(&mut store, &["a", "b", "c"]);
    cycle(&mut store, &["c", "a", "b"]);
    let epoch = store.frame().epoch();
    cycle(&mut store, &["b", "c", "a"]);
    assert_eq!(store.frame().epoch(), epoch);
    let wanted =
        [("a", 2.0), ("b", 0.0), ("c", 1.0)].map(|(d, v)| (format!("x_bytes_total{{device=\"{d}\"}}"), v));
    assert_eq!(values(&store), wanted);
}

#[test]
fn what_a_cycle_did_not_bring_is_not_shown() {
    let mut store = store(Limits::default());
    cycle(&mut store, &["a", "b"]);
    cycle(&mut store, &["b"]);
    assert_eq!(values(&store).len(), 1);
    store.begin(Instant::now());
    store.withdraw();
    assert_eq!(values(&store).len(), 0);
    cycle(&mut store, &["a"]);
    assert_eq!(values(&store).len(), 1);
}

#[test]
fn the_first_of_two_equal_samples_wins_and_the_other_is_counted() {
    let mut store = store(Limits::default());
    cycle(&mut store, &["a", "a"]);
    assert_eq!((values(&store)[0].1, store.duplicates), (0.0, 1));
}

#[test]
fn series_that_are_gone_are_forgotten() {
    let mut store = store(Limits { keep_cycles: 10, ..Limits::default() });
    let names: Vec<String> = (0..200).map(|n| format!("d{n}")).collect();
    cycle(&mut store, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..30 {
        cycle(&mut store, &["d7", "d9"]);
    }
    assert_eq!(store.frame().families().iter().map(|family| family.series().len()).sum::<usize>(), 2);
    assert_eq!(values(&store).len(), 2);
}

#[test]
fn label_bytes_cannot_run_into_each_other() {
    static TWO: Metric = Metric::gauge("two", "Two.", &[Label::bounded("a", 9), Label::bounded("b", 9)]);
    let mut store = store(Limits::default());
    store.begin(Instant::now());
    let acc: &mut dyn Accumulator = &mut store;
    acc.put(&TWO, &[b"xy", b"z"], 1.0);
    acc.put(&TWO, &[b"x", b"yz"], 2.0);
    store.publish();
    assert_eq!(values(&store).len(), 2);
}
