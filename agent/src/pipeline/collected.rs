//! The standard pipeline: an input, what is done to its samples, and how it fares.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Losses, Outcome, Owners, Pipeline, Quarantine, Query, Rules, Schedule, State, owners::Named,
    query::Queries,
};
use crate::{
    accumulator::{Frame, Limits, SeriesStore},
    bpf::Loader,
    config::{PROMETHEUS, PipelineConfig},
    input::{CollectContext, Input, InputError, OpenContext, Options, Overdue},
    output::Output,
    source::Roots,
};

/// How often an unsupported input is tried again: a module may be loaded, a file may appear.
const RETRY_UNSUPPORTED: Duration = Duration::from_secs(60);
/// The pause after a panic; each one in a row makes it twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after panics.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pipeline of one input.
pub struct InputPipeline {
    config: PipelineConfig,
    input: Option<Box<dyn Input>>,
    /// What is computed of its samples, instead of passing them on.
    queries: Queries,
    /// It is to have the input of the pipeline before it; without one, it opens its own in these trees.
    heir: Option<Roots>,
    store: SeriesStore,
    /// By whom its control groups are named.
    named: Option<Named>,
    outputs: Vec<Arc<dyn Output>>,
    state: State,
    /// Not tried again before this.
    pause: Option<Instant>,
    panics: u32,
}

impl InputPipeline {
    /// Builds an input and its pipeline. An input that cannot run here leaves a pipeline that says so.
    pub fn open(config: &PipelineConfig, roots: &Roots, bpf: &mut Loader) -> Self {
        let options = Options::new(config.def.options, &config.options);
        let opened = if config.enabled {
            (config.def.open)(&mut OpenContext { roots, options, bpf })
                .map_err(|unsupported| State::Unsupported { reason: unsupported.0 })
        } else {
            Err(State::Off { reason: "not enabled".to_owned() })
        };
        match opened {
            Ok(input) => Self::new(config, input),
            Err(state) => Self { input: None, state, ..Self::empty(config) },
        }
    }

    /// A pipeline whose input cannot run until the agent is started again.
    pub fn unsupported(config: &PipelineConfig, reason: &str) -> Self {
        Self { state: State::Unsupported { reason: reason.to_owned() }, ..Self::empty(config) }
    }

    /// A pipeline around an input.
    pub fn new(config: &PipelineConfig, input: Box<dyn Input>) -> Self {
        let state = working(&*input);
        let store = store_of(config, None, Some(&*input));
        Self { store, input: Some(input), state, ..Self::empty(config) }
    }

    /// The same, with the labels of whoever owns a control group, where the input has metrics of these.
    pub fn owned(self, owners: Option<Owners>) -> Self {
        let named = owners.filter(|_| Owners::concern(self.config.def)).map(Named::new);
        Self { store: store_of(&self.config, named.as_ref(), self.input.as_deref()), named, ..self }
    }

    /// A pipeline that takes the input over of the one that it replaces ([`Pipeline::update_from`]), with all that it
    /// holds: files, kernel programs, what it knew. If that one cannot be asked because it hangs, this one opens
    /// an input of its own when it is first collected.
    pub fn heir(config: &PipelineConfig, roots: &Roots) -> Self {
        Self { heir: Some(roots.clone()), ..Self::empty(config) }
    }

    /// Opens an input while the agent runs, when kernel programs are not loaded any more.
    pub fn open_late(config: &PipelineConfig, roots: &Roots) -> Self {
        Self::open(config, roots, &mut Loader::off("its kernel programs are loaded at start: restart"))
    }

    /// Has the input that an earlier pipeline had, or shows why there is none.
    fn inherit(&mut self, old: &mut dyn Pipeline) {
        self.heir = None;
        self.input = old.take_input();
        self.state = old.state().clone();
        self.store = store_of(&self.config, self.named.as_ref(), self.input.as_deref());
    }

    fn empty(config: &PipelineConfig) -> Self {
        Self {
            config: config.clone(),
            input: None,
            queries: Queries::of(config),
            heir: None,
            outputs: Vec::new(),
            store: store_of(config, None, None),
            named: None,
            state: State::Running { variant: None },
            pause: None,
            panics: 0,
        }
    }

    fn fail(&mut self, state: State, pause: Option<Duration>) {
        self.store.withdraw();
        self.queries.withdraw();
        self.pause = pause.map(|pause| Instant::now() + pause);
        self.state = state;
    }
}

/// A store for what an input delivers, as the configuration of its pipeline has it.
fn store_of(config: &PipelineConfig, named: Option<&Named>, input: Option<&dyn Input>) -> SeriesStore {
    let limits = Limits { series_per_metric: config.transform.max_series, ..Limits::default() };
    let owners = named.map(|named| named.owners().clone());
    let rules = Rules::of(&config.transform, config.def.prefix).with_owners(owners);
    SeriesStore::new(Box::new(rules), limits).with(input.map(Input::beginnings).unwrap_or_default())
}

/// The state of an input that has just delivered.
fn working(input: &dyn Input) -> State {
    let variant = input.variant();
    match input.degraded() {
        Some(reason) => State::Degraded { variant, reason },
        None => State::Running { variant },
    }
}

impl Pipeline for InputPipeline {
    fn key(&self) -> &str {
        &self.config.key
    }

    fn schedule(&self) -> Option<Schedule> {
        self.config.schedule()
    }

    fn deadline(&self) -> Duration {
        self.config.deadline
    }

    fn collect(&mut self, cx: &CollectContext, _source: Option<&Frame>) -> Outcome {
        if let Some(roots) = self.heir.take() {
            let outputs = std::mem::take(&mut self.outputs);
            let owners = self.named.take().map(|named| named.owners().clone());
            *self = Self { outputs, ..Self::open_late(&self.config, &roots).owned(owners) };
        }
        let Some(input) = &mut self.input else { return Outcome::Skipped };
        if self.pause.is_some_and(|until| cx.started < until) {
            return Outcome::Skipped;
        }
        let (store, queries) = (&mut self.store, &mut self.queries);
        if let Some(named) = &mut self.named {
            named.keep_current(store);
        }
        // What an input leaves half done is its own; store and query take nothing from a failed cycle.
        let result = catch_unwind(AssertUnwindSafe(|| {
            if queries.is_empty() {
                store.begin(cx.started);
                input.collect(cx, store)?;
                store.publish();
                return Ok(());
            }
            queries.begin(cx);
            input.collect(cx, queries)?;
            if queries.finish(cx) {
                store.begin(cx.started);
                queries.deliver(store);
                store.publish();
            }
            Ok(())
        }));
        match result {
            Ok(Ok(())) => {
                if !self.state.is_up() {
                    self.state = working(&**input);
                }
                (self.pause, self.panics) = (None, 0);
                Outcome::Published
            }
            Ok(Err(InputError::Unsupported(reason))) => {
                self.panics = 0;
                self.fail(State::Unsupported { reason: reason.0 }, Some(RETRY_UNSUPPORTED));
                Outcome::Skipped
            }
            Ok(Err(error)) => {
                self.panics = 0;
                self.fail(State::Failed { reason: error.to_string() }, None);
                Outcome::Failed
            }
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.panics)).min(LONGEST_PAUSE);
                self.panics = self.panics.saturating_add(1);
                self.fail(State::Failed { reason: format!("panicked: {text}") }, Some(pause));
                Outcome::Panicked
            }
        }
    }

    fn frame(&self) -> &Frame {
        self.store.frame()
    }

    fn begin(&mut self) {
        if let Some(input) = &mut self.input {
            input.begin();
        }
    }

    fn withdraw(&mut self) {
        self.store.withdraw();
        self.queries.withdraw();
    }

    fn close(&mut self, reason: &str) {
        let state = State::Off { reason: reason.to_owned() };
        let outputs = std::mem::take(&mut self.outputs);
        *self = Self { outputs, state, ..Self::empty(&self.config) };
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn quarantine(&self) -> Option<Quarantine> {
        let until = self.pause.filter(|_| self.panics > 0)?;
        Some(Quarantine { until, panics: self.panics })
    }

    fn debug_info(&self) -> serde_json::Value {
        let input = self.input.as_ref().map_or(serde_json::Value::Null, |input| input.debug_info());
        if self.queries.is_empty() {
            return input;
        }
        serde_json::json!({ "input": input, "queries": self.queries.debug_info() })
    }

    fn losses(&self) -> Losses {
        let Overdue { stale, missed } = self.input.as_ref().map(|input| input.overdue()).unwrap_or_default();
        Losses::from(self.queries.losses()) + Losses { stale, missed, ..Losses::of(&self.store) }
    }

    fn update_from(&mut self, old: &mut dyn Pipeline) {
        if self.heir.is_some() {
            self.inherit(old);
        } else if let (Some(new), Some(old)) = (&mut self.input, old.input()) {
            new.update_from(old);
        }
        self.queries.take_over(old.queries());
        if let Some(store) = old.store() {
            self.store.take_over(store);
        }
    }

    fn input(&mut self) -> Option<&mut dyn Input> {
        self.input.as_deref_mut()
    }

    fn queries(&mut self) -> &mut [Query] {
        self.queries.as_mut_slice()
    }

    fn take_input(&mut self) -> Option<Box<dyn Input>> {
        self.input.take()
    }

    fn is_scraped(&self) -> bool {
        self.config.outputs.iter().any(|output| output == PROMETHEUS)
    }

    fn outputs(&self) -> &[Arc<dyn Output>] {
        &self.outputs
    }

    fn connect(&mut self, outputs: Vec<Arc<dyn Output>>) {
        self.outputs = outputs;
    }

    fn store(&mut self) -> Option<&mut SeriesStore> {
        Some(&mut self.store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        accumulator::Accumulator,
        catalogue::{Label, Metric, Source},
        input::{InputDef, Unsupported},
        output::{Encoder, Format},
        pipeline::{Manipulation, TransformConfig, ValueRule},
    };

    static ONE: Metric = Metric::gauge("one", "One.", &[]);
    static DEF: InputDef = InputDef {
        name: "flaky",
        about: "Does what it is told.",
        prefix: "x_",
        source: Source::Own,
        cost: "nothing",
        metrics: &[&ONE],
        options: &[],
        open: |_| Err(Unsupported("only for tests".to_owned())),
    };

    struct Flaky(Vec<&'static str>);
    impl Input for Flaky {
        fn definition(&self) -> &'static InputDef {
            &DEF
        }
        fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
            acc.put(&ONE, &[], 1.0);
            match self.0.remove(0) {
                "ok" => Ok(()),
                "panic" => panic!("told to"),
                "missing" => Err(InputError::Unsupported(Unsupported("gone".to_owned()))),
                other => Err(InputError::Other(other.to_owned())),
            }
        }
    }

    fn run(script: &[&'static str]) -> (InputPipeline, Vec<(Outcome, usize)>) {
        let mut pipeline = InputPipeline::new(&PipelineConfig::new(&DEF), Box::new(Flaky(script.to_vec())));
        let outcomes = script
            .iter()
            .map(|_| {
                let outcome = pipeline.collect(&CollectContext::new(Duration::from_secs(1)), None);
                (outcome, pipeline.frame().live())
            })
            .collect();
        (pipeline, outcomes)
    }

    static COUNT: Metric = Metric::counter("count_total", "Counts.", &[Label::bounded("device", 9)]);
    static COUNTING: InputDef = InputDef { name: "counting", metrics: &[&COUNT], ..DEF };

    /// Counts up by 10 for `a` and `b` at every collection.
    struct Counting(f64);
    impl Input for Counting {
        fn definition(&self) -> &'static InputDef {
            &COUNTING
        }
        fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
            self.0 += 10.0;
            acc.put(&COUNT, &[b"a"], self.0);
            acc.put(&COUNT, &[b"b"], self.0);
            Ok(())
        }
    }

    fn page(pipeline: &InputPipeline) -> String {
        let page = Encoder::new().encode(Format::Text, &[pipeline.frame()]);
        let lines = String::from_utf8_lossy(&page);
        lines.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("; ")
    }

    /// The order of the steps: lists by raw names, values, formulas, tags, and the prefix last; and rates are
    /// by the time that passed, also over a change of the configuration.
    #[test]
    fn steps_are_in_order_and_go_on_after_a_reload() {
        let mut config = PipelineConfig::new(&COUNTING);
        config.transform = TransformConfig {
            allow: vec!["count_total".into()],
            deny_labels: vec![("device".into(), vec!["b".into()])],
            values: vec![ValueRule {
                pattern: "count_total".into(),
                manipulation: Manipulation::Rate,
                keep_negative: false,
            }],
            derive: vec!["twice = count_per_second * 2".into()],
            tags: vec![("rack".into(), "7".into()), ("device".into(), "tag".into())],
            ..TransformConfig::default()
        };
        assert_eq!(config.transform.check(&config.published()), []);
        let started = Instant::now();
        let at = |millis| {
            let mut cx = CollectContext::new(Duration::from_secs(1));
            cx.started = started + Duration::from_millis(millis);
            cx
        };
        let mut first = InputPipeline::new(&config, Box::new(Counting(0.0)));
        first.collect(&at(0), None);
        assert_eq!(page(&first), "");
        first.collect(&at(500), None);
        let lines = "x_count_per_second{device=\"a\",rack=\"7\"} 20; x_twice{device=\"a\",rack=\"7\"} 40";
        assert_eq!(page(&first), lines);
        config.transform.prefix = Some("y_".into());
        let mut second = InputPipeline::new(&config, Box::new(Counting(0.0)));
        second.update_from(&mut first);
        second.input = Some(Box::new(Counting(20.0)));
        second.collect(&at(2500), None);
        assert_eq!(page(&second), lines.replace("x_", "y_").replace(" 20;", " 5;").replace(" 40", " 10"));
    }

    #[test]
    fn a_failed_collection_publishes_nothing_and_recovers() {
        let (pipeline, outcomes) = run(&["ok", "broken", "ok"]);
        assert_eq!(outcomes, [(Outcome::Published, 1), (Outcome::Failed, 0), (Outcome::Published, 1)]);
        assert!(pipeline.state().is_up());
    }

    #[test]
    fn with_a_query_only_its_results_are_published() {
        let sql = "SELECT count(one) AS n, histogram(one) AS ones FROM flaky";
        let queries = vec![crate::pipeline::QueryConfig::from_sql(sql).unwrap()];
        let config = PipelineConfig { queries, ..PipelineConfig::new(&DEF) };
        let input = Box::new(Flaky(vec!["ok", "broken", "panic", "ok"]));
        let mut pipeline = InputPipeline::new(&config, input);
        let mut at = |seconds| {
            let mut cx = CollectContext::new(Duration::from_secs(1));
            cx.started += Duration::from_secs(seconds);
            pipeline.collect(&cx, None);
            let frame = pipeline.frame();
            let series = frame.families().iter().flat_map(crate::accumulator::Family::series);
            let values = series.filter_map(|&index| match frame.value(index)? {
                crate::accumulator::Value::Number(value) => Some(value),
                crate::accumulator::Value::Histogram(value) => Some(value.count() as f64),
            });
            values.collect::<Vec<_>>()
        };
        assert_eq!([at(0), at(1), at(2), at(100)], [vec![1.0, 1.0], vec![], vec![], vec![1.0, 2.0]]);
    }

    #[test]
    fn an_heir_has_the_input_of_the_one_before_or_opens_its_own() {
        let mut old = InputPipeline::new(&PipelineConfig::new(&DEF), Box::new(Flaky(vec!["ok"])));
        let mut new = InputPipeline::heir(&PipelineConfig::new(&DEF), &Roots::default());
        new.update_from(&mut old);
        let cx = CollectContext::new(Duration::from_secs(1));
        assert_eq!((new.collect(&cx, None), new.frame().live()), (Outcome::Published, 1));
        // Nobody was there to inherit from.
        let mut alone = InputPipeline::heir(&PipelineConfig::new(&DEF), &Roots::default());
        assert_eq!(alone.collect(&cx, None), Outcome::Skipped);
        assert_eq!(alone.state().reason(), "only for tests");
        // What does not run goes on not running, for the same reason.
        let mut off = InputPipeline::new(&PipelineConfig::new(&DEF), Box::new(Flaky(Vec::new())));
        off.close("shed");
        let mut new = InputPipeline::heir(&PipelineConfig::new(&DEF), &Roots::default());
        new.update_from(&mut off);
        assert_eq!((new.collect(&cx, None), new.state().reason()), (Outcome::Skipped, "shed"));
    }

    #[test]
    fn after_a_panic_there_is_a_pause() {
        let (pipeline, outcomes) = run(&["panic", "ok"]);
        assert_eq!(outcomes, [(Outcome::Panicked, 0), (Outcome::Skipped, 0)]);
        assert_eq!(pipeline.state().to_string(), "failed (panicked: told to)");
        assert_eq!(pipeline.quarantine().map(|quarantine| quarantine.panics), Some(1));
    }

    #[test]
    fn unsupported_is_a_state_and_not_tried_at_once() {
        let (pipeline, outcomes) = run(&["missing", "ok"]);
        assert_eq!(outcomes, [(Outcome::Skipped, 0), (Outcome::Skipped, 0)]);
        assert_eq!(pipeline.state().word(), "unsupported");
    }
}
