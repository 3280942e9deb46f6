//! What `pitot check` says: the configuration as the agent will run it, and how it fared on this host.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use serde::Serialize;

use crate::{
    config::PipelineConfig,
    docs::series::worst_case_of_pipeline,
    engine::Report,
    pipeline::{State, checks::PACE},
    tasks::{Setup, TaskState, TaskStatus},
};

/// Keys that are said in words of their own.
const SAID: [&str; 7] = ["enabled", "interval", "offset", "spread", "deadline", "outputs", "max_series"];

/// What will run.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Pipelines that are switched on.
    pub pipelines: Vec<Planned>,
    /// Pipelines that are switched off.
    pub off: Vec<String>,
    /// Outputs beside the pages of scrapers.
    pub outputs: Vec<PlannedOutput>,
    /// What became of tasks.
    pub tasks: Vec<TaskStatus>,
}

/// A pipeline that will run.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// Its name.
    pub pipeline: String,
    /// The input that it collects, if it collects one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The pipeline that it takes from, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Distance of its ticks in seconds; none when it is collected at scrapes.
    pub interval_seconds: Option<f64>,
    /// Shift of its ticks in seconds.
    pub offset_seconds: f64,
    /// How much later than its ticks it comes, by its share of the spread, in seconds.
    pub delay_seconds: f64,
    /// How long a collection may take, in seconds.
    pub deadline_seconds: f64,
    /// Where its samples go.
    pub outputs: Vec<String>,
    /// Keys of its transform and its queries that are not at their defaults, and their values as they would stand in the file.
    pub transform: Vec<(String, String)>,
    /// Options of its input that are given.
    pub options: Vec<(String, String)>,
    /// Series of the one collection.
    pub series: usize,
    /// The most series that it can have on this host.
    pub series_at_most: u64,
    /// Whether its input is a check, which has a pace of its own.
    #[serde(skip)]
    is_check: bool,
    /// Targets of its checks, and how they fared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// How it fared.
    #[serde(flatten)]
    pub state: State,
}

/// A target of a check.
#[derive(Debug, Serialize)]
pub struct Target {
    /// What it is called.
    pub target: String,
    /// `executed`, or in one word why it was not, or `none` when nothing is known yet.
    pub outcome: String,
    /// The same in words.
    pub message: String,
}

/// An output.
#[derive(Debug, Serialize)]
pub struct PlannedOutput {
    /// Its name.
    pub output: String,
    /// How samples are written.
    pub format: &'static str,
    /// The file, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Plan {
    /// What will run of a configuration, and how that fared when it was collected once.
    pub fn new(setup: &Setup, reports: &[Report]) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
        let (on, off): (Vec<_>, Vec<_>) = setup.pipelines().partition(|pipeline| pipeline.enabled);
        let report = |key: &str| reports.iter().find(|report| report.input == key);
        let outputs = setup.config.outputs.iter().map(|output| PlannedOutput {
            output: output.name.clone(),
            format: output.format.word(),
            path: output.path.as_ref().map(|path| path.display().to_string()),
        });
        Self {
            pipelines: on.into_iter().map(|config| Planned::new(config, report(&config.key), cpus)).collect(),
            off: off.into_iter().map(|config| config.key.clone()).collect(),
            outputs: outputs.collect(),
            tasks: setup.tasks().to_vec(),
        }
    }

    /// Why it is not as it should be, if so.
    pub fn verdict(&self) -> Result<(), String> {
        let failed =
            self.pipelines.iter().filter(|planned| matches!(planned.state, State::Failed { .. })).count();
        let wrong = self.tasks.iter().filter(|task| task.state != TaskState::Loaded).count();
        match (failed, wrong) {
            (0, 0) => Ok(()),
            (failed, 0) => Err(format!("the configuration is valid, but {failed} inputs fail")),
            (0, wrong) => Err(format!("the configuration is valid, but {wrong} tasks are not")),
            (failed, wrong) => Err(format!(
                "the configuration is valid, but {failed} inputs fail, and {wrong} tasks are not valid"
            )),
        }
    }
}

impl Planned {
    fn new(config: &PipelineConfig, report: Option<&Report>, cpus: u64) -> Self {
        let schedule = config.schedule();
        let given = config.given().into_iter().filter(|(key, _)| !SAID.contains(key));
        let transform = given.map(|(key, text)| (key.to_owned(), text)).collect();
        Self {
            pipeline: config.key.clone(),
            input: config.input.clone(),
            from: config.from.clone(),
            interval_seconds: config.interval.map(|interval| interval.as_secs_f64()),
            offset_seconds: config.offset.as_secs_f64(),
            delay_seconds: schedule.map_or(0.0, |schedule| schedule.delay(&config.key).as_secs_f64()),
            deadline_seconds: config.deadline.as_secs_f64(),
            outputs: config.outputs.clone(),
            transform,
            options: config.options.iter().map(|(key, setting)| (key.clone(), setting.text())).collect(),
            series: report.map_or(0, |report| report.series),
            series_at_most: worst_case_of_pipeline(config, cpus),
            is_check: config.checks().is_some(),
            targets: report.filter(|_| config.checks().is_some()).map(targets).unwrap_or_default(),
            state: report.map(|report| report.state.clone()).unwrap_or_default(),
        }
    }
}

/// The targets that the checks of a pipeline had.
fn targets(report: &Report) -> Vec<Target> {
    // With queries, what the input says stands beside theirs.
    let input = report.debug.get("input").unwrap_or(&report.debug);
    let all = input.get("targets").and_then(|targets| targets.as_array());
    let text = |of: &serde_json::Value, key: &str| {
        of.get(key).and_then(|text| text.as_str()).unwrap_or_default().to_owned()
    };
    let target = |of: &serde_json::Value| Target {
        target: text(of, "target"),
        outcome: text(of, "outcome"),
        message: text(of, "message"),
    };
    all.into_iter().flatten().map(target).collect()
}

impl Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |seconds: f64| format!("{:?}", Duration::from_secs_f64(seconds));
        let key = &self.pipeline;
        write!(f, "{key:<12} {:<12} {:>7}  ", self.state.word(), self.series)?;
        match (&self.from, &self.input) {
            (Some(from), _) => write!(f, "from {from}, ")?,
            (None, Some(input)) if input != key => write!(f, "input {input}, ")?,
            _ => {}
        }
        match self.interval_seconds {
            None if self.is_check => {
                write!(f, "when scraped, checked every {}", seconds(PACE.as_secs_f64()))?;
            }
            None => write!(f, "when scraped")?,
            Some(interval) => write!(f, "every {}", seconds(interval))?,
        }
        if self.offset_seconds > 0.0 {
            write!(f, " at {}", seconds(self.offset_seconds))?;
        }
        if self.delay_seconds > 0.0 {
            write!(f, " and {:.3}s later", self.delay_seconds)?;
        }
        write!(f, ", within {}", seconds(self.deadline_seconds))?;
        if self.outputs != [crate::config::PROMETHEUS] {
            write!(f, ", to {}", self.outputs.join(", "))?;
        }
        write!(f, ", at most {} series", self.series_at_most)?;
        let details = [self.state.variant(), self.state.reason()];
        let details: Vec<&str> = details.into_iter().filter(|detail| !detail.is_empty()).collect();
        if !details.is_empty() {
            write!(f, ": {}", details.join(": "))?;
        }
        writeln!(f)?;
        for (key, value) in self.options.iter().chain(&self.transform) {
            writeln!(f, "    {key} = {value}")?;
        }
        for Target { target, outcome, message } in &self.targets {
            let message = if message.is_empty() { String::new() } else { format!(": {message}") };
            writeln!(f, "    target {target}: {outcome}{message}")?;
        }
        Ok(())
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:<12} {:>7}  DETAIL", "PIPELINE", "STATE", "SERIES")?;
        self.pipelines.iter().try_for_each(|planned| write!(f, "{planned}"))?;
        if !self.off.is_empty() {
            writeln!(f, "off: {}", self.off.join(", "))?;
        }
        for output in &self.outputs {
            let path = output.path.as_deref().unwrap_or("the standard output");
            writeln!(f, "output {}: {} to {path}", output.output, output.format)?;
        }
        for task in self.tasks.iter().filter(|task| task.state != TaskState::Loaded) {
            let file = &task.file;
            let task_name =
                if task.task.is_empty() { String::new() } else { format!("task {}: ", task.task) };
            writeln!(f, "{file}:{task_name}{}", task.reason)?;
        }
        if self.verdict().is_ok() {
            writeln!(f, "the configuration is valid")?;
        }
        Ok(())
    }
}
