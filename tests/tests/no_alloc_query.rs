//! Once its series are known, a query takes no memory: not one allocation in 100 collections, with and without
//! windows, on an input's samples and on another pipeline's frames.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pitot::{
    accumulator::{Accumulator, Limits, SeriesStore},
    catalogue::{Label, Metric, Unit},
    config::PipelineConfig,
    input::{CollectContext, INPUTS},
    pipeline::{Outcome, Pipeline, Query, QueryConfig, QueryPipeline, Rules, TransformConfig},
};
use pitot_tests::counting::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static SECONDS: Metric = Metric::counter(
    "cpu_seconds_total",
    "Time.",
    &[Label::cpu(), Label::fixed("mode", &["user", "nice", "system", "idle"])],
)
.unit(Unit::Seconds);
static LEVEL: Metric = Metric::gauge("level", "Level.", &[Label::cpu()]);

const CPUS: usize = 256;
const MODES: [&[u8]; 4] = [b"user", b"nice", b"system", b"idle"];
const EVERYTHING: &str = "SELECT sum(cpu_seconds_total) AS a, sum(rate(cpu_seconds_total)) AS b, \
    avg(rate(cpu_seconds_total)) AS c, min(delta(cpu_seconds_total)) AS d, count(level) AS e, last(level) AS f, \
    p99(rate(cpu_seconds_total)) AS g, histogram(level) AS h, max_over(rate(cpu_seconds_total), 3s) AS i \
    FROM made_up WHERE cpu != '7' AND value >= 0 GROUP BY cpu";

/// Samples of a made-up host, a little later each time.
struct Host {
    cpus: Vec<String>,
    tick: u32,
    start: Instant,
}

impl Host {
    fn new() -> Self {
        Self { cpus: (0..CPUS).map(|cpu| cpu.to_string()).collect(), tick: 0, start: Instant::now() }
    }

    fn times(&self) -> (Instant, SystemTime) {
        let since = Duration::from_millis(100) * self.tick;
        (self.start + since, UNIX_EPOCH + since)
    }

    fn deliver(&mut self, acc: &mut dyn Accumulator) {
        self.tick += 1;
        for (cpu, name) in self.cpus.iter().enumerate() {
            for (mode, label) in MODES.into_iter().enumerate() {
                let value = f64::from(self.tick) * 0.1 * (cpu + mode) as f64;
                acc.put(&SECONDS, &[name.as_bytes(), label], value);
            }
            acc.put(&LEVEL, &[name.as_bytes()], f64::from(self.tick % 7));
        }
    }
}

fn store() -> SeriesStore {
    let rules = Rules::of(&TransformConfig::default(), "");
    SeriesStore::new(Box::new(rules), Limits::default())
}

/// Requests of 100 collections, after those that learn.
fn steady(mut collect: impl FnMut()) -> u64 {
    (0..30).for_each(|_| collect());
    let before = counting::requests();
    (0..100).for_each(|_| collect());
    counting::requests() - before
}

fn on_samples(mut query: Query) -> u64 {
    let (mut host, mut store) = (Host::new(), store());
    let requests = steady(|| {
        let (now, aligned) = host.times();
        query.begin_at(now, aligned);
        host.deliver(&mut query);
        store.begin(now);
        query.finish_at(aligned, &mut store);
        store.publish();
    });
    assert!(store.frame().live() > CPUS, "{}: {}", query.config(), store.frame().live());
    requests
}

fn on_frames(query: &QueryConfig) -> u64 {
    let cpu = PipelineConfig::new(INPUTS[0]);
    let config =
        PipelineConfig { from: Some("cpu".into()), input: None, queries: vec![query.clone()], ..cpu };
    let mut pipeline = QueryPipeline::new(&config);
    let (mut host, mut source) = (Host::new(), store());
    let mut cx = CollectContext::new(Duration::from_secs(1));
    let requests = steady(|| {
        let (now, aligned) = host.times();
        source.begin(now);
        host.deliver(&mut source);
        source.publish();
        cx.aligned_timestamp = aligned;
        assert_eq!(pipeline.collect(&cx, Some(source.frame())), Outcome::Published);
    });
    let live = pipeline.frame().live();
    assert!(live > CPUS, "{query}: {live}");
    requests
}

#[test]
fn a_query_allocates_nothing_in_steady_state() {
    let windowed = format!("{EVERYTHING} WINDOW 1s");
    let config = |sql| QueryConfig::from_sql(sql).unwrap();
    let query = |sql| Query::new(&config(sql), None).unwrap();
    let found = [EVERYTHING, &windowed].map(|sql| (on_samples(query(sql)), on_frames(&config(sql))));
    assert_eq!(found, [(0, 0), (0, 0)], "allocations in 100 collections, of samples and of frames");
}

#[test]
#[ignore = "a measurement; docs/overhead.md has the command"]
fn what_a_sample_costs() {
    let (mut host, mut plain) = (Host::new(), store());
    let mut best = Duration::MAX;
    for _ in 0..500 {
        let started = Instant::now();
        plain.begin(started);
        host.deliver(&mut plain);
        plain.publish();
        best = best.min(started.elapsed());
    }
    let samples = (CPUS * (MODES.len() + 1)) as f64;
    eprintln!("{:5.1} ns a sample without a query", best.as_secs_f64() * 1e9 / samples);
    for sql in [
        "SELECT sum(cpu_seconds_total) AS a FROM x GROUP BY cpu",
        "SELECT sum(rate(cpu_seconds_total)) AS a FROM x GROUP BY cpu",
        "SELECT histogram(rate(cpu_seconds_total)) AS a FROM x",
        "SELECT p99(rate(cpu_seconds_total)) AS a FROM x WINDOW 1s",
        "SELECT max_over(rate(cpu_seconds_total), 60s) AS a FROM x WHERE mode != 'idle'",
        "SELECT max(level) AS a FROM x",
        EVERYTHING,
    ] {
        let mut query = Query::new(&QueryConfig::from_sql(sql).unwrap(), None).unwrap();
        let (mut host, mut store) = (Host::new(), store());
        let (mut best, mut delivered) = (Duration::MAX, Duration::MAX);
        for _ in 0..500 {
            let (now, aligned) = host.times();
            let started = Instant::now();
            query.begin_at(now, aligned);
            host.deliver(&mut query);
            store.begin(now);
            query.finish_at(aligned, &mut store);
            store.publish();
            best = best.min(started.elapsed());
            let started = Instant::now();
            host.deliver(&mut Nothing);
            delivered = delivered.min(started.elapsed());
        }
        let samples = (CPUS * (MODES.len() + 1)) as f64;
        let nanos = |time: Duration| time.as_secs_f64() * 1e9 / samples;
        eprintln!("{:5.1} ns a sample, {:.1} of them to make it: {sql}", nanos(best), nanos(delivered));
    }
}

struct Nothing;
impl Accumulator for Nothing {
    fn add(&mut self, sample: &pitot::accumulator::Sample<'_>) {
        std::hint::black_box(sample);
    }
}
