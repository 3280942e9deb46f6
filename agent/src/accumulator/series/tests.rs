use super::*;
use crate::catalogue::Label;

static BYTES: Metric = Metric::counter("x_bytes_total", "X.", &[Label::bounded("device", 9)]);

struct All;
impl Naming for All {
    fn export(&self, raw: &str) -> Option<String> {
        (raw != "denied").then(|| raw.to_owned())
    }
    fn tags(&self) -> &[(String, String)] {
        &[]
    }
}

fn store(limits: Limits) -> SeriesStore {
    SeriesStore::new(Box::new(All), limits)
}

fn cycle(store: &mut SeriesStore, devices: &[&str]) {
    store.begin();
    for (n, device) in devices.iter().enumerate() {
        (store as &mut dyn Accumulator).put(&BYTES, &[device.as_bytes()], n as f64);
    }
    store.publish();
}

fn values(store: &SeriesStore) -> Vec<(String, f64)> {
    let frame = store.frame();
    frame
        .families()
        .iter()
        .flat_map(|f| &f.series)
        .filter_map(|&i| match frame.value(i)? {
            Value::Number(v) => {
                Some((String::from_utf8_lossy(frame.series(i).rendered().line()).into_owned(), v))
            }
            Value::Histogram(_) => None,
        })
        .collect()
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
        [("a", 2.0), ("b", 0.0), ("c", 1.0)].map(|(d, v)| (format!("x_bytes_total{{device=\"{d}\"}} "), v));
    assert_eq!(values(&store), wanted);
}

#[test]
fn what_a_cycle_did_not_bring_is_not_shown() {
    let mut store = store(Limits::default());
    cycle(&mut store, &["a", "b"]);
    cycle(&mut store, &["b"]);
    assert_eq!(values(&store).len(), 1);
    store.begin();
    store.withdraw();
    assert_eq!(values(&store).len(), 0);
    cycle(&mut store, &["a"]);
    assert_eq!(values(&store).len(), 1);
}

#[test]
fn past_the_limit_samples_are_counted() {
    let mut store = store(Limits { series_per_metric: 2, ..Limits::default() });
    cycle(&mut store, &["a", "b", "c", "d"]);
    assert_eq!((values(&store).len(), store.over_limit), (2, 2));
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
    assert_eq!(store.frame().series.len(), 2);
    assert_eq!(values(&store).len(), 2);
}

#[test]
fn label_bytes_cannot_run_into_each_other() {
    static TWO: Metric = Metric::gauge("two", "Two.", &[Label::bounded("a", 9), Label::bounded("b", 9)]);
    let mut store = store(Limits::default());
    store.begin();
    let acc: &mut dyn Accumulator = &mut store;
    acc.put(&TWO, &[b"xy", b"z"], 1.0);
    acc.put(&TWO, &[b"x", b"yz"], 2.0);
    store.publish();
    assert_eq!(values(&store).len(), 2);
}
