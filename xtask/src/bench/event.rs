//! What kernel programs add to the events that they count.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use aya::{Btf, Ebpf, programs::BtfTracePoint, sys::Stats};
use xtask::sources;

use super::{
    Plan, interrupted,
    median::{above, median, times},
    server::Agent,
    table::Table,
};

/// The agent's objects.
pub(super) const OBJECTS: [&str; 6] = ["sched", "syscall", "block", "tcp", "irq", "memory"];
/// Runs of one row in a round.
const RUNS: u32 = 5;

/// What is attached while an event is timed.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Off,
    Bare,
    BareStats,
    Syscall,
    Latency,
    All,
}

impl State {
    const ALL: [Self; 6] = [Self::Off, Self::Bare, Self::BareStats, Self::Syscall, Self::Latency, Self::All];

    const fn name(self) -> &'static str {
        match self {
            Self::Off => "nothing attached",
            Self::Bare => "bare counters",
            Self::BareStats => "bare counters, bpf_stats on",
            Self::Syscall => "pitot, syscall counts",
            Self::Latency => "pitot, syscall counts and latency",
            Self::All => "pitot, all by default",
        }
    }

    /// Attaches; what is returned detaches when it goes.
    fn enter(self, plan: &Plan) -> Result<Box<dyn std::any::Any>> {
        let latency = "[input.syscall]\nlatency = true\n";
        let only_syscall = ["--input=syscall"];
        Ok(match self {
            Self::Off => Box::new(()),
            Self::Bare => Box::new(Bare::attach()?),
            Self::BareStats => Box::new((Bare::attach()?, aya::sys::enable_stats(Stats::RunTime)?)),
            Self::Syscall => Box::new(Agent::start(&plan.pitot, &only_syscall, "", &["syscall"])?),
            Self::Latency => Box::new(Agent::start(&plan.pitot, &only_syscall, latency, &["syscall"])?),
            Self::All => Box::new(Agent::start(&plan.pitot, &[], "", &OBJECTS)?),
        })
    }
}

/// The counting programs that do nothing else, attached.
pub(super) struct Bare {
    pub(super) object: Ebpf,
}

impl Bare {
    /// The programs and their hooks.
    pub(super) const PROGRAMS: [(&'static str, &'static str); 2] =
        [("bare_enter", "sys_enter"), ("bare_switch", "sched_switch")];

    pub(super) fn attach() -> Result<Self> {
        let path = sources::prebuilt(&sources::root(), sources::REFERENCE);
        let mut object = Ebpf::load_file(&path).with_context(|| path.display().to_string())?;
        let types = Btf::from_sys_fs()?;
        for (name, hook) in Self::PROGRAMS {
            let program: &mut BtfTracePoint = object.program_mut(name).context(name)?.try_into()?;
            program.load(hook, &types)?;
            program.attach()?;
        }
        Ok(Self { object })
    }
}

/// One system call that does next to nothing.
pub(super) fn system_calls(count: u32) -> Result<f64> {
    // One CPU: moving between two is dearer than what is measured.
    perf(&["-c", "0", "perf", "bench", "syscall", "basic", "-l"], count)
}

/// Two tasks that wake each other: two switches and four system calls per loop.
pub(super) fn pipe(cpus: &str, count: u32) -> Result<f64> {
    perf(&["-c", cpus, "perf", "bench", "sched", "pipe", "-l"], count)
}

/// Microseconds per operation.
fn perf(arguments: &[&str], count: u32) -> Result<f64> {
    interrupted()?;
    let output = Command::new("taskset").args(arguments).arg(count.to_string()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "perf bench failed: {}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.trim().strip_suffix("usecs/op"));
    line.and_then(|line| line.trim().parse().ok()).with_context(|| format!("perf bench says {text}"))
}

/// The best of several runs: whatever disturbs makes them slower, never faster.
fn least(mut run: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        least = least.min(run()?);
    }
    Ok(least)
}

pub(super) fn measure(plan: &Plan) -> Result<[Table; 2]> {
    let mut calls = [const { Vec::new() }; State::ALL.len()];
    let mut switches = calls.clone();
    for _ in 0..plan.rounds {
        for (at, state) in State::ALL.into_iter().enumerate() {
            let attached = state.enter(plan)?;
            calls[at].push(least(|| system_calls(plan.calls))?);
            switches[at].push(least(|| pipe("0", plan.loops))?);
            drop(attached);
        }
    }
    let mut call = table("Cost of a system call", &calls);
    call.note(format!(
        "perf bench syscall basic, {} calls on one CPU; each round takes the best of {RUNS} runs of \
         every row",
        plan.calls
    ));
    call.note(format!(
        "first three columns: medians of {} rounds; then what the best rounds say",
        plan.rounds
    ));
    let mut pipe = table("Cost of a round trip through a pipe", &switches);
    pipe.note(format!(
        "perf bench sched pipe, {} round trips on one CPU: two switches and four system calls each",
        plan.loops
    ));
    Ok([call, pipe])
}

fn table(title: &'static str, runs: &[Vec<f64>]) -> Table {
    let columns =
        &["", "us", "x bare", "added ns", "best us", "best x bare", "best added ns", "added x bare"];
    let mut table = Table::new(title, columns);
    let (off, bare) = (&runs[0], &runs[1]);
    let best = |run: &[f64]| run.iter().copied().fold(f64::INFINITY, f64::min);
    for (state, run) in State::ALL.iter().zip(runs) {
        let added = best(run) - best(off);
        table.row(vec![
            state.name().to_owned(),
            format!("{:.4}", median(run.iter().copied())),
            format!("{:.2}", times(run, bare)),
            format!("{:.0}", above(run, off) * 1e3),
            format!("{:.4}", best(run)),
            format!("{:.2}", best(run) / best(bare)),
            format!("{:.0}", added * 1e3),
            format!("{:.2}", added / (best(bare) - best(off))),
        ]);
    }
    table
}
