//! Configuration: TOML, strict, checked against the definitions of the inputs.

mod canonical;
mod check;
pub(crate) mod complaints;
pub mod glob;
pub mod load;
pub mod schema;
pub mod suggest;
mod origin;
mod output;
mod query;
mod target;
mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    catalogue::{CheckDef, Source},
    container::PodsConfig,
    input::{INPUTS, InputDef, OptionSetting},
    pipeline::{BurstsConfig, CheckConfig, Published, QueryConfig, Schedule, TransformConfig, checks},
    source::Roots,
};

pub(crate) use self::check::is_label_name;
pub use self::{
    canonical::{Change, Hash},
    load::{Problem, load},
    output::{OutputConfig, OutputFormat, OutputKind, PROMETHEUS},
};
pub(crate) use self::{query::in_text, schema::duration as written_duration, value::parse_duration};

/// The configuration as the agent runs it: file, command line and defaults together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Where the host's trees are.
    pub roots: Roots,
    /// How long a scrape waits for inputs; what has not answered by then is left out.
    pub scrape_budget: Duration,
    /// Whether kernel programs may be loaded at all.
    pub ebpf: bool,
    /// Where maps and links are pinned, so that a restart adopts them.
    pub pin: PathBuf,
    /// What the agent may cost.
    pub budget: Budget,
    /// One for every input, enabled or not, in the order of [`crate::input::INPUTS`]; then the further ones.
    pub pipelines: Vec<PipelineConfig>,
    /// Where samples may go beside the pages of scrapers.
    pub outputs: Vec<OutputConfig>,
    /// Directory of task files.
    pub tasks: Option<PathBuf>,
    /// How a running agent learns of changes.
    pub reload: Reload,
    /// The ready set of queries that find bursts.
    pub bursts: BurstsConfig,
    /// How containers and pods are found and named.
    pub pods: PodsConfig,
}

/// How a running agent learns of a changed configuration, beside SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether `POST /-/reload` is served.
    pub endpoint: bool,
    /// Whether files are watched.
    pub watch: bool,
}

impl Default for Reload {
    fn default() -> Self {
        Self { endpoint: false, watch: true }
    }
}

/// What the agent may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// CPU time of its own threads, in per cent of one CPU, and of its kernel programs while they are timed;
    /// 0 is no limit.
    pub cpu_percent: f64,
    /// Resident memory and kernel maps, in MiB; 0 is no limit.
    pub memory_mib: f64,
    /// Over how long use is measured.
    pub window: Duration,
    /// Whether the kernel times its programs all the time.
    pub kernel_programs: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { cpu_percent: 5.0, memory_mib: 256.0, window: Duration::from_secs(10), kernel_programs: false }
    }
}

/// How one pipeline is run.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Its name, in metrics, logs and `/status`.
    pub key: String,
    /// The definition of its input, or of the input at the far end of those that it takes from.
    pub def: &'static InputDef,
    /// The input that it collects by itself.
    pub input: Option<String>,
    /// The pipeline whose frames it takes.
    pub from: Option<String>,
    /// Whether it is run.
    pub enabled: bool,
    /// How often it is collected; without it, whenever it is scraped.
    pub interval: Option<Duration>,
    /// Shift of the schedule against multiples of the interval.
    pub offset: Duration,
    /// Span over which pipelines of the same interval are spread; the interval, or nothing with an offset.
    pub spread: Option<Duration>,
    /// How long one collection may take.
    pub deadline: Duration,
    /// Where its samples go.
    pub outputs: Vec<String>,
    /// What is done to its samples.
    pub transform: TransformConfig,
    /// What is computed of its samples; without any, they are passed on.
    pub queries: Vec<QueryConfig>,
    /// Settings of its input.
    pub options: Vec<(String, OptionSetting)>,
    /// Of a check: its targets, and how it comes to them.
    pub check: CheckConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 9100))],
            roots: Roots::default(),
            scrape_budget: Duration::from_millis(500),
            ebpf: true,
            pin: "/sys/fs/bpf/pitot".into(),
            budget: Budget::default(),
            pipelines: INPUTS
                .iter()
                .map(|def| PipelineConfig { enabled: def.is_by_default(), ..PipelineConfig::new(def) })
                .collect(),
            outputs: Vec::new(),
            tasks: None,
            reload: Reload::default(),
            bursts: BurstsConfig::default(),
            pods: PodsConfig::default(),
        }
    }
}

impl Config {
    /// Whether helpers may be wanted while the agent runs: some input is a check, or a task may ask for one.
    pub fn needs_helpers(&self) -> bool {
        self.tasks.is_some()
            || self.pipelines.iter().any(|pipeline| pipeline.enabled && pipeline.checks().is_some())
    }

    /// The same with time enough for a collection that no scraper waits for, and which names every series.
    pub fn unhurried(mut self) -> Self {
        const LEAST: Duration = Duration::from_secs(5);
        self.scrape_budget = self.scrape_budget.max(LEAST);
        for pipeline in &mut self.pipelines {
            pipeline.deadline = pipeline.deadline.max(LEAST);
        }
        self
    }
}

impl PipelineConfig {
    /// What its queries take FROM: the pipeline whose frames it takes, or else its input.
    pub fn source(&self) -> &str {
        self.from.as_deref().or(self.input.as_deref()).unwrap_or(self.def.name)
    }

    /// The definition of the input whose samples its queries get; of frames, it is not known what they hold.
    pub(crate) fn sampled(&self) -> Option<&'static InputDef> {
        self.from.is_none().then(|| self.delivered())
    }

    /// The definition of what its input delivers: that of a check with targets has their labels.
    pub(crate) fn delivered(&self) -> &'static InputDef {
        checks::delivered(self)
    }

    /// Whether its input is a check, and what that needs.
    pub(crate) fn checks(&self) -> Option<&'static CheckDef> {
        match self.def.source {
            Source::Check(needs) if self.input.is_some() => Some(needs),
            _ => None,
        }
    }

    /// What its transform is given: the metrics of its input, or the results of its queries.
    pub(crate) fn published(&self) -> Published {
        if self.queries.is_empty() {
            return Published::of(self.delivered());
        }
        let results = self.queries.iter().flat_map(|query| query.results(self.sampled()));
        Published { of: "the query".to_owned(), prefix: self.prefix(), metrics: results.collect() }
    }

    /// Names that its metrics may have outside, with `*` where the source completes one.
    pub(crate) fn exported(&self) -> Vec<String> {
        self.transform.exported(&self.published())
    }

    /// Start of its metric names unless the transform says another: that of its input. Those that take frames have none,
    /// because the names that they take have theirs.
    pub fn prefix(&self) -> &'static str {
        if self.from.is_some() { "" } else { self.def.prefix }
    }

    /// When it is collected; without a schedule, whenever it is scraped.
    pub fn schedule(&self) -> Option<Schedule> {
        let schedule = Schedule::every(self.interval?);
        // An offset says when exactly.
        let schedule = if self.offset.is_zero() { schedule } else { schedule.at(self.offset) };
        Some(Schedule { spread: self.spread.unwrap_or(schedule.spread), ..schedule })
    }

    /// The defaults of an input's own pipeline.
    pub fn new(def: &'static InputDef) -> Self {
        Self {
            key: def.name.to_owned(),
            def,
            input: Some(def.name.to_owned()),
            from: None,
            enabled: true,
            interval: None,
            offset: Duration::ZERO,
            spread: None,
            deadline: Duration::from_millis(250),
            outputs: vec![PROMETHEUS.to_owned()],
            transform: TransformConfig::default(),
            queries: Vec::new(),
            options: Vec::new(),
            check: CheckConfig::default(),
        }
    }
}
