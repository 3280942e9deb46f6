//! What is slow in one lane is not in the way of another.

use std::{sync::atomic::Ordering, time::Duration};

use pitot::{config::PipelineConfig, input::CollectContext, pipeline::InputPipeline};

use crate::bench::{
    Bench, DEADLINE, FIRST, LAST, ODD, PATIENCE, SECOND, Scripted, counter, every, fine, present, until,
    wait, words,
};

const FAST: Duration = Duration::from_millis(2);
const SLOW: Duration = Duration::from_millis(300);

#[test]
fn a_slow_input_that_hangs_costs_a_fast_one_nothing() {
    let (_word, said) = words();
    let (count, script) = counter();
    let hangs = every(&ODD, SLOW, move |_| wait(&said));
    let bench = Bench::new(vec![fine(&FIRST), hangs, every(&SECOND, FAST, script)]);
    bench.engine.keep_schedules();
    until("it hangs", || bench.report("odd").timeouts > 0);
    let before = (count.load(Ordering::Relaxed), bench.report("odd").timeouts);
    until("another tick of it is lost", || bench.report("odd").timeouts > before.1);
    // In the time of a slow tick there are a hundred fast ones; a busy machine may leave out some.
    assert!(count.load(Ordering::Relaxed) > before.0 + 10);
    assert_eq!(present(&bench.scrape().0), ["first", "second"]);
    assert_eq!(bench.report("second").timeouts, 0);
}

#[test]
fn a_fast_input_that_hangs_costs_the_others_one_deadline_at_most() {
    let (word, said) = words();
    let (slow, script) = counter();
    let (fast, fast_script) = counter();
    let hangs = every(&ODD, FAST, move |_| wait(&said));
    let bench =
        Bench::new(vec![fine(&FIRST), every(&SECOND, SLOW, script), hangs, every(&LAST, FAST, fast_script)]);
    bench.engine.keep_schedules();
    // A page does not wait for what hangs longer than its budget, nor for what is stuck at all.
    let (page, took) = bench.scrape();
    assert!(present(&page).contains(&"first") && took < PATIENCE, "{took:?}");
    until("the others tick", || slow.load(Ordering::Relaxed) > 2 && fast.load(Ordering::Relaxed) > 10);
    until("it is stuck", || bench.report("odd").stuck_seconds.is_some());
    assert_eq!(present(&bench.scrape().0), ["first", "second", "last"]);
    assert_eq!((bench.report("odd").state.word(), bench.report("second").timeouts), ("failed", 0));
    bench.engine.healthy().unwrap();
    // Every tick needs a word from now on; as many are said as there can be ticks.
    (0..100_000).for_each(|_| word.send(()).unwrap());
    until("it is back", || bench.report("odd").state.word() == "running");
}

#[test]
fn what_is_collected_for_long_is_shown_as_it_was_and_no_page_waits_for_it() {
    let (word, said) = words();
    let config = PipelineConfig { deadline: SLOW * 100, interval: Some(SLOW), ..PipelineConfig::new(&ODD) };
    let (begun, begins) = words();
    let input = Scripted(&ODD, move |_: &CollectContext| {
        begun.send(()).unwrap();
        wait(&said)
    });
    let bench = Bench::new(vec![fine(&FIRST), Box::new(InputPipeline::new(&config, Box::new(input)))]);
    bench.engine.keep_schedules();
    begins.recv().unwrap();
    // So long that it is known to be slow from now on.
    std::thread::sleep(Duration::from_millis(20));
    word.send(()).unwrap();
    begins.recv().unwrap();
    for _ in 0..3 {
        let (page, took) = bench.scrape();
        assert_eq!(present(&page), ["first", "odd"]);
        assert!(took < crate::bench::BUDGET, "{took:?}");
    }
    word.send(()).unwrap();
}

#[test]
fn the_number_of_threads_that_are_stuck_has_a_bound() {
    let mut gates = Vec::new();
    let config = |number| PipelineConfig {
        key: format!("odd {number}"),
        deadline: DEADLINE / 4,
        interval: Some(SLOW),
        ..PipelineConfig::new(&ODD)
    };
    let odds = (0..20).map(|number| {
        let (word, said) = words();
        gates.push(word);
        let input = Scripted(&ODD, move |_: &CollectContext| wait(&said));
        Box::new(InputPipeline::new(&config(number), Box::new(input))) as Box<_>
    });
    let bench = Bench::new(odds.chain([fine(&FIRST)]).collect());
    bench.engine.keep_schedules();
    until("all are stuck that may be", || bench.engine.healthy().is_err());
    let said = bench.engine.healthy().unwrap_err();
    assert!(said.starts_with("16 threads are stuck"), "{said}");
    let stuck = || bench.engine.reports().iter().filter(|report| report.stuck_seconds.is_some()).count();
    assert_eq!(stuck(), 16);
    // Scrapes have a thread of their own, which is not stuck.
    assert_eq!(present(&bench.scrape().0), ["first"]);
    for gate in &gates {
        (0..1000).for_each(|_| gate.send(()).unwrap());
    }
    until("they are back", || bench.engine.healthy().is_ok() && stuck() == 0);
    until("all run", || bench.engine.reports().iter().all(|report| report.state.is_up()));
}
