//! Differences and rates.

use super::*;
use crate::pipeline::{Manipulation, Rules, TransformConfig, ValueRule};

static SENT: Metric = Metric::counter("sent_bytes_total", "Sent.", &[Label::bounded("device", 9)]);

fn changing(manipulation: Manipulation, keep_negative: bool) -> SeriesStore {
    let rule = ValueRule { pattern: "sent_*".into(), manipulation, keep_negative };
    let config = TransformConfig { values: vec![rule], ..TransformConfig::default() };
    SeriesStore::new(Box::new(Rules::of(&config, "")), Limits::default())
}

/// What is published of device `a`, cycle by cycle: milliseconds since the last one, and the counter if it is
/// delivered. `None` in place of a whole cycle is one that fails after it has delivered 1000000.
fn run(store: &mut SeriesStore, line: &str, script: &[Option<(u64, Option<f64>)>]) -> Vec<Option<f64>> {
    let mut clock = Clock::new();
    let mut out = Vec::new();
    for step in script {
        let (millis, sample) = step.unwrap_or((100, Some(1e6)));
        store.begin(clock.after(millis));
        if let Some(sample) = sample {
            (store as &mut dyn Accumulator).put(&SENT, &[b"a"], sample);
        }
        match step {
            Some(_) => store.publish(),
            None => store.withdraw(),
        }
        out.push(value(store, line));
    }
    out
}

const DELTA: &str = r#"sent_bytes_delta{device="a"}"#;
const RATE: &str = r#"sent_bytes_per_second{device="a"}"#;

#[test]
fn a_difference_needs_two_samples() {
    let mut store = changing(Manipulation::Delta, false);
    let out =
        run(&mut store, DELTA, &[Some((1000, Some(5.0))), Some((1000, Some(7.0))), Some((1000, Some(7.0)))]);
    assert_eq!(out, [None, Some(2.0), Some(0.0)]);
}

#[test]
fn a_rate_is_by_the_time_that_passed() {
    let mut store = changing(Manipulation::Rate, false);
    let script = [(1000, 10.0), (500, 20.0), (4000, 20.0), (2000, 30.0)];
    let out = run(&mut store, RATE, &script.map(|(millis, sample)| Some((millis, Some(sample)))));
    assert_eq!(out, [None, Some(20.0), Some(0.0), Some(5.0)]);
}

#[test]
fn a_series_that_missed_a_cycle_keeps_what_it_is_measured_from() {
    let script = [Some((1000, Some(10.0))), Some((1000, None)), Some((1000, Some(30.0)))];
    assert_eq!(run(&mut changing(Manipulation::Rate, false), RATE, &script), [None, None, Some(10.0)]);
    assert_eq!(run(&mut changing(Manipulation::Delta, false), DELTA, &script), [None, None, Some(20.0)]);
}

#[test]
fn a_cycle_that_failed_leaves_no_trace() {
    let script = [Some((1000, Some(10.0))), None, Some((900, Some(30.0)))];
    assert_eq!(run(&mut changing(Manipulation::Rate, false), RATE, &script), [None, None, Some(20.0)]);
}

#[test]
fn a_counter_that_fell_is_a_reset() {
    let script = [5.0, 3.0, 4.0].map(|sample| Some((1000, Some(sample))));
    let mut store = changing(Manipulation::Delta, false);
    assert_eq!(run(&mut store, DELTA, &script), [None, None, Some(1.0)]);
    assert_eq!(store.resets, 1);
    let mut store = changing(Manipulation::Rate, true);
    assert_eq!(run(&mut store, RATE, &script), [None, Some(-2.0), Some(1.0)]);
    assert_eq!(store.resets, 0);
}

#[test]
fn no_time_gives_no_rate_and_nonsense_gives_nothing() {
    let script = [(1000, 5.0), (0, 6.0), (1000, f64::NAN), (1000, f64::INFINITY), (2000, 9.0)];
    let script = script.map(|(millis, sample)| Some((millis, Some(sample))));
    let out = run(&mut changing(Manipulation::Rate, false), RATE, &script);
    assert_eq!(out, [None, None, None, None, Some(1.0)]);
}

#[test]
fn a_second_sample_of_a_cycle_changes_nothing() {
    let (mut store, mut clock) = (changing(Manipulation::Delta, false), Clock::new());
    for (first, second) in [(1.0, 5.0), (3.0, 9.0)] {
        store.begin(clock.after(1000));
        let acc: &mut dyn Accumulator = &mut store;
        acc.put(&SENT, &[b"a"], first);
        acc.put(&SENT, &[b"a"], second);
        store.publish();
    }
    assert_eq!((value(&store, DELTA), store.duplicates), (Some(2.0), 2));
}

#[test]
fn what_comes_out_is_a_gauge_of_the_right_unit() {
    use crate::catalogue::Unit;
    let (mut store, mut clock) = (changing(Manipulation::Rate, false), Clock::new());
    for sample in [1.0, 2.0] {
        store.begin(clock.after(1000));
        (&mut store as &mut dyn Accumulator).put(&SENT, &[b"a"], sample);
        store.publish();
    }
    let (_, index) = lines(&store).next().unwrap();
    let metric = store.frame().series(index).metric();
    assert_eq!((metric.kind, metric.unit, metric.name), (Kind::Gauge, Unit::None, "sent_bytes_per_second"));
    // One definition, however often it is asked for.
    let again = Metric::interned(metric.name, metric.help, metric.kind, metric.unit, metric.labels);
    assert!(std::ptr::eq(metric, again));
}
