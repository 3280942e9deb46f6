//! Bursts of milliseconds, and a scraper that comes seconds later.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::{agent::Place, host::can_run};

const BURSTS: u32 = 10;
const BURST: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(300);

/// Binds this thread to one CPU, the last that it may use.
fn bind() -> usize {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let last = (0..CpuSet::count()).rfind(|&cpu| allowed.is_set(cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(last).unwrap();
    sched_setaffinity(this, &one).unwrap();
    last
}

/// Readings that found a CPU busy for more than half of the time.
fn busy(page: &BTreeMap<String, f64>, cpu: usize) -> f64 {
    let all = page[&format!("pitot_burst_cpu_busy_ratio_count{{cpu=\"{cpu}\"}}")];
    all - page[&format!("pitot_burst_cpu_busy_ratio_bucket{{cpu=\"{cpu}\",le=\"0.5\"}}")]
}

#[test]
fn bursts_between_two_scrapes_are_in_the_histogram_and_in_the_peak() {
    if !can_run() {
        return;
    }
    let place = Place::new("bursts");
    let agent = place.serve(place.command("[bursts]\nenabled = true\n", &["--listen", "127.0.0.1:0"]));
    thread::sleep(PAUSE);
    let before = agent.scrape();
    let cpu = thread::spawn(|| {
        let cpu = bind();
        for _ in 0..BURSTS {
            let start = Instant::now();
            while start.elapsed() < BURST {
                std::hint::spin_loop();
            }
            thread::sleep(PAUSE);
        }
        cpu
    })
    .join()
    .unwrap();
    let after = agent.scrape();
    let found = busy(&after, cpu) - busy(&before, cpu);
    // A reading that comes late, on a busy machine, may see a burst and the pause after it as one.
    assert!(found >= f64::from(BURSTS) * 0.7, "{found} readings of {BURSTS} bursts");
    let peak = after[&format!("pitot_burst_cpu_busy_max_ratio{{cpu=\"{cpu}\"}}")];
    assert!((0.9..1.05).contains(&peak), "{peak}");
    // Whoever scrapes at another pace finds them as well: nothing begins anew.
    let later = agent.scrape();
    for (name, value) in
        after.iter().filter(|(name, _)| name.starts_with("pitot_burst_") && name.contains("_bucket"))
    {
        assert!(later[name] >= *value, "{name}");
    }
    assert_eq!(later["pitot_agent_input_errors_total{input=\"bursts\"}"].to_bits(), 0);
}
