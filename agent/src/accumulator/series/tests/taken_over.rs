//! What a store under another configuration goes on from.

use super::*;
use crate::pipeline::{Manipulation, Rules, TransformConfig, ValueRule};

static SENT: Metric = Metric::counter("sent_total", "Sent.", &[Label::bounded("device", 9)]);

fn config(prefix: &str, most: u32) -> (Rules, Limits) {
    let config = TransformConfig { tags: vec![("rack".into(), prefix.into())], ..TransformConfig::default() };
    (Rules::of(&config, prefix), Limits { series_per_metric: most, keep_cycles: 10 })
}

fn plain(prefix: &str, most: u32) -> SeriesStore {
    let (rules, limits) = config(prefix, most);
    SeriesStore::new(Box::new(rules), limits)
}

fn rates(prefix: &str) -> SeriesStore {
    let rule =
        ValueRule { pattern: "sent_total".into(), manipulation: Manipulation::Rate, keep_negative: false };
    let config = TransformConfig { values: vec![rule], ..TransformConfig::default() };
    SeriesStore::new(Box::new(Rules::of(&config, prefix)), Limits::default())
}

fn deliver(store: &mut SeriesStore, at: Instant, samples: &[(&str, f64)]) {
    store.begin(at);
    for (device, value) in samples {
        (store as &mut dyn Accumulator).put(&SENT, &[device.as_bytes()], *value);
    }
    store.publish();
}

#[test]
fn rates_go_on_under_another_name() {
    let mut clock = Clock::new();
    let (mut old, mut new) = (rates("a_"), rates("b_"));
    deliver(&mut old, clock.after(1000), &[("x", 10.0)]);
    new.take_over(&mut old);
    deliver(&mut new, clock.after(2000), &[("x", 30.0), ("y", 5.0)]);
    assert_eq!(values(&new), [(r#"b_sent_per_second{device="x"}"#.to_owned(), 10.0)]);
    assert_eq!(values(&old), []);
    // Through a store that did not meet it.
    let (mut third, mut fourth) = (rates("c_"), rates("d_"));
    third.take_over(&mut new);
    fourth.take_over(&mut third);
    deliver(&mut fourth, clock.after(1000), &[("x", 31.0)]);
    assert_eq!(values(&fourth), [(r#"d_sent_per_second{device="x"}"#.to_owned(), 1.0)]);
}

#[test]
fn folds_go_on_from_where_they_were() {
    let mut clock = Clock::new();
    let (mut old, mut new) = (plain("a_", 1), plain("b_", 1));
    deliver(&mut old, clock.after(1000), &[("x", 1.0), ("y", 10.0), ("z", 100.0)]);
    deliver(&mut old, clock.after(1000), &[("x", 1.0), ("y", 10.0)]);
    new.take_over(&mut old);
    // In another order: `y` stays a member.
    deliver(&mut new, clock.after(1000), &[("y", 12.0), ("x", 1.0)]);
    let line = |device: &str| format!("b_sent_total{{device=\"{device}\",rack=\"b_\"}}");
    assert_eq!(value(&new, &line("other")), Some(112.0));
    assert_eq!(value(&new, &line("x")), Some(1.0));
    deliver(&mut new, clock.after(1000), &[("y", 12.0), ("x", 1.0), ("z", 101.0)]);
    assert_eq!(value(&new, &line("other")), Some(113.0));
    assert_eq!(new.folded, 6);
}

#[test]
fn with_another_limit_folds_begin_anew() {
    let mut clock = Clock::new();
    let (mut old, mut new) = (plain("", 1), plain("", 2));
    deliver(&mut old, clock.after(1000), &[("x", 1.0), ("y", 10.0), ("z", 100.0)]);
    new.take_over(&mut old);
    deliver(&mut new, clock.after(1000), &[("x", 1.0), ("y", 10.0), ("z", 100.0)]);
    let all: Vec<f64> = values(&new).into_iter().map(|(_, value)| value).collect();
    assert_eq!(all, [1.0, 10.0, 100.0]);
}
