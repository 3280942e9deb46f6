//! Every transformation at once: once every series is known, a cycle takes no memory.

use std::time::{Duration, Instant};

use pitot::{
    accumulator::{Accumulator, Histogram, Limits, SeriesStore},
    catalogue::{Buckets, Label, Metric},
    output::{Encoder, Format},
    pipeline::{Manipulation, Rules, TagPolicy, TransformConfig, ValueRule},
};
use pitot_common::histogram::{Scale, TIME_SLOTS};
use pitot_tests::counting::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM: usize = 150;
const CYCLES: usize = 100;
const FORMATS: [Format; 3] = [Format::Text, Format::OpenMetrics, Format::Protobuf];

const LABELS: &[Label] = &[Label::bounded("device", 9999), Label::fixed("side", &["in", "out"])];
const BUCKETS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -10, last: 2 };
static SENT: Metric = Metric::counter("sent_total", "Sent.", LABELS);
static LOST: Metric = Metric::counter("lost_total", "Lost.", LABELS);
static DEPTH: Metric = Metric::gauge("depth", "Depth.", LABELS);
static DENIED: Metric = Metric::gauge("denied", "Denied.", LABELS);
static ABOUT: Metric = Metric::info("about_info", "About.", LABELS);
static WAITS: Metric = Metric::histogram("waits_seconds", "Waits.", BUCKETS, LABELS);

/// A store with everything that can be asked for; 50 series of a metric are shown by themselves.
fn store() -> SeriesStore {
    let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let rule = |pattern: &str, manipulation| ValueRule {
        pattern: pattern.to_owned(),
        manipulation,
        keep_negative: false,
    };
    let config = TransformConfig {
        allow: own(&["*"]),
        deny: own(&["/^deni/"]),
        deny_labels: vec![("device".to_owned(), own(&["d7"]))],
        rename: vec![("depth".to_owned(), "queue_depth".to_owned())],
        values: vec![rule("lost_total", Manipulation::Rate), rule("depth", Manipulation::Delta)],
        derive: own(&[
            "lost_ratio = lost_per_second / sent_total",
            "drop lost_per_second",
            "x = 1 - lost_ratio",
        ]),
        tags: vec![("rack".to_owned(), "r7".to_owned()), ("side".to_owned(), "none".to_owned())],
        tag_policy: TagPolicy::OwnWins,
        format: Some("host_%s".to_owned()),
        max_series: 50,
        ..TransformConfig::default()
    };
    let limits = Limits { series_per_metric: config.max_series, ..Limits::default() };
    SeriesStore::new(Box::new(Rules::of(&config, "")), limits)
}

/// One cycle of 600 series of each metric, some of which only a cycle now and then brings.
fn cycle(store: &mut SeriesStore, now: Instant, turn: usize, waits: &Histogram, devices: &[String]) {
    store.begin(now);
    let acc: &mut dyn Accumulator = store;
    for (at, device) in devices.iter().enumerate() {
        if at % 10 == turn % 10 {
            continue;
        }
        for side in [&b"in"[..], b"out"] {
            let labels = [device.as_bytes(), side];
            // Every counter falls now and then.
            let count = ((turn + at) % 37) as f64;
            for metric in [&SENT, &LOST, &DEPTH, &DENIED] {
                acc.put(metric, &labels, count);
            }
            acc.put(&ABOUT, &labels, 1.0);
            acc.put(&WAITS, &labels, waits);
            acc.put(&SENT, &labels, count);
        }
    }
    if turn.is_multiple_of(13) {
        store.withdraw();
    } else {
        store.publish();
    }
}

#[test]
fn a_cycle_of_transforming_and_encoding_allocates_nothing() {
    let devices: Vec<String> = (0..300).map(|n| format!("d{n}")).collect();
    let (mut store, mut waits) = (store(), Histogram::new(BUCKETS));
    let mut encoders = FORMATS.map(|_| Encoder::new());
    let mut now = Instant::now();
    let mut requests = 0;
    for turn in 0..WARM + CYCLES {
        now += Duration::from_millis(990 + turn as u64 % 20);
        waits.observe(1_000 << (turn % 20));
        let before = counting::requests();
        cycle(&mut store, now, turn, &waits, &devices);
        let frames = [store.frame()];
        for (encoder, format) in encoders.iter_mut().zip(FORMATS) {
            drop(encoder.encode(format, &frames));
        }
        if turn >= WARM {
            requests += counting::requests() - before;
        }
    }
    assert_eq!(requests, 0);
    let losses = [store.over_limit, store.duplicates, store.folded, store.resets];
    assert!(losses.iter().all(|&count| count > 1000), "{losses:?}");
    assert!(store.frame().live() > 150, "{}", store.frame().live());
}
