//! Metrics that are computed from others.

use super::*;
use crate::pipeline::{Rules, TransformConfig};

const DISK: &[Label] = &[Label::bounded("device", 9), Label::bounded("mount", 9)];
const TURNED: &[Label] = &[Label::bounded("mount", 9), Label::bounded("device", 9)];
static USED: Metric = Metric::gauge("used_bytes", "Used.", DISK);
static SIZE: Metric = Metric::gauge("size_bytes", "Size.", TURNED);

fn computing(statements: &[&str], most: u32) -> SeriesStore {
    let derive = statements.iter().map(|&text| text.to_owned()).collect();
    let config =
        TransformConfig { derive, tags: vec![("rack".into(), "7".into())], ..TransformConfig::default() };
    let limits = Limits { series_per_metric: most, keep_cycles: 10 };
    SeriesStore::new(Box::new(Rules::of(&config, "node_")), limits)
}

/// Devices with what they use, and their size where it is known.
fn disks(store: &mut SeriesStore, disks: &[(&str, f64, Option<f64>)]) {
    store.begin(Instant::now());
    let acc: &mut dyn Accumulator = store;
    for (device, used, size) in disks {
        acc.put(&USED, &[device.as_bytes(), b"/"], *used);
        if let Some(size) = size {
            acc.put(&SIZE, &[b"/", device.as_bytes()], *size);
        }
    }
    store.publish();
}

fn line(name: &str, device: &str) -> String {
    format!("node_{name}{{device=\"{device}\",mount=\"/\",rack=\"7\"}}")
}

#[test]
fn series_with_the_same_labels_are_computed_together() {
    let mut store = computing(&["used_ratio = used_bytes / size_bytes", "free_ratio = 1 - used_ratio"], 100);
    let all = [("a", 1.0, Some(4.0)), ("b", 1.0, None), ("c", 1.0, Some(0.0))];
    for _ in 0..3 {
        disks(&mut store, &all);
        assert_eq!(value(&store, &line("used_ratio", "a")), Some(0.25));
        assert_eq!(value(&store, &line("free_ratio", "a")), Some(0.75));
        // A size that is missing or zero gives nothing.
        assert_eq!(value(&store, &line("used_ratio", "b")), None);
        assert_eq!(value(&store, &line("used_ratio", "c")), None);
        assert_eq!(value(&store, &line("used_bytes", "b")), Some(1.0));
    }
    // Gone is gone.
    disks(&mut store, &[]);
    assert_eq!(values(&store), []);
}

#[test]
fn divide_takes_what_is_missing_for_zero() {
    let mut store = computing(&["r = divide(used_bytes, size_bytes)"], 100);
    disks(&mut store, &[("a", 1.0, Some(4.0)), ("b", 1.0, None), ("c", 1.0, Some(0.0))]);
    assert_eq!(["a", "b", "c"].map(|d| value(&store, &line("r", d))), [Some(0.25), Some(0.0), Some(0.0)]);
}

#[test]
fn inputs_may_be_dropped_renamed_or_replaced() {
    let mut store = computing(
        &[
            "used_bytes = used_bytes * 2",
            "share = used_bytes / size_bytes",
            "drop size_bytes",
            "rename share s",
        ],
        100,
    );
    disks(&mut store, &[("a", 1.0, Some(4.0))]);
    let mut all = values(&store);
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(all, [(line("s", "a"), 0.5), (line("used_bytes", "a"), 2.0)]);
}

#[test]
fn results_past_the_limit_fold_like_others() {
    let mut store = computing(&["twice = used_bytes * 2", "drop used_bytes"], 2);
    for _ in 0..2 {
        disks(&mut store, &[("a", 1.0, None), ("b", 2.0, None), ("c", 3.0, None), ("d", 4.0, None)]);
        assert_eq!(value(&store, &line("twice", "a")), Some(2.0));
        let other = "node_twice{device=\"other\",mount=\"other\",rack=\"7\"}";
        assert_eq!(value(&store, other), Some(14.0));
        assert_eq!(values(&store).len(), 3);
    }
    assert_eq!(store.folded, 4);
}

#[test]
fn sets_of_labels_that_are_gone_are_forgotten() {
    let mut store = computing(&["r = used_bytes / size_bytes"], 1000);
    let names: Vec<String> = (0..300).map(|n| format!("d{n}")).collect();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), 1.0, Some(2.0))).collect();
    disks(&mut store, &all);
    for _ in 0..30 {
        disks(&mut store, &all[7..9]);
    }
    assert_eq!(lines(&store).count(), 6);
    assert_eq!(value(&store, &line("r", "d8")), Some(0.5));
    disks(&mut store, &all[6..9]);
    assert_eq!(value(&store, &line("r", "d6")), Some(0.5));
    assert_eq!(values(&store).len(), 9);
}
