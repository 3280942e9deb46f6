//! A real Prometheus scrapes the agent, and its native histograms answer like the classic buckets.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    agent::{Agent, is_root},
    client::get,
    exposition::Exposition,
    formats::not_running,
};

const SERVER: &str = "/usr/bin/prometheus";
const WINDOW: Duration = Duration::from_secs(6);

/// A test that is skipped says so; where everything is said to be at hand, it fails instead.
fn skip(why: &str) {
    assert!(env::var("PITOT_REQUIRE_PROMETHEUS").is_err(), "{why}");
    eprintln!("SKIPPED: {why}");
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs: [ {{ job_name: pitot, static_configs: [ {{ targets: ['{target}'] }} ] }} ]\n"
        );
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        // It cannot be told to choose a port: this one was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(SERVER)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--enable-feature=native-histograms", "--log.level=warn"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, address, dir }
    }

    /// The value that a query has, once it has one.
    fn ask(&self, query: &str) -> Option<f64> {
        let query = query.bytes().fold(String::new(), |query, byte| query + &format!("%{byte:02X}"));
        let answer = get(self.address, &format!("/api/v1/query?query={query}"), &[]).ok()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn wait_for(&self, query: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let start = Instant::now();
        loop {
            if let Some(value) = self.ask(query).filter(|value| wanted(*value)) {
                return value;
            }
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(15), "no answer to {query}; it says: {log}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Cumulative counts of the classic buckets with their upper bounds.
fn buckets(page: &str, name: &str) -> Vec<(f64, f64)> {
    let read = Exposition::read(page);
    let name = format!("{name}_bucket");
    let buckets = read.series.iter().filter(|series| series.name == name);
    buckets
        .map(|series| (series.labels["le"].replace('+', "").to_lowercase().parse().unwrap(), series.value))
        .collect()
}

/// The upper bound of the bucket that holds the quantile of what was counted in between.
fn quantile_bucket(quantile: f64, before: &[(f64, f64)], after: &[(f64, f64)]) -> f64 {
    let counts: Vec<f64> = before.iter().zip(after).map(|(before, after)| after.1 - before.1).collect();
    let rank = quantile * counts.last().unwrap();
    let at = counts.iter().position(|count| *count >= rank).unwrap();
    after[at].0
}

#[test]
fn prometheus_computes_the_same_quantiles_from_native_histograms() {
    if !Path::new(SERVER).exists() {
        return skip("there is no Prometheus");
    }
    if !is_root() {
        return skip("kernel programs need root");
    }
    let agent = Agent::start_with_ebpf("");
    agent.page();
    if let Some(reason) = not_running(&agent, "sched") {
        return skip(&reason);
    }
    // Threads that give way to each other make the scheduler's waits alike from start to end.
    let busy = Arc::new(AtomicBool::new(true));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let busy = Arc::clone(&busy);
            thread::spawn(move || {
                while busy.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            })
        })
        .collect();

    let name = "pitot_sched_wait_seconds";
    let prometheus = Prometheus::start(agent.address);
    prometheus.wait_for("up{job='pitot'}", |up| up > 0.0);
    let before = buckets(&agent.page(), name);
    thread::sleep(WINDOW);
    let after = buckets(&agent.page(), name);
    let seconds = WINDOW.as_secs();
    let queries = [0.5, 0.9, 0.99].map(|quantile| {
        let query = format!("histogram_quantile({quantile}, rate({name}[{seconds}s]))");
        (quantile, prometheus.wait_for(&query, |value| value > 0.0))
    });
    // Everything else arrived as well, and the page as a whole was accepted each time.
    let series = prometheus.wait_for("scrape_samples_scraped", |series| series > 0.0);
    let loads = prometheus.wait_for("count(node_load1)", |_| true);
    let failures = prometheus.ask("sum_over_time((1 - up{job='pitot'})[20s:1s])");
    busy.store(false, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }

    assert!(series > 300.0, "{series} series");
    assert_eq!((loads, failures), (1.0, Some(0.0)));
    for (quantile, native) in queries {
        let upper = quantile_bucket(quantile, &before, &after);
        // Buckets are powers of two: the same one, or its neighbour.
        let within = native <= upper * 2.0 && native >= upper / 4.0;
        assert!(within, "quantile {quantile}: native {native}, classic up to {upper}");
        eprintln!("quantile {quantile}: native {native}, classic up to {upper}");
    }
}
