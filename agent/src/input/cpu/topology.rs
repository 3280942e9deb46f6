//! Which CPUs there are, and the counters of their cores and packages. Read when the set of CPUs changes;
//! from then on only the counters are.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{CORE_THROTTLES, ISOLATED, ONLINE, PACKAGE_THROTTLES};
use crate::{
    accumulator::Accumulator,
    source::{File, NumberFile, Roots, SourceError, numbered},
};

/// What `/sys/devices/system/cpu` shows.
#[derive(Debug, Default)]
pub(super) struct Topology {
    isolated: Vec<String>,
    online: Vec<(String, bool)>,
    /// By package and core.
    cores: Vec<([String; 2], NumberFile)>,
    packages: Vec<(String, NumberFile)>,
}

impl Topology {
    /// Looks at every CPU.
    pub(super) fn read(roots: &Roots) -> Result<Self, SourceError> {
        let dir = roots.sysfs.join("devices/system/cpu");
        // In the order of their names, in which node_exporter takes the first CPU of a core and of a package
        // for the whole: the counts of its siblings may differ.
        let names = numbered(&dir, "cpu");
        let number = |name: &str, path: &str| NumberFile::new(dir.join(name).join(path));

        let mut cores = BTreeMap::new();
        let mut packages = BTreeMap::new();
        for name in &names {
            let Ok(package) = number(name, "topology/physical_package_id").read() else { continue };
            let Ok(core) = number(name, "topology/core_id").read() else { continue };
            keep_first(cores.entry((package, core)), || number(name, "thermal_throttle/core_throttle_count"));
            keep_first(packages.entry(package), || number(name, "thermal_throttle/package_throttle_count"));
        }

        // A kernel that cannot take out its first CPU has no such file there, and then none counts.
        let can_go = names.first().is_some_and(|first| dir.join(first).join("online").exists());
        let online = names.iter().filter(|_| can_go).map(|name| {
            let cpu = name.strip_prefix("cpu").unwrap_or(name).to_owned();
            (cpu, matches!(number(name, "online").read(), Ok(1)))
        });

        Ok(Self {
            isolated: isolated(&mut File::new(dir.join("isolated")))?,
            online: online.collect(),
            cores: cores.into_iter().map(|((p, c), file)| ([p.to_string(), c.to_string()], file)).collect(),
            packages: packages.into_iter().map(|(package, file)| (package.to_string(), file)).collect(),
        })
    }

    /// Delivers what was found, and the counters as they are now.
    pub(super) fn collect(&mut self, acc: &mut dyn Accumulator) {
        // A count that cannot be read belongs to a CPU that is just being taken out.
        for ([package, core], file) in &mut self.cores {
            if let Ok(count) = file.read() {
                acc.put(&CORE_THROTTLES, &[package.as_bytes(), core.as_bytes()], count);
            }
        }
        for (package, file) in &mut self.packages {
            if let Ok(count) = file.read() {
                acc.put(&PACKAGE_THROTTLES, &[package.as_bytes()], count);
            }
        }
        for cpu in &self.isolated {
            acc.put(&ISOLATED, &[cpu.as_bytes()], 1.0);
        }
        for (cpu, online) in &self.online {
            acc.put(&ONLINE, &[cpu.as_bytes()], *online);
        }
    }
}

/// Keeps the first counter that can be read.
fn keep_first<K: Ord>(entry: Entry<'_, K, NumberFile>, file: impl FnOnce() -> NumberFile) {
    if let Entry::Vacant(entry) = entry {
        let mut file = file();
        if file.read().is_ok() {
            entry.insert(file);
        }
    }
}

/// The CPUs that the scheduler leaves alone.
fn isolated(file: &mut File) -> Result<Vec<String>, SourceError> {
    match file.read() {
        Ok(content) => {
            let list = content.bytes().trim_ascii();
            cpu_list(list).ok_or_else(|| content.malformed("CPUs such as 1,3-5", list))
        }
        Err(error) if error.is_missing() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A list such as `1,3-5`, which rises.
fn cpu_list(list: &[u8]) -> Option<Vec<String>> {
    let mut cpus = Vec::new();
    let mut next = 0;
    for range in list.split(|&byte| byte == b',').filter(|_| !list.is_empty()) {
        let range = std::str::from_utf8(range).ok()?;
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to) = (from.parse::<u16>().ok()?, to.parse::<u16>().ok()?);
        if u32::from(from) < next || to < from {
            return None;
        }
        cpus.extend((from..=to).map(|cpu| cpu.to_string()));
        next = u32::from(to) + 1;
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accumulator::MemoryAccumulator, input::testing::Tree};

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list(b"1,3-5,9").unwrap(), ["1", "3", "4", "5", "9"]);
        assert_eq!(cpu_list(b"").unwrap(), [""; 0]);
        for bad in ["x", "1,", "3-", "5-3", "1,1", "0-65536", "1-3:1/2"] {
            assert_eq!(cpu_list(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_first_cpu_of_a_core_counts_for_it() {
        let tree = Tree::new(&[]);
        for (cpu, core, count) in [(0, 0, 5), (2, 1, 7), (10, 1, 9)] {
            let dir = format!("sys/devices/system/cpu/cpu{cpu}");
            tree.write(&format!("{dir}/topology/physical_package_id"), b"0\n");
            tree.write(&format!("{dir}/topology/core_id"), format!("{core}\n").as_bytes());
            let count = format!("{count}\n");
            tree.write(&format!("{dir}/thermal_throttle/core_throttle_count"), count.as_bytes());
        }
        let mut acc = MemoryAccumulator::new();
        Topology::read(&tree.roots()).unwrap().collect(&mut acc);
        assert_eq!(acc.number("cpu_core_throttles_total", &["0", "0"]), Some(5.0));
        assert_eq!(acc.number("cpu_core_throttles_total", &["0", "1"]), Some(9.0));
        assert_eq!(acc.samples().len(), 2);
    }
}
