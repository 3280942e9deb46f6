//! What the kernel says of single programs and maps.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use aya::{maps::MapInfo, programs::ProgramInfo, sys::Stats};
use tempfile::NamedTempFile;

use super::{
    Plan,
    event::{Bare, OBJECTS, pipe, system_calls},
    interrupted,
    median::median,
    server::Agent,
    table::Table,
};

pub(super) fn measure(plan: &Plan) -> Result<[Table; 2]> {
    let agent = Agent::start(&plan.pitot, &[], "", &OBJECTS)?;
    let bare = Bare::attach()?;
    let file = file(plan)?;
    let mut rounds: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    let stats = aya::sys::enable_stats(Stats::RunTime)?;
    for _ in 0..plan.rounds {
        let before = programs(&agent.pins.folder, &bare)?;
        pipe("0", plan.loops)?;
        pipe("0,1", plan.loops)?;
        system_calls(plan.calls)?;
        read(&file, plan)?;
        for (name, after) in programs(&agent.pins.folder, &bare)? {
            let Some(before) = before.get(&name) else { continue };
            let runs = after.run_count() - before.run_count();
            let took = after.run_time().saturating_sub(before.run_time());
            rounds.entry(name).or_default().push((runs, took.as_nanos() as f64 / runs as f64));
        }
    }
    drop(stats);

    let mut cost =
        Table::new("Cost of a run, by program", &["", "ns", "least", "most", "runs", "machine code bytes"]);
    for (name, info) in programs(&agent.pins.folder, &bare)? {
        let Some(rounds) = rounds.get(&name) else { continue };
        let each = || rounds.iter().map(|(_, ns)| *ns).filter(|ns| ns.is_finite());
        cost.row(vec![
            name,
            format!("{:.0}", median(each())),
            format!("{:.0}", each().fold(f64::INFINITY, f64::min)),
            format!("{:.0}", each().fold(0.0, f64::max)),
            rounds.iter().map(|(runs, _)| runs).sum::<u64>().to_string(),
            info.size_jitted().to_string(),
        ]);
    }
    cost.note(
        "run_time_ns / run_cnt of the kernel; the bare programs show what reading the clock around each \
               run makes of one that does next to nothing",
    );
    cost.note(
        "load: perf bench sched pipe on one CPU and on two, perf bench syscall basic, reads of a file past the \
         page cache",
    );
    Ok([cost, memory(&agent.pins.folder, &bare)?])
}

/// Those that the agent has pinned, and the bare ones.
fn programs(pins: &Path, bare: &Bare) -> Result<BTreeMap<String, ProgramInfo>> {
    let mut programs = BTreeMap::new();
    for object in fs::read_dir(pins)? {
        for pin in fs::read_dir(object?.path())? {
            let path = pin?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(name) = name.strip_prefix("prog-") {
                programs.insert(name.to_owned(), ProgramInfo::from_pin(&path)?);
            }
        }
    }
    for (name, program) in bare.object.programs() {
        programs.insert(name.to_owned(), program.info()?);
    }
    Ok(programs)
}

/// The maps of the agent's programs, those with settings included.
fn memory(pins: &Path, bare: &Bare) -> Result<Table> {
    let mut table = Table::new("Kernel memory", &["", "KiB", "entries", "value bytes"]);
    let mut maps = BTreeMap::new();
    let mut code = 0u64;
    for (name, info) in programs(pins, bare)? {
        if Bare::PROGRAMS.iter().any(|(bare, _)| *bare == name) {
            continue;
        }
        code += u64::from(info.memory_locked()?);
        for id in info.map_ids()?.unwrap_or_default() {
            let map = MapInfo::from_id(id)?;
            maps.insert(id, (memlock(&map)?, map));
        }
    }
    let kibibytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1024.0);
    for (bytes, map) in maps.values() {
        table.row(vec![
            map.name_as_str().unwrap_or_default().to_owned(),
            kibibytes(*bytes),
            map.max_entries().to_string(),
            map.value_size().to_string(),
        ]);
    }
    let sum = maps.values().map(|(bytes, _)| bytes).sum();
    table.row(vec!["all maps".into(), kibibytes(sum), String::new(), String::new()]);
    table.row(vec!["all programs".into(), kibibytes(code), String::new(), String::new()]);
    table.note("memlock in the kernel's fdinfo");
    Ok(table)
}

fn memlock(map: &MapInfo) -> Result<u64> {
    let fd = map.fd()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let value = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    value.and_then(|value| value.trim().parse().ok()).context("the kernel does not say memlock")
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
