//! A tick of a schedule takes no memory once its pipeline has been collected a few times: not one allocation in
//! hundreds of ticks, in any thread.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "it has to wait until ticks have come, and nothing wakes it")]

use std::{thread, time::Duration};

use pitot::{
    bpf::Loader,
    config::{Config, PipelineConfig},
    engine::Engine,
    input::find,
    pipeline::{InputPipeline, Pipeline},
};
use pitot_tests::counting::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sleeps until this pipeline has so many ticks.
fn wait_for(engine: &Engine, ticks: u64) {
    while engine.reports().iter().map(|report| report.ticks).min().unwrap() < ticks {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_steady_tick_allocates_nothing() {
    let open = |(key, millis): (&str, u64)| {
        let interval = Some(Duration::from_millis(millis));
        let config =
            PipelineConfig { key: key.to_owned(), interval, ..PipelineConfig::new(find("loadavg").unwrap()) };
        let roots = Config::default().roots;
        Box::new(InputPipeline::open(&config, &roots, &mut Loader::off("a test"))) as Box<dyn Pipeline>
    };
    // One in each of the lanes for schedules.
    let pipelines = [("fast", 1), ("quick", 20), ("slow", 250)].map(open);
    let engine = Engine::start(pipelines.into(), Duration::from_secs(1)).unwrap();
    engine.keep_schedules();
    wait_for(&engine, 4);
    let mut counted = Vec::new();
    // The harness has threads of its own: what they take is not there every time.
    while counted.last() != Some(&0) && counted.len() < 20 {
        let before = counting::requests();
        thread::sleep(Duration::from_millis(600));
        counted.push(counting::requests() - before);
    }
    let ticks: Vec<u64> = engine.reports().iter().map(|report| report.ticks).collect();
    assert!(ticks.iter().all(|ticks| *ticks >= 5), "{ticks:?}");
    assert_eq!(counted.last(), Some(&0), "requests in 600 ms: {counted:?}");
}
