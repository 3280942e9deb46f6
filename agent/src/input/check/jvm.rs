//! Heap, garbage collection, threads and classes of Java virtual machines, from what they publish in files.
//!
//! A machine keeps its counters in `/tmp/hsperfdata_USER/PID`, mapped, for as long as it runs. Reading the file does
//! not stop, attach to or even wake it. A machine that was killed leaves its file behind, so a file counts only if its
//! process is there, and is not younger than what the file says.

mod files;
mod machine;
mod metrics;
mod perfdata;
mod report;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::{files::Files, machine::Machine, perfdata::Flaw, report::Report};
use super::{
    Dir, EXECUTED, FAILURES, Inside, NetworkMode, PodInput, Request, collect_here, processes::record::Record,
    wire,
};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Namespace, OptionDef, OptionValue, Source},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "jvm",
    about: "Heap, garbage collection, threads and classes of Java virtual machines, from what they publish in files.",
    prefix: "pitot_jvm_",
    source: Source::Check(&CheckDef { namespaces: &[Namespace::Pid], as_target: true, executes: false }),
    cost: "one file of 32 KiB for each machine, of 20 at the most",
    metrics: &metrics::ALL,
    options: &[OptionDef {
        key: "timeout",
        default: OptionValue::Duration(TIMEOUT),
        help: "How long one check may take in all.",
    }],
    open: |cx| Ok(Box::new(Jvm { timeout: cx.options.duration("timeout") })),
};

const TIMEOUT: Duration = Duration::from_secs(2);
/// Machines that are reported.
const MOST: u32 = 20;
/// A file has 32 KiB unless the machine was told otherwise.
const LONGEST: u64 = 1 << 20;
/// The line of numbers of a process is never longer.
const LONGEST_STAT: u64 = 4096;
/// By then a machine has told what it will tell.
const SETTLED: Duration = Duration::from_secs(5);
/// Between the clock of the machine and that of its process.
const TOLERANCE: Duration = Duration::from_secs(1);
/// The same where the clock may have been set in between.
const TOLERANCE_OF_WALL: Duration = Duration::from_secs(60);

/// The check.
#[derive(Debug)]
pub struct Jvm {
    timeout: Duration,
}

/// What the helper is told: there is nothing to choose.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {}

impl Default for Jvm {
    fn default() -> Self {
        Self { timeout: TIMEOUT }
    }
}

impl Input for Jvm {
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

impl PodInput for Jvm {
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
        let files = Files::of(&inside.root, inside.deadline).map_err(InputError::other)?;
        let mut report = Report::new(response);
        report.leave_out("past_bound", files.past_bound);
        report.leave_out("denied", files.denied);
        for (pid, path) in &files.list {
            if report.machines == MOST {
                report.leave_out("past_bound", 1);
            } else if let Err(reason) =
                look(pid, path, inside, procfs, &mut report).map_err(InputError::other)?
            {
                report.leave_out(reason, 1);
            }
        }
        report.finish().map_err(InputError::other)
    }
}

/// Reports one machine, or says why not.
fn look(
    pid: &str,
    path: &str,
    inside: &Inside,
    procfs: &Dir,
    report: &mut Report<'_>,
) -> Result<Result<(), &'static str>, wire::WireError> {
    // Before the file, so that it is not younger than what it says.
    let line = procfs.read(&format!("{pid}/stat"), LONGEST_STAT);
    let Some(process) =
        line.ok().and_then(|line| Record::parse(&line)).filter(|process| process.state != b'Z')
    else {
        return Ok(Err("ended"));
    };
    let file = match inside.root.read(path, LONGEST) {
        Ok(file) => file,
        Err(error) => return Ok(Err(files::kind(&error))),
    };
    let machine = match Machine::of(&file) {
        Ok(machine) => machine,
        Err(Flaw::Starting) => return Ok(Err("starting")),
        Err(Flaw::Format) => return Ok(Err("format")),
    };
    // It says what was started only a moment after it says anything. One that is part of another program never does.
    if machine.main().is_empty() && machine.uptime().is_none_or(|uptime| uptime < SETTLED) {
        return Ok(Err("starting"));
    }
    // The number of the process is that of another one now.
    let longer = |uptime, tolerance| process.age().is_none_or(|age| uptime > age + tolerance);
    let is_older = match (machine.uptime(), machine.since_it_began()) {
        (Some(uptime), _) => longer(uptime, TOLERANCE),
        (None, Some(uptime)) => longer(uptime, TOLERANCE_OF_WALL),
        (None, None) => false,
    };
    if report.has(pid) || is_older {
        return Ok(Err("ended"));
    }
    report.add(pid, &machine).map(Ok)
}

#[cfg(test)]
mod tests;
