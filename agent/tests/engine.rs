//! The engine with inputs that block, panic or are slow: what they cost, and what they do not.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "an input that is slow sleeps")]

use std::{
    cell::Cell,
    fs,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use pitot::{
    accumulator::{Accumulator, Frame},
    catalogue::{InputDef, Metric, Source},
    config::InputConfig,
    engine::{Engine, Report, keep_schedules},
    input::{CollectContext, Input, InputError, Unsupported},
    output::{Format, Page, Want},
    pipeline::{InputPipeline, Losses, Outcome, Pipeline, Schedule, State},
};

const BUDGET: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_millis(100);

static ONE: Metric = Metric::gauge("one", "Always one.", &[]);
static METRICS: &[&Metric] = &[&ONE];

/// A definition of a name; the prefix tells the series of one input from those of another.
const fn def(name: &'static str, prefix: &'static str) -> InputDef {
    InputDef {
        name,
        about: "Does what a test tells it.",
        prefix,
        source: Source::Own,
        cost: "nothing",
        metrics: METRICS,
        options: &[],
        open: |_| Err(Unsupported("only for tests".to_owned())),
    }
}

static FIRST: InputDef = def("first", "first_");
static ODD: InputDef = def("odd", "odd_");
static SECOND: InputDef = def("second", "second_");
static LAST: InputDef = def("last", "last_");

/// An input that runs a piece of the test at every collection.
struct Scripted<F>(&'static InputDef, F);

impl<F: FnMut(&CollectContext) -> Result<(), InputError> + Send + 'static> Input for Scripted<F> {
    fn definition(&self) -> &'static InputDef {
        self.0
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        acc.put(&ONE, &[], 1.0);
        (self.1)(cx)
    }
}

fn pipeline(
    def: &'static InputDef,
    script: impl FnMut(&CollectContext) -> Result<(), InputError> + Send + 'static,
) -> Box<dyn Pipeline> {
    let config = InputConfig { deadline: DEADLINE, ..InputConfig::new(def) };
    Box::new(InputPipeline::new(&config, Box::new(Scripted(def, script))))
}

fn fine(def: &'static InputDef) -> Box<dyn Pipeline> {
    pipeline(def, |_| Ok(()))
}

/// An input that waits for a word before it goes on, without looking at its deadline.
fn blocking() -> (Box<dyn Pipeline>, Sender<()>) {
    let (word, words): (Sender<()>, Receiver<()>) = mpsc::channel();
    // When there is nobody left to say it, the test is over.
    (pipeline(&ODD, move |_| Ok(words.recv().unwrap_or(()))), word)
}

/// An engine and something to wait with.
struct Bench {
    engine: Engine,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(pipelines: Vec<Box<dyn Pipeline>>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { engine: Engine::start(pipelines, BUDGET).unwrap(), runtime }
    }

    /// A page and how long it took.
    fn scrape(&self) -> (String, Duration) {
        let start = Instant::now();
        let want = Want { format: Format::Text, ..Want::default() };
        let Page { body, .. } = self.runtime.block_on(self.engine.scrape(want)).unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), start.elapsed())
    }

    fn report(&self, name: &str) -> Report {
        self.engine.reports().into_iter().find(|report| report.input == name).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

/// Which of the inputs the page has a series of.
fn present(page: &str) -> Vec<&str> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split_once("_one")).map(|(input, _)| input).collect()
}

/// Threads of this process that collect; the tests of this file run side by side.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "pitot-collect").count()
}

/// Twice what is promised: the machine may be busy.
const PATIENCE: Duration = Duration::from_millis(1000);

#[test]
fn an_input_that_blocks_costs_its_own_series_and_one_thread_and_comes_back() {
    let (odd, word) = blocking();
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    let (page, took) = bench.scrape();
    assert_eq!(present(&page), ["first", "last"]);
    assert!(took < PATIENCE, "{took:?}");
    let report = bench.report("odd");
    assert_eq!((report.timeouts, report.state.word(), report.series), (1, "failed", 0));

    // From now on nobody waits for it.
    let (before, start) = (threads(), Instant::now());
    for _ in 0..20 {
        assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    }
    assert!(start.elapsed() < DEADLINE * 20, "{:?}", start.elapsed());
    // Other tests may have started one or two of their own meanwhile; one per scrape would be twenty.
    assert!(threads() < before + 10, "{before} threads became {}", threads());
    assert_eq!(bench.report("odd").timeouts, 21);
    bench.engine.healthy().unwrap();

    // What it brought while nobody waited is thrown away; the next time it delivers.
    (0..3).for_each(|_| word.send(()).unwrap());
    let start = Instant::now();
    while present(&bench.scrape().0) != ["first", "odd", "last"] {
        word.send(()).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", bench.report("odd"));
        thread::sleep(Duration::from_millis(5));
    }
    let report = bench.report("odd");
    assert_eq!((report.state.word(), report.series), ("running", 1));
}

#[test]
fn inputs_that_block_one_after_the_other_do_not_add_up() {
    let (odd, _word) = blocking();
    let (_other, words): (Sender<()>, Receiver<()>) = mpsc::channel();
    let second = pipeline(&SECOND, move |_| Ok(words.recv().unwrap_or(())));
    let bench = Bench::new(vec![fine(&FIRST), odd, second, fine(&LAST)]);
    let (page, took) = bench.scrape();
    assert_eq!(present(&page), ["first", "last"]);
    assert!(took < PATIENCE, "{took:?}");
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    }
    assert!(start.elapsed() < DEADLINE * 10, "{:?}", start.elapsed());
}

#[test]
fn an_input_that_panics_is_left_alone_for_a_while_and_the_others_go_on() {
    let mut first = true;
    let odd = pipeline(&ODD, move |_| {
        if std::mem::take(&mut first) {
            // As `panic!` does, without the message, whose backtrace may take longer than the deadline.
            std::panic::resume_unwind(Box::new("told to"));
        }
        Ok(())
    });
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    for _ in 0..3 {
        assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    }
    let report = bench.report("odd");
    assert_eq!((report.panics, report.state.to_string().as_str()), (1, "failed (panicked: told to)"));
    let start = Instant::now();
    while present(&bench.scrape().0).len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", bench.report("odd"));
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!((bench.report("odd").state.word(), bench.report("odd").panics), ("running", 1));
}

#[test]
fn an_input_that_is_late_once_is_back_as_soon_as_it_is_done() {
    let (mut late, (done, is_done)) = (true, mpsc::channel());
    let odd = pipeline(&ODD, move |cx| {
        if std::mem::take(&mut late) {
            thread::sleep(DEADLINE * 3);
            assert!(cx.is_cancelled());
            let _gone = done.send(());
        }
        Ok(())
    });
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    is_done.recv_timeout(Duration::from_secs(10)).unwrap();
    let start = Instant::now();
    while present(&bench.scrape().0) != ["first", "odd", "last"] {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", bench.report("odd"));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_the_budget_did_not_reach_is_left_out_and_not_shown_as_it_was() {
    // Two that are slow, each within its deadline, from the second scrape on; the budget ends with the third.
    let slow = |def, millis| {
        let mut scrapes = 0;
        let config = InputConfig { deadline: BUDGET * 2, ..InputConfig::new(def) };
        let input = Scripted(def, move |_: &CollectContext| {
            scrapes += 1;
            if scrapes == 2 {
                thread::sleep(Duration::from_millis(millis));
            }
            Ok(())
        });
        Box::new(InputPipeline::new(&config, Box::new(input))) as Box<dyn Pipeline>
    };
    let bench = Bench::new(vec![fine(&FIRST), slow(&ODD, 100), slow(&SECOND, 900), fine(&LAST)]);
    assert_eq!(present(&bench.scrape().0), ["first", "odd", "second", "last"]);
    let (page, took) = bench.scrape();
    assert_eq!(present(&page), ["first", "odd"]);
    assert!(took < PATIENCE, "{took:?}");
    assert_eq!(bench.report("last").state.to_string(), "failed (not reached within the scrape's budget)");
    let start = Instant::now();
    while present(&bench.scrape().0).len() < 4 {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", bench.engine.reports());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(bench.engine.reports().iter().all(|report| report.state.word() == "running"));
}

#[test]
fn a_scheduled_input_that_blocks_holds_up_neither_scrapes_nor_other_schedules() {
    let (_word, words): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (tick, ticks) = mpsc::channel();
    let every = |def, script: Box<dyn FnMut(&CollectContext) -> Result<(), InputError> + Send>| {
        let interval = Some(Duration::from_millis(200));
        let config = InputConfig { deadline: DEADLINE, interval, ..InputConfig::new(def) };
        Box::new(InputPipeline::new(&config, Box::new(Scripted(def, script)))) as Box<dyn Pipeline>
    };
    let blocks = every(&ODD, Box::new(move |_| Ok(words.recv().unwrap_or(()))));
    let counts = every(
        &SECOND,
        Box::new(move |cx| {
            let _gone = tick.send(cx.aligned_timestamp);
            Ok(())
        }),
    );
    let bench = Bench::new(vec![fine(&FIRST), blocks, counts]);
    let keeper = bench.runtime.spawn(keep_schedules(bench.engine.clone()));
    let (mut seen, start) = (Vec::new(), Instant::now());
    while seen.len() < 5 {
        let (page, took) = bench.scrape();
        assert!(took < PATIENCE, "{took:?}");
        assert!(present(&page).contains(&"first") && !present(&page).contains(&"odd"), "{page}");
        seen.extend(ticks.try_iter());
        assert!(start.elapsed() < Duration::from_secs(20), "{seen:?}");
        thread::sleep(Duration::from_millis(20));
    }
    for at in seen {
        let since = at.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_millis() % 200, 0, "{since:?} is no multiple of the interval");
    }
    keeper.abort();
}

#[test]
fn reports_are_given_while_an_input_blocks() {
    let (odd, _word) = blocking();
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    let engine = bench.engine.clone();
    let scraper = bench.runtime.spawn(async move { engine.scrape(Want::default()).await });
    // The one thread that serves pages, reports and signals is also the one that notices who hangs.
    let (page, longest) = bench.runtime.block_on(async {
        let mut longest = Duration::ZERO;
        while !scraper.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let start = Instant::now();
            assert_eq!(bench.engine.reports().len(), 3);
            longest = longest.max(start.elapsed());
        }
        (scraper.await.unwrap().unwrap(), longest)
    });
    assert_eq!(present(std::str::from_utf8(&page.body).unwrap()), ["first", "last"]);
    assert!(longest < DEADLINE, "{longest:?}");
}

/// A pipeline that takes its time once it has collected.
struct Lingering(Box<dyn Pipeline>, Cell<bool>);

impl Pipeline for Lingering {
    fn key(&self) -> &str {
        self.0.key()
    }
    fn schedule(&self) -> Option<Schedule> {
        self.0.schedule()
    }
    fn deadline(&self) -> Duration {
        self.0.deadline()
    }
    fn collect(&mut self, cx: &CollectContext) -> Outcome {
        self.0.collect(cx)
    }
    fn frame(&self) -> &Frame {
        self.0.frame()
    }
    fn withdraw(&mut self) {
        self.0.withdraw();
    }
    fn state(&self) -> &State {
        self.0.state()
    }
    fn debug_info(&self) -> serde_json::Value {
        self.0.debug_info()
    }
    fn losses(&self) -> Losses {
        if self.1.take() {
            thread::sleep(DEADLINE + DEADLINE / 2);
        }
        self.0.losses()
    }
    fn update_from(&mut self, old: &mut dyn Pipeline) {
        self.0.update_from(old);
    }
    fn input(&mut self) -> Option<&mut dyn Input> {
        self.0.input()
    }
}

#[test]
fn a_collection_that_ends_as_its_deadline_passes_is_not_taken_for_one_that_hangs() {
    let odd = Box::new(Lingering(fine(&ODD), Cell::new(true)));
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    for _ in 0..3 {
        assert_eq!(present(&bench.scrape().0), ["first", "odd", "last"]);
    }
    assert_eq!((bench.report("odd").timeouts, bench.report("odd").state.word()), (0, "running"));
}
