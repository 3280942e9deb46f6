//! What is wanted, from the agent's file and its tasks, and a running agent that is made to fit it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use metrics::counter;
use serde::Serialize;

use super::{
    directory::scan,
    outputs::Outputs,
    reconcile::{Build, Diff, Reconciler, Runtime},
    resolve::Surroundings,
    shelf::{Shelf, TaskState, TaskStatus, Wanted},
};
use crate::{
    config::{Config, PipelineConfig},
    pipeline::{Kit, Opening, Pipeline, build},
    telemetry,
};

/// Reads the configuration anew, file and command line; the error is everything that is wrong, a line each.
pub type Read = Box<dyn Fn() -> Result<Config, String> + Send>;

/// Why a reload is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// A file has changed.
    Change,
    /// `POST /-/reload`.
    Request,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::Change => "a changed file",
            Self::Request => "a request",
        })
    }
}

/// The configuration and the tasks of an agent as it starts.
pub struct Setup {
    /// The configuration.
    pub config: Config,
    shelf: Shelf,
    tasks: Wanted,
}

impl Setup {
    /// Looks for the tasks of a configuration. What is wrong with them is noted and logged, and no error.
    pub fn new(config: Config) -> Self {
        let mut shelf = Shelf::default();
        let tasks = settle(&mut shelf, &config);
        log(&[], &tasks.statuses);
        Self { config, shelf, tasks }
    }

    /// All pipelines: those of the configuration, then those of tasks.
    pub fn pipelines(&self) -> impl Iterator<Item = &PipelineConfig> {
        self.config.pipelines.iter().chain(&self.tasks.pipelines)
    }

    /// The configuration with the pipelines of tasks among its own.
    pub fn whole(&self) -> Config {
        Config { pipelines: self.pipelines().cloned().collect(), ..self.config.clone() }
    }

    /// What became of the tasks.
    pub fn tasks(&self) -> &[TaskStatus] {
        &self.tasks.statuses
    }
}

fn settle(shelf: &mut Shelf, config: &Config) -> Wanted {
    let found = config.tasks.as_deref().map_or_else(|| Ok(Vec::new()), scan);
    let hostname = nix::unistd::gethostname().unwrap_or_default();
    let hostname = hostname.to_string_lossy();
    shelf.settle(found, Surroundings { config, hostname: &hostname })
}

/// What `/status` shows of reloads.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// When the configuration was last read, in seconds since 1970.
    pub last_seconds: f64,
    /// Whether that was right, so that what runs is what the file says.
    pub is_current: bool,
    /// Everything that was wrong with it, a line each.
    pub problems: Vec<String>,
    /// What the last change of what runs was.
    pub changes: Diff,
    /// What became of tasks.
    pub tasks: Vec<TaskStatus>,
    /// The pipelines that run.
    pub pipelines: Vec<Running>,
    /// Whether `POST /-/reload` is served.
    pub endpoint: bool,
}

/// How a pipeline is configured that runs.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    /// Its name.
    pub pipeline: String,
    /// The input that it collects, if it collects one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The pipeline that it takes from, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its queries as SQL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
    /// Keys that are not at their defaults, and their values as they would stand in the file.
    pub settings: BTreeMap<&'static str, String>,
}

impl Running {
    fn all(reconciler: &Reconciler) -> Vec<Self> {
        let one = |config: &PipelineConfig| Self {
            pipeline: config.key.clone(),
            input: config.input.clone(),
            from: config.from.clone(),
            queries: config.queries.iter().map(ToString::to_string).collect(),
            settings: config.given().into_iter().filter(|(key, _)| *key != "sql").collect(),
        };
        reconciler.running().filter(|config| config.enabled).map(one).collect()
    }
}

/// A status that is written by every reload.
pub type Board = Arc<Mutex<Status>>;

/// Makes a running agent fit its configuration.
pub struct Reloader {
    read: Read,
    /// What cannot change is as it was at start.
    running: Config,
    shelf: Shelf,
    reconciler: Reconciler,
    kit: Kit,
    outputs: Outputs,
    runtime: Box<dyn Runtime>,
    board: Board,
}

impl Reloader {
    /// One for an agent that was started from this.
    pub fn new(read: Read, setup: Setup, kit: Kit, outputs: Outputs, runtime: Box<dyn Runtime>) -> Self {
        let reconciler = Reconciler::new(setup.pipelines().cloned());
        let status = Status {
            last_seconds: seconds(),
            is_current: true,
            tasks: setup.tasks.statuses,
            pipelines: Running::all(&reconciler),
            endpoint: setup.config.reload.endpoint,
            ..Status::default()
        };
        telemetry::note_tasks(count(&status.tasks), true);
        let board = Arc::new(Mutex::new(status));
        Self { read, running: setup.config, shelf: setup.shelf, reconciler, kit, outputs, runtime, board }
    }

    /// Where the status is written.
    pub fn board(&self) -> Board {
        Arc::clone(&self.board)
    }

    /// The configuration that holds now.
    pub fn config(&self) -> &Config {
        &self.running
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the configuration and the tasks, and makes what runs fit them. With a problem in the configuration,
    /// nothing changes, and the problems are the error. Blocks on files.
    pub fn reload(&mut self, cause: Cause) -> Result<Diff, Vec<String>> {
        let config = match (self.read)() {
            Ok(config) => config,
            Err(problems) => return Err(self.refuse(problems.lines().map(str::to_owned).collect(), cause)),
        };
        let other = match self.outputs.update(&config.outputs) {
            Ok(other) => other,
            Err(error) => return Err(self.refuse(vec![format!("cannot start an output: {error}")], cause)),
        };
        let mut restart = self.running.restart_needed(&config);
        let tasks = settle(&mut self.shelf, &config);
        let mut builder = Builder { kit: &self.kit, outputs: &self.outputs };
        let wanted = config.pipelines.iter().chain(&tasks.pipelines).cloned().collect();
        let mut diff = self.reconciler.reconcile(wanted, &other, &mut builder, &mut *self.runtime);
        restart.append(&mut diff.needs_restart);
        diff.needs_restart = restart;
        // What holds from now on; all else stays as it was at start, and is compared with that again.
        (self.running.tasks, self.running.reload) = (config.tasks, config.reload);
        self.running.outputs = config.outputs;
        self.running.pipelines = config.pipelines;

        counter!("pitot_agent_reloads_total", "result" => if diff.is_empty() { "unchanged" } else { "changed" })
            .increment(1);
        telemetry::note_tasks(count(&tasks.statuses), true);
        let mut status = self.status();
        log(&status.tasks, &tasks.statuses);
        let is_new =
            !diff.is_empty() || !status.is_current || diff.needs_restart != status.changes.needs_restart;
        if is_new || cause != Cause::Change {
            tell(&diff, cause);
        }
        (status.last_seconds, status.is_current) = (seconds(), true);
        status.problems.clear();
        status.tasks = tasks.statuses;
        status.pipelines = Running::all(&self.reconciler);
        status.endpoint = self.running.reload.endpoint;
        if diff.is_empty() {
            status.changes.needs_restart.clone_from(&diff.needs_restart);
        } else {
            status.changes = diff.clone();
        }
        drop(status);
        Ok(diff)
    }

    /// Notes problems; those that are known are not logged again for a change of a file.
    fn refuse(&self, problems: Vec<String>, cause: Cause) -> Vec<String> {
        counter!("pitot_agent_reloads_total", "result" => "refused").increment(1);
        let mut status = self.status();
        if status.problems != problems || cause != Cause::Change {
            let lines = problems.join("\n");
            tracing::warn!("the configuration is wrong, and what runs stays as it is ({cause}):\n{lines}");
        }
        (status.last_seconds, status.is_current) = (seconds(), false);
        telemetry::note_tasks(count(&status.tasks), false);
        status.problems.clone_from(&problems);
        problems
    }
}

/// Builds pipelines while the agent runs.
struct Builder<'a> {
    kit: &'a Kit,
    outputs: &'a Outputs,
}

impl Build for Builder<'_> {
    fn build(&mut self, config: &PipelineConfig, is_heir: bool) -> Box<dyn Pipeline> {
        let mut pipeline = build(config, self.kit, if is_heir { Opening::Heir } else { Opening::Late });
        pipeline.connect(self.outputs.connect(&config.outputs, &config.key));
        pipeline
    }
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// How many tasks are in each state.
fn count(tasks: &[TaskStatus]) -> [(&'static str, usize); 3] {
    TaskState::ALL.map(|(state, name)| (name, tasks.iter().filter(|task| task.state == state).count()))
}

/// Says what has become of tasks that was not so before.
fn log(before: &[TaskStatus], now: &[TaskStatus]) {
    let known: BTreeSet<_> =
        before.iter().map(|task| (&task.task, &task.file, task.state, &task.reason)).collect();
    for task in now.iter().filter(|task| !known.contains(&(&task.task, &task.file, task.state, &task.reason)))
    {
        let (key, file, reason) = (task.task.as_str(), task.file.as_str(), task.reason.as_str());
        match task.state {
            TaskState::Loaded => {
                // Where it was wrong before, that it is right again is news.
                if before.iter().any(|old| old.task == task.task && old.state != TaskState::Loaded) {
                    tracing::info!(task = key, file, "runs as its file says");
                }
            }
            TaskState::Stale => tracing::warn!(task = key, file, reason, "an earlier version of it goes on"),
            TaskState::Refused => tracing::warn!(task = key, file, reason, "refused"),
        }
    }
}

fn tell(diff: &Diff, cause: Cause) {
    let changed: Vec<String> = diff
        .changed
        .iter()
        .map(|changed| format!("{} ({})", changed.pipeline, changed.keys.join(", ")))
        .collect();
    let mut said = Vec::new();
    for (what, names) in [("added", &diff.added), ("changed", &changed), ("removed", &diff.removed)] {
        if !names.is_empty() {
            said.push(format!("{what}: {}", names.join(", ")));
        }
    }
    if said.is_empty() {
        said.push("nothing changed".to_owned());
    }
    tracing::info!("reloaded for {cause}: {}; {} pipelines untouched", said.join("; "), diff.untouched);
    if !diff.needs_restart.is_empty() {
        tracing::warn!("needs a restart: {}", diff.needs_restart.join(", "));
    }
}
