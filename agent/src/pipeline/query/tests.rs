use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::{
    accumulator::{Accumulator, MemoryAccumulator, OwnedSample, OwnedValue},
    catalogue::{Kind, Label, Metric, Source, Unit, Unsupported},
    input::InputDef,
};

mod model;
mod refused;
mod replayed;

static LABELS: [Label; 2] = [Label::cpu(), Label::fixed("mode", &["user", "system", "idle"])];
static SECONDS: Metric = Metric::counter("cpu_seconds_total", "Time.", &LABELS).unit(Unit::Seconds);
static LEVEL: Metric = Metric::gauge("level", "Level.", &LABELS);
static PARTS: Metric = Metric::gauge("memory_*_bytes", "Memory.", &[]).unit(Unit::Bytes);
static DEF: InputDef = InputDef {
    name: "cpu",
    about: "Made up.",
    prefix: "node_",
    source: Source::Own,
    cost: "nothing",
    metrics: &[&SECONDS, &LEVEL, &PARTS],
    options: &[],
    open: |_| Err(Unsupported(String::new())),
};

fn select(agg: Aggregate, of: Of, metric: &str, name: &str) -> Select {
    Select { metric: metric.to_owned(), name: name.to_owned(), agg, of, over: None }
}

fn query(selects: Vec<Select>) -> QueryConfig {
    QueryConfig { from: "cpu".into(), select: selects, condition: None, group_by: Vec::new(), window: None }
}

fn by(config: QueryConfig, labels: &[&str]) -> QueryConfig {
    QueryConfig { group_by: labels.iter().map(|label| (*label).to_owned()).collect(), ..config }
}

/// A query with a clock of its own.
struct Bench {
    query: Query,
    start: Instant,
}

type Given<'s> = (&'static Metric, &'s str, &'s str, f64);

impl Bench {
    fn new(config: &QueryConfig) -> Self {
        Self { query: Query::new(config, Some(&DEF)).unwrap(), start: Instant::now() }
    }

    fn times(&self, millis: u64) -> (Instant, SystemTime) {
        let since = Duration::from_millis(millis);
        (self.start + since, UNIX_EPOCH + since)
    }

    fn feed(&mut self, samples: &[Given<'_>]) {
        let acc: &mut dyn Accumulator = &mut self.query;
        for &(metric, cpu, mode, value) in samples {
            acc.put(metric, &[cpu.as_bytes(), mode.as_bytes()], value);
        }
    }

    fn tick(&mut self, millis: u64, samples: &[Given<'_>]) -> Vec<OwnedSample> {
        let (now, aligned) = self.times(millis);
        self.query.begin_at(now, aligned);
        self.feed(samples);
        let mut out = MemoryAccumulator::new();
        self.query.finish_at(aligned, &mut out);
        out.samples().to_vec()
    }
}

/// Results as text: `name[labels]=value`.
fn shown(samples: &[OwnedSample]) -> Vec<String> {
    let one = |sample: &OwnedSample| {
        let labels: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_str()).collect();
        let value = match &sample.value {
            OwnedValue::Number(value) => value.to_string(),
            OwnedValue::Histogram(value) => format!("{}/{}", value.count(), value.sum()),
        };
        format!("{}[{}]={value}", sample.name, labels.join(","))
    };
    samples.iter().map(one).collect()
}

#[test]
fn a_sum_of_counters_is_a_counter_and_never_falls() {
    let config = by(query(vec![select(Aggregate::Sum, Of::Value, "cpu_seconds_total", "busy")]), &["cpu"]);
    let mut bench = Bench::new(&config);
    let first = bench.tick(0, &[(&SECONDS, "0", "user", 5.0), (&SECONDS, "0", "system", 2.0)]);
    assert_eq!(shown(&first), ["busy[0]=7"]);
    let made = first[0].metric;
    assert_eq!((made.kind, made.unit), (Kind::Counter, Unit::Seconds));
    assert_eq!(made.help, "sum(cpu_seconds_total) GROUP BY cpu. Time.");
    // One vanishes, the other begins anew: what both had counted stays.
    assert_eq!(shown(&bench.tick(1000, &[(&SECONDS, "0", "user", 1.0)])), ["busy[0]=8"]);
    // The one that comes back has counted on.
    assert_eq!(shown(&bench.tick(2000, &[(&SECONDS, "0", "system", 3.0)])), ["busy[0]=9"]);
    assert_eq!(shown(&bench.tick(3000, &[])), [""; 0]);
}

#[test]
fn a_rate_is_by_measured_time_and_sees_resets() {
    let config = query(vec![select(Aggregate::Sum, Of::Rate, "cpu_seconds_total", "busy")]);
    let mut bench = Bench::new(&config);
    let mut at = |millis, value| shown(&bench.tick(millis, &[(&SECONDS, "0", "user", value)]));
    assert_eq!(at(0, 10.0), [""; 0]);
    assert_eq!(at(500, 11.0), ["busy[]=2"]);
    assert_eq!(at(4500, 12.0), ["busy[]=0.25"]);
    assert_eq!(at(5500, 3.0), ["busy[]=3"]);
    let made = bench.tick(6000, &[(&SECONDS, "0", "user", 4.0)])[0].metric;
    assert_eq!((made.kind, made.unit), (Kind::Gauge, Unit::Ratio));
}

#[test]
fn a_failed_collection_leaves_nothing_behind() {
    let config = query(vec![
        select(Aggregate::Sum, Of::Rate, "cpu_seconds_total", "rate"),
        select(Aggregate::Histogram, Of::Value, "level", "levels"),
    ]);
    let mut bench = Bench::new(&config);
    bench.tick(0, &[(&SECONDS, "0", "user", 10.0), (&LEVEL, "0", "user", 1.0)]);
    let (now, aligned) = bench.times(1000);
    bench.query.begin_at(now, aligned);
    bench.feed(&[(&SECONDS, "0", "user", 100.0), (&LEVEL, "0", "user", 1.0)]);
    let after = bench.tick(2000, &[(&SECONDS, "0", "user", 14.0), (&LEVEL, "0", "user", 1.0)]);
    assert_eq!(shown(&after), ["rate[]=2", "levels[]=2/2"]);
    assert_eq!(bench.query.losses().duplicates, 0);
}

#[test]
fn a_window_is_published_at_its_end_and_stays() {
    let max = select(Aggregate::Max, Of::Value, "level", "peak");
    let config = QueryConfig { window: Some(Duration::from_secs(10)), ..query(vec![max]) };
    let mut bench = Bench::new(&config);
    let mut at = |seconds: u64, value| shown(&bench.tick(seconds * 1000, &[(&LEVEL, "0", "user", value)]));
    // The first window was not seen from its beginning.
    assert_eq!(at(5, 9.0), [""; 0]);
    assert_eq!(at(10, 9.0), [""; 0]);
    assert_eq!(at(15, 3.0), [""; 0]);
    assert_eq!(at(20, 2.0), ["peak[]=3"]);
    assert_eq!(at(25, 7.0), ["peak[]=3"]);
    assert_eq!(at(29, 1.0), ["peak[]=3"]);
    assert_eq!(at(31, 1.0), ["peak[]=7"]);
    // A gap: the window before is not the last one any more.
    assert_eq!(at(55, 1.0), [""; 0]);
    assert_eq!(at(60, 1.0), [""; 0]);
    assert_eq!(at(70, 4.0), ["peak[]=4"]);
}

#[test]
fn a_group_that_a_window_did_not_bring_is_missing() {
    let config = QueryConfig {
        window: Some(Duration::from_secs(10)),
        ..by(query(vec![select(Aggregate::Last, Of::Value, "level", "last")]), &["cpu"])
    };
    let mut bench = Bench::new(&config);
    bench.tick(10_000, &[(&LEVEL, "0", "user", 1.0)]);
    let two = bench.tick(20_000, &[(&LEVEL, "0", "user", 1.0), (&LEVEL, "1", "user", 2.0)]);
    assert_eq!(shown(&two), ["last[0]=1", "last[1]=2"]);
    assert_eq!(shown(&bench.tick(30_000, &[(&LEVEL, "1", "user", 3.0)])), ["last[1]=3"]);
}

#[test]
fn a_peak_stays_in_sight_of_a_slow_scraper() {
    let over = Some(Duration::from_secs(60));
    let peak = Select { over, ..select(Aggregate::Max, Of::Value, "level", "peak") };
    let mut bench = Bench::new(&query(vec![peak]));
    bench.tick(0, &[(&LEVEL, "0", "user", 1.0)]);
    bench.tick(1000, &[(&LEVEL, "0", "user", 99.0)]);
    for second in 2..=61 {
        assert_eq!(shown(&bench.tick(second * 1000, &[(&LEVEL, "0", "user", 1.0)])), ["peak[]=99"]);
    }
    assert_eq!(shown(&bench.tick(66_000, &[(&LEVEL, "0", "user", 1.0)])), ["peak[]=1"]);
}

#[test]
fn conditions_on_labels_and_on_what_is_folded() {
    let config = |condition| QueryConfig {
        condition: Some(condition),
        ..query(vec![select(Aggregate::Count, Of::Rate, "cpu_seconds_total", "n")])
    };
    let value = |than| Condition::Value(ValueTest { is: Comparison::Gt, than });
    let idle = Condition::Equals(LabelTest { label: "mode".into(), to: "idle".into() });
    let run = |condition| {
        let mut bench = Bench::new(&config(condition));
        bench.tick(
            0,
            &[(&SECONDS, "0", "user", 0.0), (&SECONDS, "1", "user", 0.0), (&SECONDS, "0", "idle", 0.0)],
        );
        shown(&bench.tick(
            1000,
            &[(&SECONDS, "0", "user", 0.9), (&SECONDS, "1", "user", 0.5), (&SECONDS, "0", "idle", 0.1)],
        ))
    };
    assert_eq!(run(value(0.8)), ["n[]=1"]);
    assert_eq!(run(value(5.0)), ["n[]=0"]);
    assert_eq!(run(Condition::Or(vec![idle.clone(), value(0.8)])), ["n[]=2"]);
    assert_eq!(run(Condition::Not(Box::new(idle.clone()))), ["n[]=2"]);
    assert_eq!(run(Condition::And(vec![idle, value(0.8)])), ["n[]=0"]);
    assert_eq!(run(Condition::Equals(LabelTest { label: "mode".into(), to: "none".into() })), [""; 0]);
}

#[test]
fn a_tested_sum_of_counters_is_a_gauge() {
    let config = QueryConfig {
        condition: Some(Condition::Value(ValueTest { is: Comparison::Gte, than: 5.0 })),
        ..query(vec![select(Aggregate::Sum, Of::Value, "cpu_seconds_total", "tested")])
    };
    let mut bench = Bench::new(&config);
    let samples = bench.tick(0, &[(&SECONDS, "0", "user", 5.0), (&SECONDS, "1", "user", 4.0)]);
    assert_eq!(shown(&samples), ["tested[]=5"]);
    assert_eq!(samples[0].metric.kind, Kind::Gauge);
}

#[test]
fn past_the_limit_groups_are_one() {
    let config = by(query(vec![select(Aggregate::Sum, Of::Value, "level", "levels")]), &["cpu"]);
    let mut bench = Bench::new(&config);
    bench.query = bench.query.with_groups(3);
    let cpus = ["0", "1", "2", "3", "4"];
    let samples: Vec<Given<'_>> = cpus.iter().map(|cpu| (&LEVEL, *cpu, "user", 1.0)).collect();
    for tick in 0..3 {
        let shown = shown(&bench.tick(tick * 1000, &samples));
        assert_eq!(shown, ["levels[0]=1", "levels[1]=1", "levels[other]=3"]);
    }
    assert_eq!(bench.query.losses().folded, 3);
    assert_eq!(bench.query.sizes(), (5, 3));
}

#[test]
fn what_is_gone_is_forgotten() {
    let config = by(query(vec![select(Aggregate::Sum, Of::Value, "level", "levels")]), &["cpu"]);
    let mut bench = Bench::new(&config);
    bench.tick(0, &[(&LEVEL, "0", "user", 1.0), (&LEVEL, "1", "user", 1.0), (&SECONDS, "0", "user", 1.0)]);
    assert_eq!(bench.query.sizes(), (3, 2));
    for second in 1..200 {
        assert_eq!(shown(&bench.tick(second * 1000, &[(&LEVEL, "1", "user", 1.0)])), ["levels[1]=1"]);
    }
    assert_eq!(bench.query.sizes(), (1, 1));
}

#[test]
fn duplicates_and_what_is_no_number_are_left_out_and_counted() {
    let mut bench = Bench::new(&query(vec![
        select(Aggregate::Sum, Of::Value, "level", "levels"),
        select(Aggregate::Histogram, Of::Value, "level", "distribution"),
    ]));
    let samples = bench.tick(
        0,
        &[
            (&LEVEL, "0", "user", 1.0),
            (&LEVEL, "0", "user", 5.0),
            (&LEVEL, "1", "user", f64::NAN),
            (&LEVEL, "2", "user", f64::INFINITY),
            (&LEVEL, "3", "user", -2.0),
        ],
    );
    assert_eq!(shown(&samples), ["levels[]=-1", "distribution[]=1/1"]);
    let losses = bench.query.losses();
    assert_eq!((losses.duplicates, losses.not_finite, losses.below_zero), (1, 2, 1));
}

#[test]
fn a_metric_whose_source_names_a_part_is_taken_by_either_name() {
    let config = query(vec![
        select(Aggregate::Last, Of::Value, "memory_MemFree_bytes", "free_bytes"),
        select(Aggregate::Sum, Of::Value, "memory_*_bytes", "all_bytes"),
    ]);
    let mut bench = Bench::new(&config);
    let (now, aligned) = bench.times(0);
    bench.query.begin_at(now, aligned);
    let acc: &mut dyn Accumulator = &mut bench.query;
    acc.put_part(&PARTS, b"MemFree", &[], 3.0);
    acc.put_part(&PARTS, b"Buffers", &[], 4.0);
    let mut out = MemoryAccumulator::new();
    bench.query.finish_at(aligned, &mut out);
    assert_eq!(shown(out.samples()), ["free_bytes[]=3", "all_bytes[]=7"]);
}

#[test]
fn an_unchanged_query_goes_on_where_the_old_one_was() {
    let window = Some(Duration::from_secs(10));
    let mean = select(Aggregate::Avg, Of::Value, "level", "mean");
    let config = QueryConfig { window, ..query(vec![mean]) };
    let mut bench = Bench::new(&config);
    bench.tick(10_000, &[(&LEVEL, "0", "user", 9.0)]);
    bench.tick(15_000, &[(&LEVEL, "0", "user", 1.0)]);
    let mut new = Query::new(&config, Some(&DEF)).unwrap().with_groups(10_000);
    new.take_over(&mut bench.query);
    bench.query = new;
    assert_eq!(shown(&bench.tick(20_000, &[(&LEVEL, "0", "user", 3.0)])), ["mean[]=2"]);
}

#[test]
fn another_window_or_condition_keeps_what_stays_true() {
    let select = vec![
        select(Aggregate::Sum, Of::Value, "cpu_seconds_total", "total"),
        select(Aggregate::Histogram, Of::Rate, "cpu_seconds_total", "rates"),
    ];
    let old = query(select.clone());
    let series = |value| [(&SECONDS, "0", "user", value), (&SECONDS, "0", "idle", value)];
    let run = |new: &QueryConfig| {
        let mut bench = Bench::new(&old);
        for tick in 0u32..3 {
            bench.tick(u64::from(tick) * 1000, &series(f64::from(tick)));
        }
        let mut query = Query::new(new, Some(&DEF)).unwrap();
        query.take_over(&mut bench.query);
        bench.query = query;
        bench.tick(3000, &series(3.0));
        shown(&bench.tick(4000, &series(4.0)))
    };
    let windowed = QueryConfig { window: Some(Duration::from_secs(1)), ..old.clone() };
    assert_eq!(run(&windowed), ["total[]=8", "rates[]=8/8"]);
    // The rate of the first collection after the change is there, for the baselines are; the total of what
    // is still taken goes on.
    let idle = Condition::Equals(LabelTest { label: "mode".into(), to: "idle".into() });
    assert_eq!(run(&QueryConfig { condition: Some(idle), ..old.clone() }), ["total[]=4", "rates[]=2/2"]);
    let grouped = by(query(select), &["mode"]);
    assert_eq!(run(&grouped), ["total[user]=4", "rates[user]=2/2", "total[idle]=4", "rates[idle]=2/2"]);
}
