//! The kernel's own pass over a hierarchy: one read for the figures of all its control groups.

mod noted;

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::atomic::Ordering};

use nix::unistd::{SysconfVar, sysconf};
use pitot_common::cgroup::{RECORDS, has, header, record};

pub(super) use self::noted::Record;
use self::noted::Words;
use crate::{
    bpf::{Loader, Opened, Settings, iter::Records, map::View},
    catalogue::{BpfDef, Entries, Field, Hook, KernelVersion, MapDef, ProgramKind, Unsupported, Variant},
    input::InputError,
    source::{
        Roots,
        hierarchies::{self, Controller, Hierarchy},
    },
};

const fn field(setting: &'static str, paths: &'static [&'static str], loses: &'static str) -> Field {
    Field { setting, paths, loses }
}

const PRESSURE: &str = "pressure";
const MEMORY: &str = "memory";
const CPU: &str = "throttling";
const PIDS: &str = "tasks";

const PASS: Variant = Variant { program: "cgroup", kind: ProgramKind::Iter, loses: "" };
/// The kernel of 6.1 that was tested takes hierarchies of version 1; one that does not has their files read.
const FIRST_PASS: &[Variant] = &[
    PASS,
    Variant {
        program: "",
        kind: ProgramKind::Nothing,
        loses: "pass over a hierarchy of version 1, whose files are read instead",
    },
];

pub(super) static BPF: BpfDef = BpfDef {
    object: "cgroup",
    hooks: &[
        Hook { name: "cgroup", variants: &[PASS], when: "UNIFIED" },
        Hook { name: "cgroup:memory", variants: FIRST_PASS, when: "FIRST_MEMORY" },
        Hook { name: "cgroup:cpu", variants: FIRST_PASS, when: "FIRST_CPU" },
        Hook { name: "cgroup:pids", variants: FIRST_PASS, when: "FIRST_PIDS" },
    ],
    fields: &[
        field("META_SESSION", &["bpf_iter_meta.session_id"], ""),
        field("META_NUMBER", &["bpf_iter_meta.seq_num"], ""),
        field("CG_KN", &["cgroup.kn"], ""),
        field("KN_ID", &["kernfs_node.id"], ""),
        field("CG_ROOT", &["cgroup.root"], ""),
        field("ROOT_HIERARCHY", &["cgroup_root.hierarchy_id"], ""),
        field("CG_USER", &["cgroup.bstat.cputime.utime"], ""),
        field("CG_SYSTEM", &["cgroup.bstat.cputime.stime"], ""),
        field("CG_RUNTIME", &["cgroup.bstat.cputime.sum_exec_runtime"], ""),
        field("CG_SUBSYS", &["cgroup.subsys"], ""),
        field("CSS_FLAGS", &["cgroup_subsys_state.flags"], ""),
        field("CG_PSI", &["cgroup.psi"], PRESSURE),
        field("PSI_TOTAL", &["psi_group.total"], PRESSURE),
        field("MEMORY_ID", &["cgroup_subsys_id::memory_cgrp_id"], MEMORY),
        field("MEMORY_CSS", &["mem_cgroup.css"], MEMORY),
        field("MEMORY_USAGE", &["mem_cgroup.memory.usage"], MEMORY),
        field("MEMORY_MAX", &["mem_cgroup.memory.max"], MEMORY),
        field("MEMORY_PEAK", &["mem_cgroup.memory.watermark"], MEMORY),
        field("MEMORY_EVENTS", &["mem_cgroup.memory_events"], MEMORY),
        field("CPU_ID", &["cgroup_subsys_id::cpu_cgrp_id"], CPU),
        field("CPU_CSS", &["task_group.css"], CPU),
        field("CFS_PERIODS", &["task_group.cfs_bandwidth.nr_periods"], CPU),
        field("CFS_THROTTLED", &["task_group.cfs_bandwidth.nr_throttled"], CPU),
        field("CFS_TIME", &["task_group.cfs_bandwidth.throttled_time"], CPU),
        field("CFS_QUOTA", &["task_group.cfs_bandwidth.quota"], CPU),
        field("CFS_PERIOD", &["task_group.cfs_bandwidth.period"], CPU),
        field("PIDS_ID", &["cgroup_subsys_id::pids_cgrp_id"], PIDS),
        field("PIDS_CSS", &["pids_cgroup.css"], PIDS),
        field("PIDS_COUNT", &["pids_cgroup.counter"], PIDS),
        field("PIDS_LIMIT", &["pids_cgroup.limit"], PIDS),
    ],
    maps: &[
        MapDef { name: "CGROUP", entries: Entries::Fixed(RECORDS) },
        MapDef { name: "CGROUP_HEADER", entries: Entries::Fixed(1) },
    ],
    shared: &[],
    under_way: &[],
    oldest: Some(KernelVersion(6, 1)),
};

/// The parts of a record that need fields of their own, by the switch of each.
const PARTS: [(&str, &[&str]); 4] = [
    ("PSI_ON", &["CG_PSI", "PSI_TOTAL"]),
    ("MEMORY_ON", &["MEMORY_ID", "MEMORY_CSS", "MEMORY_USAGE", "MEMORY_MAX", "MEMORY_PEAK", "MEMORY_EVENTS"]),
    ("CPU_ON", &["CPU_ID", "CPU_CSS", "CFS_PERIODS", "CFS_THROTTLED", "CFS_TIME", "CFS_QUOTA", "CFS_PERIOD"]),
    ("PIDS_ON", &["PIDS_ID", "PIDS_CSS", "PIDS_COUNT", "PIDS_LIMIT"]),
];

/// A pass over a hierarchy.
struct Over {
    /// By which of its controllers the hierarchy is known.
    controller: Controller,
    hook: &'static str,
    /// The setting that asks for it.
    when: &'static str,
    /// What is in every record of it.
    part: u64,
    /// The switch of that part.
    switch: &'static str,
}

/// Of version 1, a hierarchy is known by the first of these controllers that it has.
const OVER: [Over; 4] = [
    Over {
        controller: Controller::Unified,
        hook: "cgroup",
        when: "UNIFIED",
        part: has::UNIFIED,
        switch: "UNIFIED",
    },
    Over {
        controller: Controller::Memory,
        hook: "cgroup:memory",
        when: "FIRST_MEMORY",
        part: has::MEMORY,
        switch: "MEMORY_ON",
    },
    Over {
        controller: Controller::Cpu,
        hook: "cgroup:cpu",
        when: "FIRST_CPU",
        part: has::CPU,
        switch: "CPU_ON",
    },
    Over {
        controller: Controller::Pids,
        hook: "cgroup:pids",
        when: "FIRST_PIDS",
        part: has::PIDS,
        switch: "PIDS_ON",
    },
];

impl Over {
    /// Whether there is such a hierarchy, where programs are attached to it, and a pass over it brings anything.
    fn is_wanted(&self, hierarchies: &[Hierarchy], roots: &Roots, settings: &Settings) -> bool {
        let Some(hierarchy) = hierarchies.iter().find(|one| one.controllers.contains(&self.controller))
        else {
            return false;
        };
        let first = OVER.iter().find(|over| hierarchy.controllers.contains(&over.controller));
        let usual = self.hook.split_once(':').map(|(_, name)| roots.sysfs.join("fs/cgroup").join(name));
        let device = |dir: &Path| fs::metadata(dir).map(|about| about.dev()).ok();
        first.is_some_and(|over| over.hook == self.hook)
            && usual.is_none_or(|usual| device(&usual).is_some_and(|dev| Some(dev) == device(&hierarchy.dir)))
            && PARTS.iter().all(|(switch, needed)| *switch != self.switch || settings.has(needed))
    }
}

/// The iterator, with its passes.
pub(super) struct Iterator {
    opened: Opened,
    passes: Vec<(&'static Over, Records)>,
    table: View,
    header: View,
    page: u64,
    /// The most control groups that a pass had no room for.
    left_out: u64,
}

impl Iterator {
    pub(super) fn open(loader: &mut Loader, roots: &Roots) -> Result<Self, Unsupported> {
        let hierarchies = hierarchies::find(roots).map_err(|error| Unsupported(error.to_string()))?;
        let mut opened = loader.open(&BPF, |settings| {
            for (switch, needed) in PARTS {
                let is_on = settings.has(needed);
                settings.set(switch, u32::from(is_on));
            }
            for over in &OVER {
                let is_wanted = over.is_wanted(&hierarchies, roots, settings);
                settings.set(over.when, u32::from(is_wanted));
            }
        })?;
        let passes =
            OVER.iter().filter_map(|over| Some((over, opened.records(over.hook, 1).ok()?))).collect();
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
        let iterator = Self {
            passes,
            table: opened.view("CGROUP", RECORDS, record::WORDS)?,
            header: opened.view("CGROUP_HEADER", 1, header::WORDS)?,
            opened,
            page: page.unwrap_or(4096),
            left_out: 0,
        };
        if iterator.passes.is_empty() {
            return Err(Unsupported("no hierarchy of control groups that it can pass over".into()));
        }
        Ok(iterator)
    }

    pub(super) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Whether a hierarchy that it could pass over is read from files instead.
    pub(super) fn is_partial(&self) -> bool {
        OVER.iter().any(|over| self.opened.is_on(over.when) && !self.opened.is_attached(over.hook))
    }

    /// The controllers of a hierarchy whose figures a pass brings.
    pub(super) fn covers(&self, hierarchy: &Hierarchy) -> Vec<Controller> {
        let is_passed = self.passes.iter().any(|(over, _)| hierarchy.controllers.contains(&over.controller));
        let of = |controller: &Controller| OVER.iter().find(|over| over.controller == *controller);
        let brings = |controller: &Controller| of(controller).is_some_and(|o| self.opened.is_on(o.switch));
        hierarchy.controllers.iter().copied().filter(|one| is_passed && brings(one)).collect()
    }

    /// Makes a pass over a hierarchy, if there is one, and hands out what it noted of each control group, with
    /// the kernel's number of that.
    pub(super) fn pass(
        &mut self,
        hierarchy: &Hierarchy,
        mut take: impl FnMut(u64, &Words),
    ) -> Result<(), InputError> {
        let is_it = |(over, _): &&mut (&Over, Records)| hierarchy.controllers.contains(&over.controller);
        let Some((over, run)) = self.passes.iter_mut().find(is_it) else { return Ok(()) };
        run.read().map_err(|error| InputError::Other(format!("iterator over control groups: {error}")))?;
        let [pass, count] =
            [header::PASS, header::COUNT].map(|at| self.header.words()[at].load(Ordering::Acquire));
        self.left_out = self.left_out.max(count.saturating_sub(u64::from(RECORDS)));
        let length = usize::try_from(count).unwrap_or(usize::MAX);
        for noted in self.table.words().chunks_exact(record::WORDS).take(length) {
            // Another process that looks through the same pinned iterator may be writing, and be at another
            // hierarchy: what is there then is not of this pass, or not of this hierarchy.
            let is_of_pass = || noted[record::PASS].load(Ordering::Acquire) == pass;
            if !is_of_pass() {
                continue;
            }
            let words: Words = std::array::from_fn(|at| noted[at].load(Ordering::Acquire));
            let parts = words[record::HAS];
            let is_unified = over.part == has::UNIFIED;
            if is_of_pass() && parts & over.part != 0 && (parts & has::UNIFIED != 0) == is_unified {
                take(words[record::ID], &words);
            }
        }
        Ok(())
    }

    /// The most control groups that a pass of this collection had no room for.
    pub(super) fn left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Bytes of a page.
    pub(super) fn page(&self) -> u64 {
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::Tree;

    /// The hooks at which passes are made, where these are mounted.
    fn wanted(mounts: &[(&str, &[Controller])], settings: &Settings) -> Vec<&'static str> {
        let tree = Tree::new(&[]);
        let hierarchy = |(place, controllers): &(&str, &[Controller])| {
            let dir = tree.roots().sysfs.join("fs/cgroup").join(place);
            fs::create_dir_all(&dir).unwrap();
            Hierarchy { dir, controllers: controllers.to_vec() }
        };
        let hierarchies: Vec<_> = mounts.iter().map(hierarchy).collect();
        let over = OVER.iter().filter(|over| over.is_wanted(&hierarchies, &tree.roots(), settings));
        over.map(|over| over.hook).collect()
    }

    fn all() -> Settings {
        let mut settings = Settings::default();
        BPF.fields.iter().for_each(|field| settings.set(field.setting, 1));
        settings
    }

    use Controller::{Blkio, Cpu, Cpuacct, Memory, Pids, Unified};

    #[test]
    fn every_hierarchy_is_passed_over_once() {
        let hybrid: &[(&str, &[Controller])] =
            &[("unified", &[Unified]), ("memory", &[Memory]), ("cpu", &[Cpu, Cpuacct]), ("pids", &[Pids])];
        assert_eq!(wanted(hybrid, &all()), ["cgroup", "cgroup:memory", "cgroup:cpu", "cgroup:pids"]);
        assert_eq!(wanted(&[("", &[Unified])], &all()), ["cgroup"]);
        assert_eq!(wanted(&[("memory", &[Pids, Memory, Cpu])], &all()), ["cgroup:memory"]);
        assert_eq!(wanted(&[("blkio", &[Blkio]), ("cpuacct", &[Cpuacct])], &all()), [""; 0]);
        assert_eq!(wanted(&[], &all()), [""; 0]);
    }

    #[test]
    fn what_a_pass_could_not_read_or_reach_is_left_to_files() {
        let mut settings = Settings::default();
        BPF.fields
            .iter()
            .filter(|field| field.setting != "PIDS_COUNT")
            .for_each(|f| settings.set(f.setting, 1));
        let first: &[(&str, &[Controller])] = &[("memory", &[Memory]), ("pids", &[Pids])];
        assert_eq!(wanted(first, &settings), ["cgroup:memory"]);
        // Mounted elsewhere, where programs are not attached.
        assert_eq!(wanted(&[("there", &[Memory])], &all()), [""; 0]);
    }
}
