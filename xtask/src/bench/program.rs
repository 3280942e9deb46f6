//! What the kernel says of single programs and maps.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use aya::{programs::ProgramInfo, sys::Stats};
use tempfile::NamedTempFile;

use super::{
    Plan, bounce,
    event::{Bare, pipe, system_calls},
    interrupted,
    median::median,
    memory::Memory,
    server::Agent,
    table::Table,
};

pub(super) fn measure(plan: &Plan) -> Result<[Table; 2]> {
    let agent = Agent::by_default(&plan.pitot)?;
    let bare = Bare::attach()?;
    let file = file(plan)?;
    let mut rounds: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    let stats = aya::sys::enable_stats(Stats::RunTime)?;
    for _ in 0..plan.rounds {
        let before = all(&agent.pins.folder, &bare)?;
        pipe("0", plan.loops)?;
        pipe("0,1", plan.loops)?;
        system_calls(plan.calls)?;
        read(&file, plan)?;
        bounce::connections(plan.connections)?;
        for (name, after) in all(&agent.pins.folder, &bare)? {
            let Some(before) = before.get(&name) else { continue };
            let runs = after.run_count() - before.run_count();
            let took = after.run_time().saturating_sub(before.run_time());
            rounds.entry(name).or_default().push((runs, took.as_nanos() as f64 / runs as f64));
        }
    }
    drop(stats);

    let columns = &["", "ns", "least", "most", "runs", "verified instructions", "machine code bytes"];
    let mut cost = Table::new("Cost of a run, by program", columns);
    for (name, info) in all(&agent.pins.folder, &bare)? {
        let Some(rounds) = rounds.get(&name) else { continue };
        let mut each: Vec<f64> = rounds.iter().map(|(_, ns)| *ns).filter(|ns| ns.is_finite()).collect();
        each.sort_by(f64::total_cmp);
        let shown = |ns: Option<f64>| ns.map_or_else(|| "–".to_owned(), |ns| format!("{ns:.0}"));
        cost.row(vec![
            name,
            shown((!each.is_empty()).then(|| median(each.iter().copied()))),
            shown(each.first().copied()),
            shown(each.last().copied()),
            rounds.iter().map(|(runs, _)| runs).sum::<u64>().to_string(),
            info.verified_instruction_count().map_or_else(|| "–".to_owned(), |count| count.to_string()),
            info.size_jitted().to_string(),
        ]);
    }
    cost.note(
        "run_time_ns / run_cnt of the kernel; the bare programs show what reading the clock around each \
               run makes of one that does next to nothing",
    );
    cost.note(
        "load: perf bench sched pipe on one CPU and on two, perf bench syscall basic, reads of a file past the \
         page cache, TCP connections that are made and refused",
    );
    cost.note(
        "verified: what the verifier walked through at the load, of the million at which it gives up; what can \
         not happen with the settings of this host is left out",
    );
    cost.note(agent.attached()?);
    Ok([cost, Memory::of(&agent.pins.folder)?.table()?])
}

/// The programs that the agent has pinned, and the bare ones.
fn all(pins: &Path, bare: &Bare) -> Result<BTreeMap<String, ProgramInfo>> {
    let mut programs = pinned(pins)?;
    for (name, program) in bare.object.programs() {
        programs.insert(name.to_owned(), program.info()?);
    }
    Ok(programs)
}

/// The programs that the agent has pinned, somewhere below a folder.
pub(super) fn pinned(pins: &Path) -> Result<BTreeMap<String, ProgramInfo>> {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(pins)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type()?.is_dir() {
            programs.extend(pinned(&path)?);
        } else if let Some(name) = name.strip_prefix("prog-") {
            programs.insert(name.to_owned(), ProgramInfo::from_pin(&path)?);
        }
    }
    Ok(programs)
}

/// A file to read, beside the binary: below /tmp there may be no disk.
fn file(plan: &Plan) -> Result<NamedTempFile> {
    let folder = plan.pitot.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix("bench-").tempfile_in(folder)?;
    let mut from = OsString::from("of=");
    from.push(file.path());
    dd(&[OsStr::new("if=/dev/zero"), &from, OsStr::new("conv=fsync")], plan.reads)?;
    Ok(file)
}

/// Reads past the page cache, a block at a time.
fn read(file: &NamedTempFile, plan: &Plan) -> Result<()> {
    let mut from = OsString::from("if=");
    from.push(file.path());
    dd(&[&from, OsStr::new("of=/dev/null"), OsStr::new("iflag=direct")], plan.reads)
}

fn dd(arguments: &[&OsStr], blocks: u32) -> Result<()> {
    interrupted()?;
    let mut dd = Command::new("dd");
    dd.args(arguments).arg("bs=4096").arg(format!("count={blocks}")).stderr(Stdio::null());
    ensure!(dd.status()?.success(), "dd of a file in target/ failed");
    Ok(())
}
