//! The kernel's own pass over the unified hierarchy: one read for the figures of all control groups.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{SysconfVar, sysconf};
use pitot_common::cgroup::{RECORDS, has, header, record};

use super::figures::{Figures, Limits};
use crate::{
    bpf::{Loader, Opened, iter::Records, map::View},
    catalogue::{BpfDef, Entries, Field, Hook, KernelVersion, MapDef, ProgramKind, Unsupported, Variant},
    input::InputError,
};

const fn field(setting: &'static str, paths: &'static [&'static str], loses: &'static str) -> Field {
    Field { setting, paths, loses }
}

const PRESSURE: &str = "pressure";
const MEMORY: &str = "memory";
const CPU: &str = "throttling";
const PIDS: &str = "tasks";

pub(super) static BPF: BpfDef = BpfDef {
    object: "cgroup",
    hooks: &[Hook {
        name: "cgroup",
        variants: &[Variant { program: "cgroup", kind: ProgramKind::Iter, loses: "" }],
        when: "",
    }],
    fields: &[
        field("META_SESSION", &["bpf_iter_meta.session_id"], ""),
        field("META_NUMBER", &["bpf_iter_meta.seq_num"], ""),
        field("CG_KN", &["cgroup.kn"], ""),
        field("KN_ID", &["kernfs_node.id"], ""),
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

/// The iterator, and what its last pass noted.
pub(super) struct Iterator {
    opened: Opened,
    run: Records,
    table: View,
    header: View,
    /// The number of the last pass.
    pass: u64,
    /// Control groups that it came by.
    count: u64,
    page: u64,
}

/// A record of the last pass.
pub(super) struct Record<'a> {
    words: &'a [AtomicU64],
    page: u64,
}

impl Iterator {
    pub(super) fn open(loader: &mut Loader) -> Result<Self, Unsupported> {
        let mut opened = loader.open(&BPF, |settings| {
            for (switch, needed) in PARTS {
                let is_on = settings.has(needed);
                settings.set(switch, u32::from(is_on));
            }
        })?;
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
        Ok(Self {
            run: opened.records("cgroup", 1)?,
            table: opened.view("CGROUP", RECORDS, record::WORDS)?,
            header: opened.view("CGROUP_HEADER", 1, header::WORDS)?,
            opened,
            pass: 0,
            count: 0,
            page: page.unwrap_or(4096),
        })
    }

    pub(super) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Makes a pass.
    pub(super) fn run(&mut self) -> Result<(), InputError> {
        self.run
            .read()
            .map_err(|error| InputError::Other(format!("iterator over control groups: {error}")))?;
        let word = |at: usize| self.header.words()[at].load(Ordering::Acquire);
        (self.pass, self.count) = (word(header::PASS), word(header::COUNT));
        Ok(())
    }

    /// Control groups that the pass had no room for.
    pub(super) fn left_out(&self) -> u64 {
        self.count.saturating_sub(u64::from(RECORDS))
    }

    /// The records of the pass, by number, with the ids of their control groups.
    pub(super) fn records(&self) -> impl std::iter::Iterator<Item = (u32, u64)> {
        (0..).zip(self.table.words().chunks_exact(record::WORDS)).take(self.length()).filter_map(
            |(at, words)| {
                let is_of_pass = words[record::PASS].load(Ordering::Acquire) == self.pass;
                is_of_pass.then(|| (at, words[record::ID].load(Ordering::Relaxed)))
            },
        )
    }

    fn length(&self) -> usize {
        usize::try_from(self.count.min(u64::from(RECORDS))).unwrap_or(0)
    }

    /// A record by its number. Another process that looks through the same pinned iterator may be writing it
    /// anew: its figures are then as good, or it is not there.
    pub(super) fn record(&self, at: u32, id: u64) -> Option<Record<'_>> {
        let words = self.table.words().chunks_exact(record::WORDS).nth(at as usize)?;
        let is_it = words[record::PASS].load(Ordering::Acquire) != 0
            && words[record::ID].load(Ordering::Relaxed) == id;
        is_it.then_some(Record { words, page: self.page })
    }
}

/// `PAGE_COUNTER_MAX` is near 2^63 bytes, whatever the size of pages.
const UNLIMITED_BYTES: u64 = 1 << 62;
/// `PIDS_MAX`, which is one more than the most that the kernel can number.
const UNLIMITED_PIDS: u64 = 4 * 1024 * 1024 + 1;

impl Record<'_> {
    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    /// What the record says. The split by mode goes on from what was delivered before.
    pub(super) fn read(&self, figures: &mut Figures, limits: &mut Limits, modes: &mut [u64; 2]) {
        let parts = self.word(record::HAS);
        let usage = self.word(record::RUNTIME);
        split(usage, [self.word(record::USER), self.word(record::SYSTEM)], modes);
        figures.cpu_usage = Some(usage);
        figures.cpu_modes = modes.map(Some);
        if parts & has::PRESSURE != 0 {
            // The kernel's order is I/O, memory, CPU; ours CPU, memory, I/O.
            for (resource, times) in figures.pressure.iter_mut().rev().enumerate() {
                let at = record::PRESSURE + resource * 2;
                *times = [Some(self.word(at)), Some(self.word(at + 1))];
            }
        }
        if parts & has::MEMORY != 0 {
            let bytes = |at| self.word(at).saturating_mul(self.page);
            figures.memory_usage = Some(bytes(record::MEMORY));
            figures.memory_peak = Some(bytes(record::MEMORY_PEAK));
            limits.memory = Some(bytes(record::MEMORY_LIMIT)).filter(|&limit| limit < UNLIMITED_BYTES);
            for (event, slot) in figures.memory_events.iter_mut().enumerate() {
                *slot = Some(self.word(record::MEMORY_EVENTS + event));
            }
        }
        if parts & has::CPU != 0 {
            figures.cpu_periods = Some(self.word(record::PERIODS));
            figures.cpu_throttled_periods = Some(self.word(record::THROTTLED));
            figures.cpu_throttled = Some(self.word(record::THROTTLED_TIME));
            limits.cpu_quota = Some(self.word(record::QUOTA)).filter(|&quota| quota != u64::MAX);
            limits.cpu_period = Some(self.word(record::PERIOD));
        }
        if parts & has::PIDS != 0 {
            figures.pids = Some(self.word(record::PIDS));
            limits.pids = Some(self.word(record::PIDS_LIMIT)).filter(|&limit| limit < UNLIMITED_PIDS);
        }
    }
}

/// Splits time on CPUs as the ticks were split, so that no part ever falls: what the kernel does when
/// `cpu.stat` is read (`cputime_adjust`).
fn split(usage: u64, ticks: [u64; 2], before: &mut [u64; 2]) {
    if before[0].saturating_add(before[1]) >= usage {
        return;
    }
    let all = u128::from(ticks[0]) + u128::from(ticks[1]);
    let share = u128::from(ticks[1]) * u128::from(usage);
    let system = share.checked_div(all).map_or(0, |share| u64::try_from(share).unwrap_or(usage));
    let system = system.clamp(before[1], usage - before[0]);
    *before = [usage - system, system];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn time_is_split_as_the_ticks_were() {
        let mut modes = [0, 0];
        split(1000, [30, 10], &mut modes);
        assert_eq!(modes, [750, 250]);
        split(1000, [0, 40], &mut modes);
        assert_eq!(modes, [750, 250]);
        split(1100, [30, 70], &mut modes);
        assert_eq!(modes, [750, 350]);
        let mut modes = [0, 0];
        split(7, [0, 0], &mut modes);
        assert_eq!(modes, [7, 0]);
    }

    proptest! {
        #[test]
        fn parts_never_fall_and_are_the_whole(steps in prop::collection::vec((0u64..1 << 50, 0u64..1 << 50, 0u64..1 << 50), 1..20)) {
            let (mut modes, mut usage) = ([0, 0], 0);
            for (more, user, system) in steps {
                let before = modes;
                usage += more;
                split(usage, [user, system], &mut modes);
                prop_assert!(modes[0] >= before[0] && modes[1] >= before[1]);
                prop_assert_eq!(modes[0] + modes[1], usage);
            }
        }
    }
}
