//! Processes, threads and open files of a PID namespace.

pub(super) mod record;
mod sum;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::sum::Sum;
use super::{EXECUTED, FAILURES, Inside, NetworkMode, PodInput, Request, collect_here, wire};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Label, Metric, Namespace, OptionDef, OptionValue, Source, Unit},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "processes",
    about: "Processes, threads and open files of a PID namespace.",
    prefix: "pitot_processes_",
    source: Source::Check(&CheckDef { namespaces: &[Namespace::Pid], as_target: true, executes: false }),
    cost: "two short files and a look at a third for each process, of 10,000 at the most",
    metrics: &[
        &EXECUTED,
        &FAILURES,
        &PRESENT,
        &UNREAD,
        &THREADS,
        &STATES,
        &OPEN_FILES,
        &OPEN_FILES_MOST,
        &OPEN_FILES_RATIO,
        &RESIDENT,
        &OLDEST,
        &YOUNGEST,
    ],
    options: &[OptionDef {
        key: "timeout",
        default: OptionValue::Duration(TIMEOUT),
        help: "How long one check may take in all.",
    }],
    open: |cx| Ok(Box::new(Processes { timeout: cx.options.duration("timeout") })),
};

const TIMEOUT: Duration = Duration::from_secs(2);
/// Processes that are looked at. A namespace with more has a fault that `present` shows.
const MOST: u64 = 10_000;

static PRESENT: Metric = Metric::gauge("present", "Processes of the namespace, zombies included.", &[]);
static UNREAD: Metric = Metric::gauge(
    "unread",
    "Processes past the first 10,000, of which nothing is known but that they are there.",
    &[],
);
static THREADS: Metric = Metric::gauge("threads", "Threads of all processes.", &[]);
static STATES: Metric = Metric::gauge(
    "states",
    "Processes by the state of their main thread, with the letters of ps.",
    &[Label::fixed("state", sum::STATES)],
);
static OPEN_FILES: Metric = Metric::gauge(
    "open_files",
    "Open files of all processes, those that several of them share once for each; kernels before 6.2 do not tell.",
    &[],
);
static OPEN_FILES_MOST: Metric =
    Metric::gauge("open_files_most", "Open files of the process that has the most.", &[]);
static OPEN_FILES_RATIO: Metric = Metric::gauge(
    "open_files_used_ratio",
    "Open files of the process that is nearest to its limit, as a share of that limit.",
    &[],
)
.unit(Unit::Ratio);
static RESIDENT: Metric = Metric::gauge(
    "resident_bytes",
    "Resident memory of all processes; what several of them share counts once for each.",
    &[],
)
.unit(Unit::Bytes);
static OLDEST: Metric = Metric::gauge(
    "oldest_start_time_seconds",
    "When the process was started that runs the longest, since 1970.",
    &[],
)
.unit(Unit::Seconds);
static YOUNGEST: Metric = Metric::gauge(
    "youngest_start_time_seconds",
    "When the process was started that was started last, since 1970.",
    &[],
)
.unit(Unit::Seconds);

/// The check.
#[derive(Debug)]
pub struct Processes {
    timeout: Duration,
}

/// What the helper is told: there is nothing to choose.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {}

impl Default for Processes {
    fn default() -> Self {
        Self { timeout: TIMEOUT }
    }
}

impl Input for Processes {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        collect_here(self, cx, acc)
    }

    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for Processes {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        Request::new(&DEF, &Settings {}, self.timeout)
    }

    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError> {
        let Settings {} = Request::settings(body)?;
        let procfs = inside.procfs()?;
        let sum = Sum::of(procfs, MOST, inside.deadline).map_err(InputError::other)?;
        report(&sum, response).map_err(InputError::other)
    }
}

fn report(sum: &Sum, response: &mut wire::Response) -> Result<(), wire::WireError> {
    let mut put = |metric, value: f64| response.put(&DEF, metric, &[], value);
    put(&PRESENT, (sum.read + sum.unread) as f64)?;
    put(&UNREAD, sum.unread as f64)?;
    put(&THREADS, sum.threads as f64)?;
    put(&RESIDENT, sum.resident_bytes() as f64)?;
    if let Some((oldest, youngest)) = sum.start_times() {
        put(&OLDEST, oldest)?;
        put(&YOUNGEST, youngest)?;
    }
    if let Some(files) = sum.open_files() {
        put(&OPEN_FILES, files.all as f64)?;
        put(&OPEN_FILES_MOST, files.most as f64)?;
        if let Some(nearest) = files.nearest {
            put(&OPEN_FILES_RATIO, nearest)?;
        }
    }
    for (letter, count) in sum::STATES.iter().zip(sum.states) {
        response.put(&DEF, &STATES, &[letter.as_bytes()], count as f64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
