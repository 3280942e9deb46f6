//! What a series costs from its sample to its line.

use std::process::Command;

use anyhow::{Result, ensure};
use xtask::sources;

use super::{Plan, table::Table};

/// Runs the example that measures inside the library, in this build's profile of releases.
pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let mut table = Table::new("A series", &["", "cycle", "text", "OpenMetrics", "protobuf"]);
    let mut cargo = Command::new("cargo");
    let cycles = (plan.rounds * 20).to_string();
    cargo
        .current_dir(sources::root())
        .args(["run", "--release", "--quiet", "--package", "pitot", "--example", "series", "--"])
        .arg(cycles);
    let output = cargo.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8(output.stdout)?.lines().skip(1) {
        // The name, which has words, and four figures.
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let figures = words.split_off(words.len().saturating_sub(4));
        let cells = [words.join(" ")].into_iter().chain(figures.into_iter().map(Into::into));
        table.row(cells.collect());
    }
    table.note("nanoseconds per series, the best of many cycles of 100,000 series in one thread");
    table.note("a cycle is collecting, interning and transforming; pages are by the series that they show");
    Ok(table)
}
