//! Changes of the set of pipelines while it runs.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pitot::{
    accumulator::Accumulator,
    catalogue::Metric,
    config::PipelineConfig,
    engine::Edit,
    input::{CollectContext, Input, InputDef, InputError},
    pipeline::{InputPipeline, Pipeline},
};

use crate::bench::{
    Bench, FIRST, LAST, ODD, PATIENCE, SECOND, Scripted, counter, every, fine, pipeline, present, until,
    wait, words,
};

const FAST: Duration = Duration::from_millis(2);

fn put(pipeline: Box<dyn Pipeline>) -> Edit {
    Edit { put: vec![pipeline], remove: Vec::new() }
}

fn remove(key: &str) -> Edit {
    Edit { put: Vec::new(), remove: vec![key.to_owned()] }
}

#[test]
fn pipelines_come_and_go_and_the_others_stay() {
    let (count, script) = counter();
    let bench = Bench::new(vec![pipeline(&FIRST, script), fine(&SECOND)]);
    bench.scrape();
    assert!(bench.engine.apply(put(fine(&ODD))).is_empty());
    assert_eq!(present(&bench.scrape().0), ["first", "second", "odd"]);
    assert!(bench.engine.apply(remove("second")).is_empty());
    assert_eq!(present(&bench.scrape().0), ["first", "odd"]);
    assert!(bench.engine.apply(remove("nobody")).is_empty());
    assert_eq!(count.load(Ordering::Relaxed), 3);
    assert_eq!(bench.report("first").errors, 0);
}

#[test]
fn a_key_that_is_put_and_removed_at_once_is_there_in_the_end() {
    let bench = Bench::new(vec![fine(&FIRST), fine(&ODD)]);
    let edit = Edit { put: vec![fine(&ODD), fine(&LAST)], remove: vec!["odd".to_owned(), "last".to_owned()] };
    assert!(bench.engine.apply(edit).is_empty());
    assert_eq!(present(&bench.scrape().0), ["first", "odd", "last"]);
}

/// An input with something that it knows.
struct Knows(u64);

static KNOWN: Metric = Metric::gauge("known", "What it knows.", &[]);

impl Input for Knows {
    fn definition(&self) -> &'static InputDef {
        &ODD
    }
    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.0 += 1;
        acc.put(&KNOWN, &[], self.0);
        Ok(())
    }
    fn update_from(&mut self, old: &mut dyn Any) {
        if let Some(old) = old.downcast_mut::<Self>() {
            self.0 = old.0;
        }
    }
}

#[test]
fn a_new_pipeline_takes_over_what_the_old_one_knew_its_counters_and_its_place() {
    let knows =
        || Box::new(InputPipeline::new(&PipelineConfig::new(&ODD), Box::new(Knows(0)))) as Box<dyn Pipeline>;
    let bench = Bench::new(vec![fine(&FIRST), knows(), fine(&LAST)]);
    bench.engine.restrict("odd", 2);
    (0..3).for_each(|_| drop(bench.scrape()));
    let before = bench.report("odd").cpu_seconds;
    assert!(bench.engine.apply(put(knows())).is_empty());
    (0..2).for_each(|_| drop(bench.scrape()));
    let (page, _) = bench.scrape();
    let lines: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["first_one 1", "odd_known 3", "last_one 1"]);
    let report = bench.report("odd");
    assert!(report.cpu_seconds > before && report.slowdown == 2, "{report:?}");
}

#[test]
fn a_change_of_one_does_not_touch_the_ticks_of_another_and_none_is_lost() {
    let (count, script) = counter();
    let bench = Bench::new(vec![every(&FIRST, FAST, script), every(&ODD, FAST, |_| Ok(()))]);
    bench.engine.keep_schedules();
    // A tick that is taken while its pipeline is replaced: whoever takes it, the next one is planned.
    let replaced = Arc::new(AtomicU64::new(0));
    for _ in 0..100 {
        let own = Arc::clone(&replaced);
        let script = move |_: &CollectContext| {
            own.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        assert!(bench.engine.apply(put(every(&ODD, FAST, script))).is_empty());
        thread::sleep(Duration::from_micros(700));
    }
    let seen = replaced.load(Ordering::Relaxed);
    until("the last one ticks", || replaced.load(Ordering::Relaxed) > seen + 10);
    let report = bench.report("first");
    assert!(report.ticks >= 1 && count.load(Ordering::Relaxed) >= 1);
    assert_eq!((report.errors, report.timeouts), (0, 0));
    // Counters go on: those of the last one alone would be fewer.
    assert!(bench.report("odd").ticks >= replaced.load(Ordering::Relaxed));
}

#[test]
fn a_schedule_is_changed_given_and_taken_away() {
    let (count, script) = counter();
    let bench = Bench::new(vec![every(&ODD, Duration::from_secs(3600), script)]);
    bench.engine.keep_schedules();
    assert_eq!(bench.report("odd").interval_seconds, Some(3600.0));
    let (fast, script) = counter();
    bench.engine.apply(put(every(&ODD, FAST, script)));
    until("it ticks", || fast.load(Ordering::Relaxed) > 5);
    let (free, script) = counter();
    bench.engine.apply(put(pipeline(&ODD, script)));
    let ticks = fast.load(Ordering::Relaxed);
    assert_eq!((bench.report("odd").interval_seconds, free.load(Ordering::Relaxed)), (None, 0));
    bench.scrape();
    thread::sleep(FAST * 5);
    assert_eq!((count.load(Ordering::Relaxed), free.load(Ordering::Relaxed)), (0, 1));
    assert_eq!(fast.load(Ordering::Relaxed), ticks);
    let (again, script) = counter();
    bench.engine.apply(put(every(&ODD, FAST, script)));
    until("it ticks again", || again.load(Ordering::Relaxed) > 5);
    bench.engine.apply(remove("odd"));
    let ticks = again.load(Ordering::Relaxed);
    thread::sleep(FAST * 5);
    assert!(again.load(Ordering::Relaxed) <= ticks + 1);
    assert!(bench.engine.reports().is_empty());
}

/// Says when it is dropped.
struct Held(Arc<AtomicU64>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_stuck_pipeline_is_replaced_at_once_and_dropped_when_it_comes_back() {
    let (word, said) = words();
    let dropped = Arc::new(AtomicU64::new(0));
    let held = Held(Arc::clone(&dropped));
    let odd = pipeline(&ODD, move |_| {
        let _held = &held;
        wait(&said)
    });
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    assert!(bench.report("odd").stuck_seconds.is_some());
    let start = Instant::now();
    assert!(bench.engine.apply(put(fine(&ODD))).is_empty());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(present(&bench.scrape().0), ["first", "odd", "last"]);
    let report = bench.report("odd");
    assert_eq!((report.timeouts, report.stuck_seconds, dropped.load(Ordering::Relaxed)), (1, None, 0));
    word.send(()).unwrap();
    until("it is dropped", || dropped.load(Ordering::Relaxed) == 1);
    assert_eq!(present(&bench.scrape().0), ["first", "odd", "last"]);
}

#[test]
fn a_stuck_pipeline_is_removed_and_dropped_when_it_comes_back() {
    let (word, said) = words();
    let dropped = Arc::new(AtomicU64::new(0));
    let held = Held(Arc::clone(&dropped));
    let odd = pipeline(&ODD, move |_| {
        let _held = &held;
        wait(&said)
    });
    let bench = Bench::new(vec![fine(&FIRST), odd]);
    bench.scrape();
    bench.engine.apply(remove("odd"));
    assert_eq!(present(&bench.scrape().0), ["first"]);
    assert_eq!(bench.engine.reports().len(), 1);
    word.send(()).unwrap();
    until("it is dropped", || dropped.load(Ordering::Relaxed) == 1);
}

#[test]
fn a_change_waits_for_a_collection_in_progress_and_not_for_one_that_hangs() {
    let (word, said) = words();
    let config = PipelineConfig { deadline: Duration::from_secs(60), ..PipelineConfig::new(&ODD) };
    let (begun, begins) = words();
    let script = move |_: &CollectContext| {
        let _gone = begun.send(());
        wait(&said)
    };
    let odd = Box::new(InputPipeline::new(&config, Box::new(Scripted(&ODD, script))));
    let bench = Bench::new(vec![fine(&FIRST), odd]);
    let engine = bench.engine.clone();
    let scraper = bench.runtime.spawn(async move { engine.scrape(pitot::output::Want::default()).await });
    // Nobody notices that it hangs before the budget of the scrape is over.
    bench.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    begins.recv().unwrap();
    let start = Instant::now();
    assert!(bench.engine.apply(put(fine(&ODD))).is_empty());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    word.send(()).unwrap();
    bench.runtime.block_on(scraper).unwrap().unwrap();
    assert_eq!(present(&bench.scrape().0), ["first", "odd"]);
    assert_eq!(bench.report("odd").timeouts, 0);
}

#[test]
fn what_cannot_be_run_is_refused_and_the_old_one_goes_on() {
    let bench = Bench::new(vec![fine(&ODD)]);
    let edit = Edit {
        put: vec![every(&ODD, Duration::from_micros(500), |_| Ok(())), fine(&FIRST), fine(&FIRST)],
        remove: vec!["odd".to_owned()],
    };
    let said: Vec<String> = bench.engine.apply(edit).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["odd: its interval of 500µs is below 1ms", "first: this key is put twice"]);
    assert_eq!(present(&bench.scrape().0), ["odd", "first"]);
}

#[test]
fn changes_from_many_threads_while_everything_is_collected() {
    let bench = Bench::new(vec![fine(&FIRST), every(&SECOND, FAST, |_| Ok(()))]);
    bench.engine.keep_schedules();
    let editors: Vec<_> = (0..4)
        .map(|number| {
            let engine = bench.engine.clone();
            thread::spawn(move || {
                for turn in 0..50 {
                    let key = format!("{number}-{}", turn % 3);
                    let config = PipelineConfig {
                        key: key.clone(),
                        interval: (turn % 2 == 0).then_some(FAST),
                        ..PipelineConfig::new(&ODD)
                    };
                    let odd =
                        InputPipeline::new(&config, Box::new(Scripted(&ODD, |_: &CollectContext| Ok(()))));
                    assert!(engine.apply(put(Box::new(odd))).is_empty());
                    if turn % 5 == 0 {
                        engine.apply(remove(&key));
                    }
                }
                (0..3).for_each(|turn| drop(engine.apply(remove(&format!("{number}-{turn}")))));
            })
        })
        .collect();
    while editors.iter().any(|editor| !editor.is_finished()) {
        assert!(present(&bench.scrape().0).contains(&"first"));
    }
    editors.into_iter().for_each(|editor| editor.join().unwrap());
    assert_eq!(bench.engine.reports().len(), 2);
    assert_eq!(present(&bench.scrape().0), ["first", "second"]);
}
