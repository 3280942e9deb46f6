//! From sources to a binary, and from a binary to its first page.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;
use xtask::sources;

use super::{Plan, median::median, server::Pins, table::Table};
use crate::shell;

pub(super) fn measure(plan: &Plan, with_build: bool) -> Result<Table> {
    let mut table = Table::new("Building and starting", &["", ""]);
    if with_build {
        let (took, size) = build()?;
        table.row(vec!["clean cargo build --release".into(), format!("{:.0} s", took.as_secs_f64())]);
        table.row(vec!["that binary".into(), mebibytes(size)]);
    }
    table.row(vec!["the binary measured here".into(), mebibytes(fs::metadata(&plan.pitot)?.len())]);
    if plan.root {
        let (mut fresh, mut adopted) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            let pins = Pins::new(&plan.pitot, "")?;
            fresh.push(start(&pins)?);
            adopted.push(start(&pins)?);
        }
        for (name, starts) in [("loading programs", &fresh), ("adopting pinned programs", &adopted)] {
            let first = median(starts.iter().map(|(took, _)| took.as_secs_f64() * 1e3));
            table.row(vec![format!("start to first page, {name}"), format!("{first:.0} ms")]);
        }
        let missing = fresh.iter().chain(&adopted).map(|(_, missing)| *missing).max().unwrap_or(0);
        table.row(vec!["inputs missing in the first page".into(), missing.to_string()]);
        table.note(format!("median of {} starts of all inputs", plan.rounds));
    } else {
        table.note("start to first page needs root");
    }
    Ok(table)
}

/// The time to the first page, and how many inputs deliver in the next one and not in it. (Single series may
/// be born later: a system call that nobody had made.)
fn start(pins: &Pins) -> Result<(Duration, usize)> {
    let begun = Instant::now();
    let mut server = pins.serve(&[])?;
    let first = server.first_page()?;
    let took = begun.elapsed();
    let second = server.first_page()?;
    Ok((took, inputs(&second).saturating_sub(inputs(&first))))
}

fn inputs(page: &[u8]) -> usize {
    let up = |line: &&str| line.starts_with("pitot_agent_input_up{") && line.ends_with(" 1");
    String::from_utf8_lossy(page).lines().filter(up).count()
}

fn build() -> Result<(Duration, u64)> {
    let folder = tempfile::tempdir()?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(sources::root())
        .args(["build", "--release", "--quiet", "--target-dir"])
        .arg(folder.path());
    let begun = Instant::now();
    shell::run(&mut cargo, &[])?;
    let binary: PathBuf = folder.path().join("release/pitot");
    Ok((begun.elapsed(), fs::metadata(binary)?.len()))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
