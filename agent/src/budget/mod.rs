//! The budget: what the agent may cost, and what it does about it when it costs more.
//!
//! Every window it measures itself, shows that to a machine that decides ([`governor`]), and has
//! the engine do what that says. What an input's restriction means is written in `docs/config.md`.

pub mod governor;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use self::governor::{Governor, Level, Limits, Share, Step, Window};
use crate::{
    bpf::{Figures, Guard, Program, Sampler},
    config::Budget,
    engine::{Engine, Usage},
    process::{self, Resident},
    sys, telemetry,
};

/// How long the kernel times its programs when the agent starts.
const FIRST_SLICE: Duration = Duration::from_secs(1);

impl Budget {
    /// The limits that the machine keeps.
    pub fn limits(&self) -> Limits {
        let limit = |value: f64| (value > 0.0).then_some(value);
        Limits {
            cpu: limit(self.cpu_percent).map(|percent| percent / 100.0),
            memory: limit(self.memory_mib).map(|mib| mib * 1024.0 * 1024.0),
        }
    }
}

/// What `/status` says about the budget.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// Allowed, in per cent of one CPU.
    pub cpu_percent_limit: Option<f64>,
    /// Used in the last window, with kernel programs where that is known.
    pub cpu_percent: f64,
    /// Of which kernel programs; none when the kernel did not time them.
    pub kernel_percent: Option<f64>,
    /// Allowed.
    pub memory_bytes_limit: Option<f64>,
    /// Held at the end of the last window.
    pub memory_bytes: f64,
    /// Inputs that are slowed or shed, and how.
    pub restricted: Vec<Restricted>,
}

impl Status {
    /// Before the first window has passed.
    fn of(limits: Limits) -> Self {
        let cpu_percent_limit = limits.cpu.map(|cpu| cpu * 100.0);
        Self { cpu_percent_limit, memory_bytes_limit: limits.memory, ..Self::default() }
    }
}

/// An input that is not run in full.
#[derive(Clone, Debug, Serialize)]
pub struct Restricted {
    /// Its name.
    pub input: String,
    /// In words.
    pub how: String,
}

/// A status that is written after every window.
pub type Board = Arc<Mutex<Status>>;

/// An input that the keeper has seen.
struct Known {
    key: String,
    /// Which of that key it was at the last look.
    id: u64,
    /// CPU time of its collections until then.
    cpu: Duration,
}

impl Known {
    fn new(usage: Usage) -> Self {
        Self { key: usage.key, id: usage.id, cpu: usage.cpu }
    }
}

/// Holds the budget for an engine.
pub struct Keeper {
    engine: Engine,
    /// The governor's sources: all inputs that there ever were, so that one which is removed and put again finds
    /// what was decided about it.
    inputs: Vec<Known>,
    governor: Governor,
    guard: Guard,
    sampler: Sampler,
    /// Statistics stay on after the first slice.
    times_programs: bool,
    resident: Resident,
    /// The last look: when, CPU time of the process.
    last: Option<(Instant, f64)>,
    /// Sources that are to be closed, and could not be yet.
    closing: Vec<usize>,
    board: Board,
}

impl Keeper {
    /// One for an engine which uses the guard's programs.
    pub fn new(engine: Engine, budget: &Budget, guard: Guard, sampler: Sampler) -> Self {
        let limits = budget.limits();
        export_limits(limits);
        let usage = engine.usage();
        Self {
            governor: Governor::new(limits, usage.iter().map(|usage| usage.rank)),
            inputs: usage.into_iter().map(Known::new).collect(),
            engine,
            guard,
            sampler,
            times_programs: budget.kernel_programs,
            resident: Resident::new(),
            last: None,
            closing: Vec::new(),
            board: Arc::new(Mutex::new(Status::of(limits))),
        }
    }

    /// Where the status is written.
    pub fn board(&self) -> Board {
        Arc::clone(&self.board)
    }

    /// Looks every window, for ever.
    pub async fn keep(mut self, window: Duration) {
        self.look();
        tokio::time::sleep(FIRST_SLICE).await;
        self.note_programs(&self.guard.figures());
        if !self.times_programs {
            self.sampler.release();
        }
        let mut tick = tokio::time::interval(window);
        // A window that begins late is none the shorter for it.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tick.tick().await;
            self.look();
        }
    }

    /// Measures what happened since the last look, decides and acts. The first look only begins a window.
    pub fn look(&mut self) {
        let figures = self.guard.figures();
        let timed = self.note_programs(&figures);
        let (now, cpu) = (Instant::now(), process::cpu_seconds().unwrap_or_default().iter().sum());
        let taken = self.taken();
        let Some((at, cpu_before)) = self.last.replace((now, cpu)) else { return };
        let window = (now - at).as_secs_f64();
        if window <= 0.0 {
            return;
        }
        let mut shares: Vec<Share> = taken
            .into_iter()
            .map(|taken| Share { collecting: taken.as_secs_f64() / window, ..Share::default() })
            .collect();
        self.add_kernel(&mut shares, &figures, timed);
        let kernel: f64 = shares.iter().map(|share| share.kernel).sum();
        let maps: f64 = shares.iter().map(|share| share.maps).sum();
        let used = Window {
            cpu: (cpu - cpu_before) / window + kernel,
            memory: self.resident.bytes().unwrap_or_default() + maps,
            shares: &shares,
        };
        export_use(&used);
        if let Some(step) = self.governor.step(&used) {
            self.act(step, &used);
        }
        self.closing.retain(|&source| !self.engine.close(&self.inputs[source].key, CLOSED));
        self.release_closed();
        self.note_status(&used, timed.map(|_| kernel));
    }

    /// What the collections of each input took since the last look. Inputs may have come and gone meanwhile.
    fn taken(&mut self) -> Vec<Duration> {
        let mut taken = vec![Duration::ZERO; self.inputs.len()];
        for usage in self.engine.usage() {
            let Some(at) = self.inputs.iter().position(|known| known.key == usage.key) else {
                self.governor.add(usage.rank);
                taken.push(usage.cpu);
                self.inputs.push(Known::new(usage));
                continue;
            };
            let known = &mut self.inputs[at];
            if known.id == usage.id {
                taken[at] = usage.cpu.saturating_sub(known.cpu);
                known.cpu = usage.cpu;
            } else {
                taken[at] = usage.cpu;
                *known = Known::new(usage);
                self.enforce(at);
            }
        }
        taken
    }

    /// Adds what the kernel says about each input's programs and maps. Those of another agent are on the
    /// bill of that one.
    fn add_kernel(&self, shares: &mut [Share], figures: &[Figures], timed: Option<Duration>) {
        if !self.guard.is_owner() {
            return;
        }
        let at = |object: &str| self.inputs.iter().position(|input| input.key == object);
        for (map, figures) in self.guard.programs.iter().zip(figures).filter(|(program, _)| program.is_map) {
            if let Some(at) = at(map.object) {
                shares[at].maps += figures.memlock as f64;
            }
        }
        let Some(span) = timed else { return };
        for program in self.sampler.sampled() {
            if let Some(at) = at(program.object) {
                shares[at].kernel += program.last_nanos() as f64 / 1e9 / span.as_secs_f64();
            }
        }
    }

    fn note_programs(&mut self, figures: &[Figures]) -> Option<Duration> {
        let timed = self.sampler.look(&self.guard.programs, figures);
        telemetry::note_programs(&self.guard.programs, figures);
        telemetry::note_sampled(&self.sampler);
        timed
    }

    /// Has the engine do what was decided.
    fn act(&mut self, step: Step, used: &Window<'_>) {
        let Step { source, from, to } = step;
        let input = self.inputs[source].key.as_str();
        let (percent, mib) = (used.cpu * 100.0, used.memory / 1024.0 / 1024.0);
        let figures = format!("the agent took {percent:.3} % of a CPU and {mib:.0} MiB");
        if to > from {
            tracing::warn!(input, "over the budget: {}; {figures}", words(to));
        } else {
            tracing::info!(input, "room in the budget: {}; {figures}", words(to));
        }
        counter!("pitot_agent_budget_steps_total", "to" => label(from, to)).increment(1);
        self.enforce(source);
    }

    /// Has the engine run an input as much as it was given.
    fn enforce(&mut self, source: usize) {
        let every = match self.governor.level(source) {
            Level::Full => 1,
            Level::Slowed(power) => 1 << power,
            Level::Shed => 0,
            Level::Closed => {
                if !self.closing.contains(&source) {
                    self.closing.push(source);
                }
                0
            }
        };
        // One that is gone meanwhile needs no restriction.
        let _gone = self.engine.restrict(&self.inputs[source].key, every);
    }

    /// Detaches the programs of inputs that have been closed, and gives their memory back.
    fn release_closed(&mut self) {
        let is_closed =
            |source: usize| self.governor.level(source) == Level::Closed && !self.closing.contains(&source);
        let mut released = false;
        for source in 0..self.inputs.len() {
            let input = &self.inputs[source].key;
            let has_programs = self.guard.programs.iter().any(|Program { object, .. }| object == input);
            if !is_closed(source) || !has_programs {
                continue;
            }
            released = true;
            if let Err(error) = self.guard.release(input) {
                tracing::warn!(input, error, "its kernel programs are still pinned, and go on");
            }
        }
        if released {
            sys::trim_memory();
        }
    }

    fn note_status(&self, used: &Window<'_>, kernel: Option<f64>) {
        let limits = self.governor.limits();
        let levels = self.inputs.iter().enumerate().map(|(at, input)| (&input.key, self.governor.level(at)));
        let restricted = levels
            .filter(|(_, level)| *level != Level::Full)
            .map(|(input, level)| Restricted { input: input.clone(), how: words(level) })
            .collect();
        *self.board.lock().unwrap_or_else(PoisonError::into_inner) = Status {
            cpu_percent: used.cpu * 100.0,
            kernel_percent: kernel.map(|kernel| kernel * 100.0),
            memory_bytes: used.memory,
            restricted,
            ..Status::of(limits)
        };
    }
}

/// Exports the limits; one that is not set has no series.
fn export_limits(limits: Limits) {
    telemetry::recorder();
    if let Some(cpu) = limits.cpu {
        gauge!("pitot_agent_budget_cpu_limit_ratio").set(cpu);
    }
    if let Some(memory) = limits.memory {
        gauge!("pitot_agent_budget_memory_limit_bytes").set(memory);
    }
}

fn export_use(used: &Window<'_>) {
    gauge!("pitot_agent_budget_cpu_used_ratio").set(used.cpu);
    gauge!("pitot_agent_budget_memory_used_bytes").set(used.memory);
}

/// Why a closed input is off.
const CLOSED: &str =
    "shed: the agent was over its budget; its kernel programs are detached until it is started again";

fn words(level: Level) -> String {
    match level {
        Level::Full => "collected in full".to_owned(),
        Level::Slowed(power) => format!("collected at one in {} occasions", 1 << power),
        Level::Shed => "shed".to_owned(),
        Level::Closed => "shed until the agent is started again".to_owned(),
    }
}

/// The step for a metric.
fn label(from: Level, to: Level) -> &'static str {
    match to {
        Level::Shed => "shed",
        Level::Closed => "closed",
        _ if to > from => "slower",
        _ => "back",
    }
}
