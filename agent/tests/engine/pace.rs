//! How well schedules are kept, and at what price: figures to look at, not tests.
//!
//! `cargo test --release -p pitot --test engine -- --ignored --nocapture --test-threads 1 pace::`

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use pitot::{
    bpf::Loader,
    config::{Config, PipelineConfig},
    engine::{Engine, Report},
    input::find,
    output::Want,
    pipeline::{InputPipeline, Pipeline},
};

const SPAN: Duration = Duration::from_secs(60);

fn open(config: &PipelineConfig) -> Box<dyn Pipeline> {
    Box::new(InputPipeline::open(config, &Config::default().roots, &mut Loader::off("a measurement")))
}

fn loadavg(key: String, interval: Duration) -> PipelineConfig {
    PipelineConfig { key, interval: Some(interval), ..PipelineConfig::new(find("loadavg").unwrap()) }
}

/// CPU time of this process, and how often it was woken.
fn used() -> (Duration, i64) {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let time = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap())
    };
    (time(usage.user_time()) + time(usage.system_time()), usage.voluntary_context_switches())
}

/// What this machine gives to a thread that does nothing but sleep to every millisecond: how many of those it sees in
/// time. Runs until the end of a measurement.
fn reference() -> std::thread::JoinHandle<f64> {
    std::thread::spawn(|| {
        let (nothing, never) = (std::sync::Mutex::new(()), std::sync::Condvar::new());
        let (start, milli) = (Instant::now(), Duration::from_millis(1));
        let (mut due, mut seen, mut all) = (start, 0u32, 0u32);
        while start.elapsed() < SPAN {
            due += milli;
            let left = due.saturating_duration_since(Instant::now());
            drop(never.wait_timeout(nothing.lock().unwrap(), left));
            let missed = u32::try_from(due.elapsed().as_millis()).unwrap();
            (seen, all, due) = (seen + 1, all + 1 + missed, due + milli * missed);
        }
        f64::from(seen) / f64::from(all) * 100.0
    })
}

/// Runs these for a while, with a scrape of everything every second if that is asked for.
fn run(pipelines: Vec<Box<dyn Pipeline>>, scraped: bool) -> Vec<Report> {
    let engine = Engine::start(pipelines, Duration::from_millis(500)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(engine.scrape(Want::default())).unwrap();
    engine.keep_schedules();
    std::thread::sleep(Duration::from_secs(1));
    let reference = scraped.then(reference);
    let (start, (cpu, switches), before) = (Instant::now(), used(), engine.reports());
    while start.elapsed() < SPAN {
        std::thread::sleep(Duration::from_secs(1));
        if scraped {
            runtime.block_on(engine.scrape(Want::default())).unwrap();
        }
    }
    let (took, (cpu_after, switches_after)) = (start.elapsed().as_secs_f64(), used());
    let percent = cpu_after.saturating_sub(cpu).as_secs_f64() / took * 100.0;
    let wakeups = (switches_after - switches) as f64 / took;
    eprintln!("{percent:.2} % of a CPU, {wakeups:.1} voluntary switches/s over {took:.1} s");
    if let Some(reference) = reference {
        eprintln!(
            "a thread that only sleeps sees {:.3} % of all milliseconds here",
            reference.join().unwrap()
        );
    }
    let mut reports = engine.reports();
    for (after, before) in reports.iter_mut().zip(before) {
        after.ticks -= before.ticks;
        after.skipped_ticks -= before.skipped_ticks;
    }
    // The agent's own page has the histogram of lateness.
    let own = Engine::start(vec![open(&PipelineConfig::new(find("agent").unwrap()))], SPAN).unwrap();
    let page = runtime.block_on(own.scrape(Want::default())).unwrap();
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    page.lines()
        .filter(|line| line.starts_with("pitot_agent_tick_lateness_seconds"))
        .for_each(|l| eprintln!("{l}"));
    own.stop(Duration::ZERO);
    engine.stop(Duration::from_secs(1));
    reports
}

#[test]
#[ignore = "a measurement of a minute; docs/overhead.md has the command"]
fn one_input_every_millisecond_and_everything_else_every_second() {
    let config = Config::default();
    let others = config.pipelines.iter().filter(|input| input.key != "loadavg").map(open);
    let fast = open(&loadavg("fast".to_owned(), Duration::from_millis(1)));
    let reports = run(others.chain([fast]).collect(), true);
    let fast = reports.iter().find(|report| report.input == "fast").unwrap();
    let due = fast.ticks + fast.skipped_ticks;
    let share = fast.ticks as f64 / due as f64 * 100.0;
    eprintln!(
        "{} of {due} ticks taken ({share:.3} %), worst {} s late",
        fast.ticks, fast.lateness_max_seconds
    );
}

#[test]
#[ignore = "a measurement of a minute; docs/overhead.md has the command"]
fn a_thousand_inputs_every_second() {
    let inputs = (0..1000).map(|number| open(&loadavg(format!("loadavg {number}"), Duration::from_secs(1))));
    let reports = run(inputs.collect(), false);
    let ticks: u64 = reports.iter().map(|report| report.ticks).sum();
    let skipped: u64 = reports.iter().map(|report| report.skipped_ticks).sum();
    let worst = reports.iter().map(|report| report.lateness_max_seconds).fold(0.0, f64::max);
    eprintln!("{ticks} ticks taken, {skipped} skipped, worst {worst} s late");
}

#[test]
#[ignore = "a measurement of a minute; docs/overhead.md has the command"]
fn nothing_with_a_schedule() {
    let config = Config::default();
    run(config.pipelines.iter().map(open).collect(), false);
}
