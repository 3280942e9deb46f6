//! Pipelines that take the frames of others, and places where frames go.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use pitot::{
    accumulator::{Accumulator, Frame, Limits, SeriesStore, Value},
    catalogue::Metric,
    engine::Edit,
    input::{CollectContext, Input, InputError},
    output::{Output, Want},
    pipeline::{Losses, Outcome, Pipeline, Rules, Schedule, State, TransformConfig},
};

use crate::bench::{Bench, FIRST, ODD, counter, every, fine, pipeline, present, until, wait, words};

static SUM: Metric = Metric::gauge("sum_one", "Sum of what its source has.", &[]);

/// Sums up what its source has, and adds one.
struct Sum {
    key: &'static str,
    source: &'static str,
    schedule: Option<Schedule>,
    store: SeriesStore,
    state: State,
    outputs: Vec<Arc<dyn Output>>,
}

fn sum(key: &'static str, source: &'static str) -> Sum {
    let rules = Rules::of(&TransformConfig::default(), &format!("{key}_"));
    let store = SeriesStore::new(Box::new(rules), Limits::default());
    Sum { key, source, schedule: None, store, state: State::default(), outputs: Vec::new() }
}

fn boxed(key: &'static str, source: &'static str) -> Box<dyn Pipeline> {
    Box::new(sum(key, source))
}

impl Pipeline for Sum {
    fn key(&self) -> &str {
        self.key
    }
    fn schedule(&self) -> Option<Schedule> {
        self.schedule
    }
    fn deadline(&self) -> Duration {
        Duration::from_millis(100)
    }
    fn source(&self) -> Option<&str> {
        Some(self.source)
    }
    fn collect(&mut self, _cx: &CollectContext, source: Option<&Frame>) -> Outcome {
        let Some(source) = source else {
            self.store.withdraw();
            self.state = State::Failed { reason: "no source".to_owned() };
            return Outcome::Failed;
        };
        let mut sum = 1.0;
        for index in 0..u32::try_from(source.live()).unwrap() {
            if let Some(Value::Number(value)) = source.value(index) {
                sum += value;
            }
        }
        self.state = State::default();
        self.store.begin(Instant::now());
        (&mut self.store as &mut dyn Accumulator).put(&SUM, &[], sum);
        self.store.publish();
        Outcome::Published
    }
    fn frame(&self) -> &Frame {
        self.store.frame()
    }
    fn withdraw(&mut self) {
        self.store.withdraw();
    }
    fn close(&mut self, _reason: &str) {}
    fn outputs(&self) -> &[Arc<dyn Output>] {
        &self.outputs
    }
    fn state(&self) -> &State {
        &self.state
    }
    fn debug_info(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn losses(&self) -> Losses {
        Losses::default()
    }
    fn update_from(&mut self, _old: &mut dyn Pipeline) {}
    fn input(&mut self) -> Option<&mut dyn Input> {
        None
    }
}

/// The samples of a page.
fn samples(page: &str) -> Vec<&str> {
    page.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn a_pipeline_is_collected_after_the_one_that_it_takes_from() {
    // In the page they stand as they were put.
    let bench = Bench::new(vec![boxed("c", "b"), boxed("b", "first"), fine(&FIRST)]);
    assert_eq!(samples(&bench.scrape().0), ["c_sum_one 3", "b_sum_one 2", "first_one 1"]);
    // Who asks for one gets what that takes from collected, too.
    let want = Want { names: vec!["c".to_owned()], ..Want::default() };
    let page = bench.runtime.block_on(bench.engine.scrape(want)).unwrap();
    assert_eq!(samples(std::str::from_utf8(&page.body).unwrap()), ["c_sum_one 3"]);
}

#[test]
fn without_its_source_it_fails_and_says_why() {
    let bench = Bench::new(vec![boxed("b", "first")]);
    let state = |bench: &Bench| {
        bench.scrape();
        bench.report("b").state.to_string()
    };
    assert_eq!(state(&bench), "failed (its source `first` does not exist)");
    bench.engine.apply(Edit { put: vec![fine(&FIRST)], remove: Vec::new() });
    assert_eq!(state(&bench), "running");
    bench.engine.restrict("first", 0);
    assert!(state(&bench).contains("its source `first` is off"), "{}", state(&bench));
    bench.engine.restrict("first", 1);
    let broken = pipeline(&FIRST, |_| Err(InputError::Other("broken".to_owned())));
    bench.engine.apply(Edit { put: vec![broken], remove: Vec::new() });
    assert_eq!(state(&bench), "failed (its source `first` is failed (broken))");
    bench.engine.apply(Edit { put: Vec::new(), remove: vec!["first".to_owned()] });
    assert_eq!(state(&bench), "failed (its source `first` does not exist)");
    assert!(samples(&bench.scrape().0).is_empty());
}

#[test]
fn a_source_that_hangs_is_not_waited_for() {
    let (_word, said) = words();
    let bench = Bench::new(vec![pipeline(&FIRST, move |_| wait(&said)), boxed("b", "first"), fine(&ODD)]);
    for _ in 0..3 {
        assert_eq!(present(&bench.scrape().0), ["odd"]);
    }
    let report = bench.report("b");
    assert!(report.state.reason().starts_with("its source `first` is"), "{report:?}");
    assert_eq!((report.errors, report.timeouts), (3, 0));
}

#[test]
fn what_would_take_from_itself_is_refused() {
    let bench = Bench::new(vec![fine(&FIRST), boxed("a", "first"), boxed("b", "a")]);
    let said = |put: Vec<Box<dyn Pipeline>>| -> Vec<String> {
        bench.engine.apply(Edit { put, remove: Vec::new() }).iter().map(ToString::to_string).collect()
    };
    assert_eq!(said(vec![boxed("c", "c")]), ["c: it would take from itself, by way of `c`"]);
    assert_eq!(said(vec![boxed("a", "b"), fine(&ODD)]), ["a: it would take from itself, by way of `b`"]);
    assert_eq!(samples(&bench.scrape().0), ["first_one 1", "a_sum_one 2", "b_sum_one 3", "odd_one 1"]);
    // Turned round at once, that is no ring.
    assert!(said(vec![boxed("a", "b"), boxed("b", "first")]).is_empty());
    assert_eq!(samples(&bench.scrape().0), ["first_one 1", "a_sum_one 3", "b_sum_one 2", "odd_one 1"]);
}

#[test]
fn a_scheduled_one_takes_what_its_source_published_last() {
    let (count, script) = counter();
    let fast = Duration::from_millis(3);
    let taker = Sum { schedule: Some(Schedule::every(fast)), ..sum("b", "first") };
    let bench = Bench::new(vec![Box::new(taker), every(&FIRST, Duration::from_millis(20), script)]);
    bench.engine.keep_schedules();
    until("it has a source", || bench.report("b").state.is_up() && bench.report("b").series == 1);
    let errors = bench.report("b").errors;
    let before = count.load(Ordering::Relaxed);
    until("the source goes on", || count.load(Ordering::Relaxed) > before + 3);
    // Now and then its source is just being collected: it waits for that.
    assert_eq!(bench.report("b").errors, errors);
    assert_eq!(samples(&bench.scrape().0), ["b_sum_one 2", "first_one 1"]);
}

/// Keeps what it is offered.
#[derive(Default)]
struct Kept(Mutex<Vec<(String, SystemTime, usize)>>);

impl Output for Kept {
    fn name(&self) -> &str {
        "kept"
    }
    fn offer(&self, pipeline: &str, at: SystemTime, frame: &Frame) {
        self.0.lock().unwrap().push((pipeline.to_owned(), at, frame.live()));
    }
}

/// Panics.
struct Broken;

impl Output for Broken {
    fn name(&self) -> &str {
        "broken"
    }
    fn offer(&self, _pipeline: &str, _at: SystemTime, _frame: &Frame) {
        std::panic::resume_unwind(Box::new("told to"));
    }
}

#[test]
fn what_is_published_is_offered_and_nothing_else() {
    let kept = Arc::new(Kept::default());
    let interval = Duration::from_millis(5);
    let taker = Sum {
        schedule: Some(Schedule::every(interval)),
        outputs: vec![Arc::new(Broken), Arc::clone(&kept) as Arc<dyn Output>],
        ..sum("b", "first")
    };
    let bench = Bench::new(vec![fine(&FIRST), Box::new(taker)]);
    bench.engine.keep_schedules();
    until("it fails", || bench.report("b").errors > 3);
    assert!(kept.0.lock().unwrap().is_empty());
    bench.scrape();
    until("it is offered", || kept.0.lock().unwrap().len() > 3);
    for (pipeline, at, series) in kept.0.lock().unwrap().iter() {
        assert_eq!((pipeline.as_str(), *series), ("b", 1));
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_nanos() % interval.as_nanos(), 0, "{since:?}");
    }
    assert_eq!(bench.report("b").panics, 0);
}
