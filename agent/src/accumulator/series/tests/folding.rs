//! Series past the limit.

use pitot_common::histogram::{Scale, TIME_SLOTS};
use proptest::prelude::*;

use super::*;
use crate::{accumulator::Histogram, catalogue::Buckets};

const LABELS: &[Label] = &[Label::bounded("device", 99), Label::fixed("side", &["in", "out"])];
static COUNT: Metric = Metric::counter("count_total", "C.", LABELS);
static LEVEL: Metric = Metric::gauge("level", "L.", LABELS);
static ABOUT: Metric = Metric::info("about_info", "A.", LABELS);
static SIDES: Metric = Metric::gauge("sides", "S.", &[Label::fixed("side", &["in", "out"])]);
const BUCKETS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -2, last: 1 };
static WAITS: Metric = Metric::histogram("waits_seconds", "W.", BUCKETS, LABELS);

fn folding(most: u32) -> SeriesStore {
    store(Limits { series_per_metric: most, keep_cycles: 10 })
}

fn deliver(store: &mut SeriesStore, metric: &'static Metric, samples: &[(&str, f64)]) {
    store.begin(Instant::now());
    for (device, value) in samples {
        (store as &mut dyn Accumulator).put(metric, &[device.as_bytes(), b"in"], *value);
    }
    store.publish();
}

fn other(store: &SeriesStore, name: &str) -> Option<f64> {
    value(store, &format!("{name}{{device=\"other\",side=\"in\"}}"))
}

/// Of everything that is published.
fn sum(store: &SeriesStore) -> Option<f64> {
    values(store).into_iter().map(|(_, value)| value).reduce(|a, b| a + b)
}

#[test]
fn bounded_labels_become_other_and_fixed_ones_stay() {
    let mut store = folding(2);
    store.begin(Instant::now());
    for device in [b"a", b"b", b"c"] {
        for (side, value) in [(&b"in"[..], 1.0), (b"out", 10.0)] {
            (&mut store as &mut dyn Accumulator).put(&LEVEL, &[device, side], value);
        }
    }
    store.publish();
    let expected = [("a", "in", 1.0), ("a", "out", 10.0), ("other", "in", 2.0), ("other", "out", 20.0)];
    assert_eq!(
        values(&store),
        expected.map(|(d, s, v)| (format!("level{{device=\"{d}\",side=\"{s}\"}}"), v))
    );
    assert_eq!((store.folded, store.over_limit), (4, 0));
}

#[test]
fn a_counter_keeps_what_members_had_and_adds_what_they_bring() {
    let mut store = folding(1);
    let mut run = |samples: &[(&str, f64)]| {
        deliver(&mut store, &COUNT, samples);
        other(&store, "count_total")
    };
    assert_eq!(run(&[("a", 5.0)]), None);
    assert_eq!(run(&[("a", 5.0), ("b", 10.0), ("c", 100.0)]), Some(110.0));
    // `b` is gone.
    assert_eq!(run(&[("a", 5.0), ("c", 101.0)]), Some(111.0));
    // It comes back, and `c` began anew.
    assert_eq!(run(&[("b", 12.0), ("c", 4.0)]), Some(117.0));
    // Nobody is there.
    assert_eq!(run(&[]), Some(117.0));
    // What is none of a counter is left out.
    assert_eq!(run(&[("b", f64::NAN), ("c", -1.0)]), Some(117.0));
    assert_eq!(run(&[("b", 12.0), ("c", 5.0)]), Some(118.0));
    assert_eq!(store.over_limit, 2);
}

#[test]
fn a_gauge_is_the_sum_of_what_is_there() {
    let mut store = folding(1);
    deliver(&mut store, &LEVEL, &[("a", 5.0), ("b", 1.0), ("c", 2.0)]);
    assert_eq!(other(&store, "level"), Some(3.0));
    deliver(&mut store, &LEVEL, &[("a", 5.0), ("c", 2.0)]);
    assert_eq!(other(&store, "level"), Some(2.0));
    deliver(&mut store, &LEVEL, &[("a", 5.0)]);
    assert_eq!(other(&store, "level"), None);
}

#[test]
fn a_cycle_that_failed_adds_nothing() {
    let mut store = folding(1);
    deliver(&mut store, &COUNT, &[("a", 5.0), ("b", 10.0)]);
    store.begin(Instant::now());
    (&mut store as &mut dyn Accumulator).put(&COUNT, &[b"b", b"in"], 1000.0);
    store.withdraw();
    deliver(&mut store, &COUNT, &[("a", 5.0), ("b", 11.0)]);
    assert_eq!(other(&store, "count_total"), Some(11.0));
}

#[test]
fn what_cannot_be_folded_is_left_out_and_counted() {
    let mut store = folding(1);
    for _ in 0..2 {
        deliver(&mut store, &ABOUT, &[("a", 1.0), ("b", 1.0)]);
    }
    assert_eq!((values(&store).len(), store.over_limit, store.folded), (1, 2, 0));
    store.begin(Instant::now());
    (&mut store as &mut dyn Accumulator).put(&SIDES, &[b"in"], 1.0);
    (&mut store as &mut dyn Accumulator).put(&SIDES, &[b"out"], 1.0);
    store.publish();
    assert_eq!((values(&store).len(), store.over_limit), (1, 3));
}

#[test]
fn members_have_a_limit_of_their_own() {
    let mut store = folding(2);
    let names: Vec<String> = (0..30).map(|n| format!("d{n}")).collect();
    let samples: Vec<_> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    deliver(&mut store, &COUNT, &samples);
    assert_eq!(other(&store, "count_total"), Some(20.0));
    assert_eq!((store.folded, store.over_limit), (20, 8));
}

#[test]
fn a_series_that_is_called_other_becomes_a_member() {
    // Before the fold is there, and after.
    for order in [["other", "b", "c"], ["a", "b", "other"]] {
        for (metric, name) in [(&COUNT, "count_total"), (&LEVEL, "level")] {
            let mut store = folding(1);
            for times in [1.0, 2.0, 3.0] {
                deliver(&mut store, metric, &order.map(|device| (device, times)));
                assert_eq!(sum(&store), Some(times * 3.0), "{order:?} {name}");
            }
            let distinct: std::collections::HashSet<_> = values(&store).into_iter().map(|(l, _)| l).collect();
            assert_eq!(distinct.len(), values(&store).len());
            assert!(other(&store, name).is_some());
        }
    }
}

#[test]
fn histograms_merge() {
    let mut store = folding(1);
    let (mut one, mut two) = (Histogram::new(BUCKETS), Histogram::new(BUCKETS));
    one.observe(1_000_000);
    two.observe(1_000_000_000);
    two.observe(0);
    let mut run = |samples: &[(&str, &Histogram)]| {
        store.begin(Instant::now());
        for (device, value) in samples {
            (&mut store as &mut dyn Accumulator).put(&WAITS, &[device.as_bytes(), b"in"], *value);
        }
        store.publish();
        let all = lines(&store).filter_map(|(_, index)| match store.frame().value(index)? {
            Value::Histogram(value) => Some((value.count(), value.sum())),
            Value::Number(_) => None,
        });
        all.collect::<Vec<_>>()
    };
    assert_eq!(run(&[("a", &one), ("b", &one), ("c", &two)]), [(1, 0.001), (3, 1.001)]);
    // `c` is gone, `b` has one more.
    let before = one.clone();
    one.observe(1_000_000);
    assert_eq!(run(&[("a", &before), ("b", &one)]), [(1, 0.001), (4, 1.002)]);
    // `b` began anew.
    assert_eq!(run(&[("b", &before)]), [(5, 1.003)]);
}

#[test]
fn a_counted_member_is_remembered_while_it_is_gone() {
    let mut store = folding(100);
    let names: Vec<String> = (0..300).map(|n| format!("d{n}")).collect();
    let samples: Vec<_> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    deliver(&mut store, &COUNT, &samples);
    for _ in 0..50 {
        deliver(&mut store, &COUNT, &samples[..2]);
    }
    // 98 that were shown are forgotten, 200 members are not: what they had counts once.
    assert_eq!(other(&store, "count_total"), Some(200.0));
    deliver(&mut store, &COUNT, &samples);
    assert_eq!(sum(&store), Some(300.0));
}

#[derive(Clone, Debug)]
struct Step {
    /// By series: absent, or what it gains.
    gains: Vec<Option<u8>>,
    /// Delivered in reverse.
    reverse: bool,
    fails: bool,
}

fn steps(resets: bool) -> impl Strategy<Value = Vec<Step>> {
    let gain = if resets { prop::option::of(any::<u8>()).boxed() } else { (0u8..200).prop_map(Some).boxed() };
    let step = (prop::collection::vec(gain, 12), any::<bool>(), prop::bool::weighted(0.1))
        .prop_map(|(gains, reverse, fails)| Step { gains, reverse, fails });
    prop::collection::vec(step, 1..40)
}

/// Runs counters, and says after every cycle what was delivered and what is published.
fn follow(most: u32, steps: &[Step], resets: bool, mut check: impl FnMut(f64, &[(String, f64)])) {
    let mut store = folding(most);
    let mut totals = [0.0; 12];
    for step in steps {
        store.begin(Instant::now());
        let mut order: Vec<usize> = (0..12).collect();
        if step.reverse {
            order.reverse();
        }
        let mut delivered = 0.0;
        for series in order {
            let Some(gain) = step.gains[series] else { continue };
            // A counter that gains most begins anew.
            totals[series] = if resets && gain > 230 { 1.0 } else { totals[series] + f64::from(gain) };
            delivered += totals[series];
            let device = format!("d{}", series / 2);
            let side: &[u8] = if series % 2 == 0 { b"in" } else { b"out" };
            (&mut store as &mut dyn Accumulator).put(&COUNT, &[device.as_bytes(), side], totals[series]);
        }
        if step.fails {
            store.withdraw();
        } else {
            store.publish();
            check(delivered, &values(&store));
        }
    }
}

proptest! {
    #[test]
    fn the_sum_of_what_is_published_is_that_of_what_is_delivered(most in 2u32..14, steps in steps(false)) {
        let mut all = Vec::new();
        follow(most, &steps, false, |delivered, values| {
            all.push((delivered, values.iter().map(|(_, value)| value).sum::<f64>()));
        });
        for (delivered, published) in all {
            prop_assert!(delivered.total_cmp(&published).is_eq(), "{delivered} {published}");
        }
    }

    #[test]
    fn a_folded_counter_never_falls(most in 2u32..14, steps in steps(true)) {
        let mut last = std::collections::HashMap::new();
        let mut fell = Vec::new();
        follow(most, &steps, true, |_, values| {
            for (line, value) in values.iter().filter(|(line, _)| line.contains("other")) {
                if last.insert(line.clone(), *value).is_some_and(|before| before > *value) {
                    fell.push(line.clone());
                }
            }
            // Once it is there it stays.
            for line in last.keys() {
                if !values.iter().any(|(have, _)| have == line) {
                    fell.push(line.clone());
                }
            }
        });
        prop_assert_eq!(fell, Vec::<String>::new());
    }
}
