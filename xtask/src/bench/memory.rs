//! What the agent's programs and maps take of the kernel's memory.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::MapInfo;
use xtask::sources;

use super::{program::pinned, table::Table};

/// The maps of the agent's programs, those with settings included, and the programs.
pub(super) struct Memory {
    /// By the kernel's number: programs may share maps.
    maps: BTreeMap<u32, Map>,
    code: u64,
}

struct Map {
    bytes: u64,
    info: MapInfo,
}

impl Memory {
    /// Of what is pinned in this folder.
    pub(super) fn of(pins: &Path) -> Result<Self> {
        let (mut maps, mut code) = (BTreeMap::new(), 0);
        for info in pinned(pins)?.values() {
            code += u64::from(info.memory_locked()?);
            for id in info.map_ids()?.unwrap_or_default() {
                let info = MapInfo::from_id(id)?;
                maps.insert(id, Map { bytes: memlock(&info)?, info });
            }
        }
        Ok(Self { maps, code })
    }

    /// Of all maps.
    pub(super) fn bytes(&self) -> u64 {
        self.maps.values().map(|map| map.bytes).sum()
    }

    /// What each further CPU adds, by the maps that have an entry for each.
    pub(super) fn per_cpu(&self) -> Result<u64> {
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| anyhow!("{path}: {error}"))?;
        let names = of_every_cpu()?;
        let mut sum = 0;
        for map in self.maps.values().filter(|map| names.iter().any(|name| name == map.name())) {
            let entries = map.info.max_entries() as usize;
            ensure!(entries.is_multiple_of(cpus), "{} has not as many entries per CPU", map.name());
            sum += map.bytes / cpus as u64;
        }
        Ok(sum)
    }

    pub(super) fn table(&self) -> Result<Table> {
        let mut table =
            Table::new("Kernel memory", &["", "KiB", "entries", "value bytes", "bytes per entry"]);
        let kibibytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1024.0);
        for map in self.maps.values() {
            let entries = map.info.max_entries();
            table.row(vec![
                map.name().to_owned(),
                kibibytes(map.bytes),
                entries.to_string(),
                map.info.value_size().to_string(),
                (map.bytes / u64::from(entries.max(1))).to_string(),
            ]);
        }
        for (name, bytes) in [("all maps", self.bytes()), ("all programs", self.code)] {
            table.row(vec![name.into(), kibibytes(bytes), String::new(), String::new(), String::new()]);
        }
        table.note("memlock in the kernel's fdinfo");
        table.note(format!("each further CPU adds {} KiB to the maps", kibibytes(self.per_cpu()?)));
        Ok(table)
    }
}

impl Map {
    fn name(&self) -> &str {
        self.info.name_as_str().unwrap_or_default()
    }
}

/// The maps that have entries for each CPU, as the generated document says.
fn of_every_cpu() -> Result<Vec<String>> {
    let path = sources::root().join("docs/kernels.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let rows = text.lines().filter_map(|line| line.strip_suffix(" per possible CPU |"));
    let names = rows.filter_map(|row| Some(row.split('`').nth(1)?.to_owned()));
    let names: Vec<String> = names.collect();
    ensure!(!names.is_empty(), "{} names no map with an entry for each CPU", path.display());
    Ok(names)
}

fn memlock(map: &MapInfo) -> Result<u64> {
    let fd = map.fd()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let value = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    value.and_then(|value| value.trim().parse().ok()).context("the kernel does not say memlock")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_names_maps_of_every_cpu() {
        let names = super::of_every_cpu().unwrap();
        assert!(names.iter().any(|name| name == "TCP"), "{names:?}");
    }
}
