//! `cargo xtask bench`: what pitot costs, beside what others cost for the same.
//!
//! Times of one machine say little, and on a shared one they are noise. So everything that is compared is
//! measured in the same run, in turns (A B C, A B C, ..), and what is printed is the median of the rounds;
//! differences and ratios are taken within each round.

mod bars;
mod bounce;
mod build;
mod event;
mod http;
mod median;
mod memory;
mod process;
mod program;
mod scrape;
mod series;
mod server;
mod table;
mod toggled;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, ensure};
use aya::programs::{ProgramInfo, loaded_programs};
use clap::ValueEnum;
use xtask::sources;

use crate::shell;

/// What is measured, and how it is printed.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Fewer and shorter rounds: the order of magnitude.
    #[arg(long)]
    quick: bool,
    /// Print markdown.
    #[arg(long)]
    markdown: bool,
    /// Also time a clean release build.
    #[arg(long)]
    build: bool,
    /// Measure only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// The agent's binary; without it, target/release/pitot is built.
    #[arg(long, value_name = "FILE")]
    pitot: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// What a scrape costs.
    Scrape,
    /// What is added to system calls and switches; needs root and perf.
    Event,
    /// What may be added at most, and what is; needs root and perf.
    Bars,
    /// What single programs and maps cost; needs root and perf.
    Program,
    /// Size and time to start.
    Start,
    /// What a series costs from its sample to its line.
    Series,
}

/// How much is done.
struct Plan {
    pitot: PathBuf,
    root: bool,
    rounds: u32,
    /// Scrapes of a peer in a round.
    scrapes: u32,
    /// System calls in a run.
    calls: u32,
    /// Round trips in a run.
    loops: u32,
    /// Turns without an agent and with one.
    turns: u32,
    /// TCP connections in a round.
    connections: u32,
    /// Blocks read from a disk in a round.
    reads: u32,
    /// Scrapes of an agent that is scraped once a second.
    seconds: u64,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends a measurement early, by the ordinary way out: what was started is stopped and removed.
fn interrupted() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))?;
    let plan = Plan {
        pitot: options.pitot.clone().map_or_else(build_agent, Ok)?,
        root: nix::unistd::geteuid().is_root(),
        rounds: if options.quick { 3 } else { 9 },
        scrapes: if options.quick { 200 } else { 500 },
        calls: if options.quick { 100_000 } else { 500_000 },
        loops: if options.quick { 10_000 } else { 50_000 },
        turns: if options.quick { 50 } else { 250 },
        connections: if options.quick { 500 } else { 2_000 },
        reads: if options.quick { 1_000 } else { 5_000 },
        seconds: if options.quick { 10 } else { 60 },
    };
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    let mut tables = Vec::new();
    let mut missing: Vec<String> = disturbance(&plan).into_iter().collect();
    if wanted(Part::Scrape) {
        tables.push(scrape::measure(&plan).context("scrapes")?);
    }
    let need = need(&plan);
    let in_the_kernel = [
        (Part::Event, "the cost of events"),
        (Part::Bars, "what may be added"),
        (Part::Program, "the cost of programs"),
    ];
    for (part, what) in in_the_kernel {
        if !wanted(part) {
            continue;
        }
        match &need {
            Some(need) => missing.push(format!("{what} was not measured: {need}")),
            None if part == Part::Event => tables.extend(event::measure(&plan).context("events")?),
            None if part == Part::Bars => tables.push(bars::measure(&plan).context("bars")?),
            None => tables.extend(program::measure(&plan).context("programs")?),
        }
    }
    if wanted(Part::Start) || options.build {
        tables.push(build::measure(&plan, options.build).context("start")?);
    }
    if wanted(Part::Series) {
        tables.push(series::measure(&plan).context("series")?);
    }
    for table in tables {
        println!("\n{}", table.text(options.markdown));
    }
    for line in missing {
        println!("{line}");
    }
    Ok(())
}

fn build_agent() -> Result<PathBuf> {
    // Where this program lies is where cargo puts things.
    let this = env::current_exe()?;
    let target = this.parent().and_then(Path::parent).context("no target folder")?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(sources::root()).args(["build", "--release", "--quiet", "--target-dir"]).arg(target);
    shell::run(&mut cargo, &[])?;
    Ok(target.join("release/pitot"))
}

/// What is missing for measuring events.
fn need(plan: &Plan) -> Option<&'static str> {
    if !plan.root {
        Some("it needs root")
    } else if shell::output("perf", &["--version"]).is_none() {
        Some("it needs perf (apt-get install linux-perf)")
    } else {
        None
    }
}

/// Programs of others slow the same events, whatever is measured.
fn disturbance(plan: &Plan) -> Option<String> {
    // As the kernel numbers them: kprobe, tracepoint, perf event, raw tracepoint and those with BTF.
    const TRACING: [u32; 5] = [2, 5, 7, 17, 26];
    if !plan.root {
        return None;
    }
    let tracing = |program: &ProgramInfo| TRACING.contains(&(program.program_type() as u32));
    let others = loaded_programs().flatten().filter(tracing).count();
    (others > 0).then(|| format!("{others} tracing programs of others were loaded: they slow every row"))
}
