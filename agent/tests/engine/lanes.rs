//! What is slow in one lane is not in the way of another.

use std::{sync::atomic::Ordering, time::Duration};

use crate::bench::{
    Bench, DEADLINE, FIRST, LAST, ODD, PATIENCE, SECOND, counter, every, fine, present, until, wait, words,
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
fn the_number_of_threads_that_are_stuck_has_a_bound() {
    let mut gates = Vec::new();
    let config = |number| pitot::config::PipelineConfig {
        key: format!("odd {number}"),
        deadline: DEADLINE / 4,
        interval: Some(SLOW),
        ..pitot::config::PipelineConfig::new(&ODD)
    };
    let odds = (0..20).map(|number| {
        let (word, said) = words();
        gates.push(word);
        let input = crate::bench::Scripted(&ODD, move |_: &pitot::input::CollectContext| wait(&said));
        Box::new(pitot::pipeline::InputPipeline::new(&config(number), Box::new(input))) as Box<_>
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
    gates.iter().for_each(|gate| (0..1000).for_each(|_| gate.send(()).unwrap()));
    until("they are back", || bench.engine.healthy().is_ok() && stuck() == 0);
    until("all run", || bench.engine.reports().iter().all(|report| report.state.is_up()));
}
