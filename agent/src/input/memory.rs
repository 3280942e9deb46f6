//! Memory: stalls of tasks that have to free memory themselves, victims of the OOM killer, and page faults.
//!
//! What the kernel counts itself is not counted again. Beside it:
//!
//! * all page faults are `node_vmstat_pgfault`, and those that had to wait for a disk `node_vmstat_pgmajfault`:
//!   no tracepoint fires for the latter alone, and the kernel's own number costs nothing more;
//! * here, page faults are what the processor reports: also those that end in a signal, and those of the
//!   kernel, without the attempts that the kernel makes after a wait;
//! * kills are `node_vmstat_oom_kill`, and in addition processes that ended already when they were chosen;
//! * background reclaim and compaction, by `kswapd` and `kcompactd`, keep nobody from their work, and are
//!   neither stalls nor pages that tasks reclaimed.

mod owners;

use std::sync::atomic::Ordering;

use nix::unistd::{SysconfVar, sysconf};
use pitot_common::{
    histogram::{Scale, TIME_SLOTS, words},
    memory::{BANK_WORDS, Cause, FAULTS, LAST, Mode, RECLAIMED, Scope, Stall, TIMED, VICTIMS, header},
    owner::SLOTS,
};

use self::owners::ByOwner;
use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{Opened, map::View, owner::OWNER_MAPS},
    catalogue::{
        BpfDef, Buckets, Entries, Field, Hook, KernelVersion, Label, MapDef, Metric, OptionDef, OptionValue,
        ProgramKind, Since, Source, UnderWay, Unit, Variant,
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "memory",
    about: "Page faults, reclaim and compaction stalls, and victims of the OOM killer, counted in the kernel.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "one short program per page fault, two and a table entry per stall; 0.5 MiB of kernel memory, and \
           13 KiB per CPU; before Linux 6.9 one per signal",
    metrics: &[
        &RECLAIM_SECONDS,
        &RECLAIMED_TOTAL,
        &COMPACTION_SECONDS,
        &OOM_KILLS_TOTAL,
        &owners::KILLS_TOTAL,
        &FAULTS_TOTAL,
        &UNTIMED_TOTAL,
    ],
    options: &[OptionDef {
        key: "page_faults",
        default: OptionValue::Bool(true),
        help: "Count page faults, those of programs and of the kernel apart; every fault pays for a short program.",
    }],
    open: |cx| {
        let faults = cx.options.bool("page_faults");
        let opened = cx.bpf.open(&BPF, |settings| {
            let user = faults && settings.has(&["USER_FAULT_HOOK"]);
            settings.set("USER_FAULTS", u32::from(user));
            let kernel = faults && settings.has(&["KERNEL_FAULT_HOOK"]);
            settings.set("KERNEL_FAULTS", u32::from(kernel));
            let compaction = settings.has(&["CC_DIRECT", "COMPACTION_ARGS"]);
            let old = settings.has(&["COMPACTION_NUMBERS"]);
            settings.set("COMPACTION", u32::from(compaction && !old));
            owners::decide(settings);
        })?;
        let by_owner = ByOwner::open(cx.bpf, &opened)?;
        Ok(Box::new(Memory {
            banks: opened.view("MEMORY", opened.cpus(), BANK_WORDS)?,
            header: opened.view("MEMORY_HEADER", 1, header::WORDS)?,
            page_size: sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096).unsigned_abs(),
            degraded: missing(&opened, faults),
            times: Histogram::new(TIMES),
            by_owner,
            opened,
        }))
    },
};

/// What the object has to do without, and what cannot be told from one of its fields.
fn missing(opened: &Opened, faults: bool) -> Option<String> {
    let mut lost: Vec<String> = opened.degraded.clone().into_iter().collect();
    if opened.is_on("COMPACTION_NUMBERS") {
        lost.push("no compaction stalls (mm_compaction_begin does not say who compacts)".to_owned());
    }
    for (mode, setting) in [("user", "USER_FAULTS"), ("kernel", "KERNEL_FAULTS")] {
        if faults && !opened.is_on(setting) {
            lost.push(format!("no {mode} page faults (page_fault_{mode} is not known)"));
        }
    }
    (!lost.is_empty()).then(|| lost.join("; "))
}

const fn typed(program: &'static str) -> Variant {
    Variant { program, kind: ProgramKind::TpBtf, loses: "" }
}

const fn raw(program: &'static str) -> Variant {
    Variant { program, kind: ProgramKind::RawTp, loses: "" }
}

const fn hook(name: &'static str, variants: &'static [Variant]) -> Hook {
    Hook { name, variants, when: "" }
}

const fn hook_when(when: &'static str, name: &'static str, variants: &'static [Variant]) -> Hook {
    Hook { name, variants, when }
}

static BPF: BpfDef = BpfDef {
    object: "memory",
    // Ends before starts: a start whose end was not seen would stay in the table until its task's next stall.
    hooks: &[
        hook("mm_vmscan_direct_reclaim_end", &[typed("reclaim_end"), raw("reclaim_end_r")]),
        hook("mm_vmscan_direct_reclaim_begin", &[typed("reclaim_begin"), raw("reclaim_begin_r")]),
        hook_when("CGROUP_RECLAIM", "mm_vmscan_memcg_reclaim_end", &[typed("cgroup_end")]),
        hook_when("CGROUP_RECLAIM", "mm_vmscan_memcg_reclaim_begin", &[typed("cgroup_begin")]),
        hook_when("COMPACTION", "mm_compaction_end", &[typed("compact_end")]),
        hook_when("COMPACTION", "mm_compaction_begin", &[typed("compact_begin")]),
        hook_when("OWNERS_SIGNAL", "signal_generate", &[typed("oom_signal")]),
        hook(
            "mark_victim",
            &[
                typed("oom_victim"),
                Variant { program: "oom_victim_id", kind: ProgramKind::TpBtf, loses: NAMES },
                Variant { program: "oom_victim_r", kind: ProgramKind::RawTp, loses: OWNER },
            ],
        ),
        hook_when("USER_FAULTS", "page_fault_user", &[typed("fault_user")]),
        hook_when("KERNEL_FAULTS", "page_fault_kernel", &[typed("fault_kernel")]),
    ],
    // The names of arguments ask whether the kernel has a tracepoint at all.
    fields: &[
        Field {
            setting: "CGROUP_RECLAIM",
            paths: &["mm_vmscan_memcg_reclaim_begin(2)"],
            loses: "reclaim for the limits of cgroups",
        },
        Field { setting: "CC_DIRECT", paths: &["compact_control.direct_compaction"], loses: COMPACTION },
        Field { setting: "COMPACTION_ARGS", paths: &["mm_compaction_begin(4)"], loses: COMPACTION },
        Field {
            setting: "COMPACTION_NUMBERS",
            paths: &["mm_compaction_begin(5)"],
            loses: "nothing: kernels that have it do not say who compacts, and compaction stalls are lost",
        },
        Field { setting: "USER_FAULT_HOOK", paths: &["page_fault_user(3)"], loses: FAULT },
        Field { setting: "KERNEL_FAULT_HOOK", paths: &["page_fault_kernel(3)"], loses: FAULT },
        Field {
            setting: "VICTIM_TASK",
            paths: &["mark_victim(2)"],
            loses: "nothing: the signal that kills the victim says whose it is",
        },
        Field { setting: "SIGNAL_HOOK", paths: &["signal_generate(5)"], loses: OWNER },
        Field { setting: "TASK_PID", paths: &["task_struct.pid"], loses: OWNER },
        Field { setting: "TASK_CGROUPS", paths: &["task_struct.cgroups"], loses: OWNER },
        Field { setting: "SET_CGROUP", paths: &["css_set.dfl_cgrp"], loses: OWNER },
        Field { setting: "CGROUP_NODE", paths: &["cgroup.kn"], loses: OWNER },
        Field { setting: "NODE_ID", paths: &["kernfs_node.id"], loses: OWNER },
        Field { setting: "NODE_NAME", paths: &["kernfs_node.name"], loses: OWNER },
        Field {
            setting: "NODE_PARENT",
            paths: &["kernfs_node.__parent", "kernfs_node.parent"],
            loses: OWNER,
        },
    ],
    maps: &[
        MapDef { name: "MEMORY", entries: Entries::PerCpu },
        MapDef { name: "MEMORY_HEADER", entries: Entries::Fixed(1) },
        MapDef { name: "MEMORY_START", entries: Entries::Fixed(TIMED) },
        MapDef { name: "MEMORY_LAST", entries: Entries::Fixed(LAST) },
        MapDef { name: "MEMORY_OWNER", entries: Entries::Fixed(1) },
        MapDef { name: "MEMORY_NAME", entries: Entries::Fixed(SLOTS) },
        MapDef { name: "MEMORY_DOOMED", entries: Entries::PerCpu },
    ],
    shared: OWNER_MAPS,
    under_way: &[UnderWay::Map("MEMORY_START"), UnderWay::Map("MEMORY_LAST"), UnderWay::Map("MEMORY_DOOMED")],
    // Taking a slot with a compare-and-swap.
    oldest: Some(KernelVersion(5, 12)),
};

const COMPACTION: &str = "compaction stalls";
const OWNER: &str = "victims by cgroup";
const NAMES: &str = "names of victims' cgroups that are gone at once";
const FAULT: &str = "nothing where page faults are switched off, otherwise those of this mode";

/// From a reclaim that finds its pages at once to one that waits for slow disks.
const TIMES: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -20, last: 5 };

const SCOPE: &[Label] = &[Label::fixed("scope", Scope::LABELS)];

static RECLAIM_SECONDS: Metric = Metric::histogram(
    "memory_reclaim_stall_seconds",
    "Time that a task spent on freeing memory before it got some, by whether the host or its cgroup had none left.",
    TIMES,
    SCOPE,
)
.unit(Unit::Seconds)
.since(Since::Attach);

static RECLAIMED_TOTAL: Metric = Metric::counter(
    "memory_reclaimed_bytes_total",
    "Memory that tasks freed in reclaim stalls, by whether the host or their cgroup had none left.",
    SCOPE,
)
.unit(Unit::Bytes)
.since(Since::Attach);

static COMPACTION_SECONDS: Metric = Metric::histogram(
    "memory_compaction_stall_seconds",
    "Time that a task spent on moving the pages of one zone together before it got a block of them.",
    TIMES,
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

static OOM_KILLS_TOTAL: Metric = Metric::counter(
    "memory_oom_kills_total",
    "Processes that the OOM killer killed, or chose when they were ending already, by what had no memory left.",
    &[Label::fixed("scope", Cause::LABELS)],
)
.since(Since::Attach);

static FAULTS_TOTAL: Metric = Metric::counter(
    "memory_page_faults_total",
    "Page faults that the processor reported, by whether a program or the kernel made the access.",
    &[Label::fixed("mode", Mode::LABELS)],
)
.since(Since::Attach);

static UNTIMED_TOTAL: Metric = Metric::counter(
    "memory_untimed_stalls_total",
    "Stalls in no histogram: begun before counting, or no room for the start.",
    &[Label::fixed("reason", &["before_attach", "table_full"])],
)
.since(Since::Attach);

struct Memory {
    opened: Opened,
    banks: View,
    header: View,
    page_size: u64,
    degraded: Option<String>,
    times: Histogram,
    by_owner: Option<ByOwner>,
}

impl Memory {
    fn sum(&self, word: usize) -> u64 {
        self.banks.sum(BANK_WORDS, word)
    }

    /// Adds up what the CPUs counted of a stall.
    fn gather(&mut self, stall: Stall) -> &Histogram {
        self.times.clear();
        for bank in self.banks.words().chunks_exact(BANK_WORDS) {
            self.times.merge(&bank[stall.at()..stall.at() + words(TIME_SLOTS)]);
        }
        &self.times
    }
}

impl Input for Memory {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn degraded(&self) -> Option<String> {
        self.degraded.clone()
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        for &scope in Scope::ALL {
            if scope == Scope::Cgroup && !self.opened.is_on("CGROUP_RECLAIM") {
                continue;
            }
            let label = scope.label().as_bytes();
            acc.put(&RECLAIM_SECONDS, &[label], self.gather(Stall::Reclaim(scope)));
            let pages = self.sum(RECLAIMED + scope.index());
            acc.put(&RECLAIMED_TOTAL, &[label], pages * self.page_size);
        }
        if self.opened.is_on("COMPACTION") {
            acc.put(&COMPACTION_SECONDS, &[], self.gather(Stall::Compaction));
        }
        for cause in Cause::ALL {
            acc.put(&OOM_KILLS_TOTAL, &[cause.label().as_bytes()], self.sum(VICTIMS + cause.index()));
        }
        if let Some(by_owner) = &self.by_owner {
            by_owner.collect(cx.started, acc);
        }
        for (mode, setting) in [(Mode::User, "USER_FAULTS"), (Mode::Kernel, "KERNEL_FAULTS")] {
            if self.opened.is_on(setting) {
                acc.put(&FAULTS_TOTAL, &[mode.label().as_bytes()], self.sum(FAULTS + mode.index()));
            }
        }
        let header = |word: usize| self.header.words()[word].load(Ordering::Relaxed);
        acc.put(&UNTIMED_TOTAL, &[b"before_attach"], header(header::UNSEEN));
        acc.put(&UNTIMED_TOTAL, &[b"table_full"], header(header::LOST));
        Ok(())
    }
}
