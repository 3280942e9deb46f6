//! Inputs that do what a test tells them, and an engine that runs them.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use pitot::{
    accumulator::Accumulator,
    catalogue::{Metric, Source},
    config::PipelineConfig,
    engine::{Engine, Report},
    input::{CollectContext, Input, InputDef, InputError, Unsupported},
    output::{Format, Page, Want},
    pipeline::{InputPipeline, Pipeline},
};

pub(crate) const BUDGET: Duration = Duration::from_millis(500);
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);

pub(crate) static ONE: Metric = Metric::gauge("one", "Always one.", &[]);
pub(crate) static METRICS: &[&Metric] = &[&ONE];

/// A definition of a name; the prefix tells the series of one input from those of another.
pub(crate) const fn def(name: &'static str, prefix: &'static str) -> InputDef {
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

pub(crate) static FIRST: InputDef = def("first", "first_");
pub(crate) static ODD: InputDef = def("odd", "odd_");
/// One that may be shed.
pub(crate) static DEAR: InputDef = InputDef { source: Source::Files(&[]), ..def("odd", "odd_") };
pub(crate) static SECOND: InputDef = def("second", "second_");
pub(crate) static LAST: InputDef = def("last", "last_");
pub(crate) static OFF: InputDef = def("off", "off_");

/// An input that runs a piece of the test at every collection.
pub(crate) struct Scripted<F>(pub(crate) &'static InputDef, pub(crate) F);

impl<F: FnMut(&CollectContext) -> Result<(), InputError> + Send + 'static> Input for Scripted<F> {
    fn definition(&self) -> &'static InputDef {
        self.0
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        acc.put(&ONE, &[], 1.0);
        (self.1)(cx)
    }
}

pub(crate) fn pipeline(
    def: &'static InputDef,
    script: impl FnMut(&CollectContext) -> Result<(), InputError> + Send + 'static,
) -> Box<dyn Pipeline> {
    let config = PipelineConfig { deadline: DEADLINE, ..PipelineConfig::new(def) };
    Box::new(InputPipeline::new(&config, Box::new(Scripted(def, script))))
}

/// A pipeline with a clock of its own.
pub(crate) fn every(
    def: &'static InputDef,
    interval: Duration,
    script: impl FnMut(&CollectContext) -> Result<(), InputError> + Send + 'static,
) -> Box<dyn Pipeline> {
    let config = PipelineConfig { deadline: DEADLINE, interval: Some(interval), ..PipelineConfig::new(def) };
    Box::new(InputPipeline::new(&config, Box::new(Scripted(def, script))))
}

/// What happens now and then: words that a script says.
pub(crate) fn words() -> (Sender<()>, Receiver<()>) {
    mpsc::channel()
}

/// Counts how often a script is run.
pub(crate) fn counter()
-> (Arc<AtomicU64>, impl FnMut(&CollectContext) -> Result<(), InputError> + Send + 'static) {
    let count = Arc::new(AtomicU64::new(0));
    let own = Arc::clone(&count);
    let script = move |_: &CollectContext| {
        own.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    (count, script)
}

/// Waits until something is the case, which it will be soon.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: still not");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn fine(def: &'static InputDef) -> Box<dyn Pipeline> {
    pipeline(def, |_| Ok(()))
}

/// Waits for a word, however long that takes. When there is nobody left to say it, the test is over.
pub(crate) fn wait(words: &Receiver<()>) -> Result<(), InputError> {
    words.recv().map_err(|error| InputError::Other(error.to_string()))
}

/// An input that waits for a word before it goes on, without looking at its deadline.
pub(crate) fn blocking() -> (Box<dyn Pipeline>, Sender<()>) {
    let (word, words): (Sender<()>, Receiver<()>) = mpsc::channel();
    (pipeline(&ODD, move |_| wait(&words)), word)
}

/// An engine and something to wait with.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub(crate) fn new(pipelines: Vec<Box<dyn Pipeline>>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { engine: Engine::start(pipelines, BUDGET).unwrap(), runtime }
    }

    /// A page and how long it took.
    pub(crate) fn scrape(&self) -> (String, Duration) {
        let start = Instant::now();
        let want = Want { format: Format::Text, ..Want::default() };
        let Page { body, .. } = self.runtime.block_on(self.engine.scrape(want)).unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), start.elapsed())
    }

    pub(crate) fn report(&self, name: &str) -> Report {
        self.engine.reports().into_iter().find(|report| report.input == name).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.engine.stop(Duration::ZERO);
    }
}

/// Which of the inputs the page has a series of.
pub(crate) fn present(page: &str) -> Vec<&str> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split_once("_one")).map(|(input, _)| input).collect()
}

/// Threads of this process that collect; the tests of this file run side by side.
pub(crate) fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "pitot-collect").count()
}

/// Twice what is promised: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
