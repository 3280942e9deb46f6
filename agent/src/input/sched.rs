//! Scheduler: context switches by reason, migrations, how long runnable tasks waited for a CPU, and what each
//! cgroup had of it.
//!
//! The wait is the kernel's own `run_delay`, taken apart: from the moment a task is put on the run queue on
//! which it then runs until it runs. A task that is moved while it waits starts anew on the other queue.

mod owners;

use std::ops::Range;

use pitot_common::{
    histogram::{Scale, TIME_SLOTS, words},
    owner,
    sched::{self, BANK_WORDS, LAST, MIGRATIONS, SWITCHES, Switch, WAIT},
};

use self::owners::ByOwner;
use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{Opened, map::View, owner::OWNER_MAPS},
    catalogue::{
        BpfDef, Buckets, Entries, Field, Hook, KernelVersion, Label, MapDef, Metric, ProgramKind, Since,
        Source, UnderWay, Unit, Variant,
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "sched",
    about: "Context switches, migrations, run-queue wait and CPU time by cgroup, counted in the kernel.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "one short program per context switch and per migration; 160 KiB of kernel memory per CPU",
    metrics: &[
        &SWITCHES_TOTAL,
        &WAIT_SECONDS,
        &MIGRATIONS_TOTAL,
        &owners::CPU_SECONDS,
        &owners::SWITCHES_TOTAL,
        &owners::WAIT_SECONDS,
        &owners::IDLE_SECONDS,
        &owners::UNSEEN_TOTAL,
        &owners::UNACCOUNTED_SECONDS,
        &owners::SLOTS_USED,
    ],
    options: &[],
    open: |cx| {
        let opened = cx.bpf.open(&BPF, |settings| {
            let wait = settings.has(&["TASK_QUEUED", "TASK_CFS_RQ", "CFS_RQ_RQ", "RQ_CLOCK"]);
            settings.set("WAIT_ON", u32::from(wait));
            let owner = BPF
                .fields
                .iter()
                .filter(|field| field.loses == CGROUPS)
                .all(|field| settings.has(&[field.setting]));
            settings.set("OWNERS_ON", u32::from(wait && owner));
        })?;
        let by_owner = if opened.is_on("OWNERS_ON") && opened.is_typed() {
            let owners = cx.bpf.owners(&opened)?;
            let banks = opened.cpus() * owner::BANKS;
            owners.clean_up(opened.writable_view("SCHED_OWNER", banks, sched::owner::WORDS)?, owners::PLACE);
            let banks = opened.view("SCHED_OWNER", banks, sched::owner::WORDS)?;
            let cpus = opened.view("OWNER_CPU", opened.cpus(), owner::cpu::WORDS)?;
            Some(ByOwner::new(owners, banks, cpus))
        } else {
            None
        };
        Ok(Box::new(Sched {
            by_owner,
            banks: opened.view("SCHED", opened.cpus(), BANK_WORDS)?,
            has_wait: opened.is_on("WAIT_ON") && opened.is_typed(),
            wait: Histogram::new(WAIT_BUCKETS),
            opened,
        }))
    },
};

/// What is lost without the fields that identify a cgroup.
const CGROUPS: &str = "cgroups";

static BPF: BpfDef = BpfDef {
    object: "sched",
    hooks: &[
        Hook {
            name: "sched_switch",
            variants: &[
                Variant { program: "sched_switch", kind: ProgramKind::TpBtf, loses: "" },
                Variant {
                    program: "sched_switch_r",
                    kind: ProgramKind::RawTp,
                    loses: "run-queue wait, cgroups",
                },
            ],
            when: "",
        },
        Hook {
            name: "sched_migrate_task",
            variants: &[
                Variant { program: "sched_migrate", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "sched_migrate_r", kind: ProgramKind::RawTp, loses: "" },
            ],
            when: "",
        },
    ],
    fields: &[
        Field {
            setting: "STATE_ARG",
            paths: &["sched_switch(4)"],
            loses: "nothing: the task says it as well",
        },
        Field { setting: "TASK_STATE", paths: &["task_struct.__state", "task_struct.state"], loses: "" },
        Field {
            setting: "TASK_QUEUED",
            paths: &["task_struct.sched_info.last_queued"],
            loses: "run-queue wait",
        },
        Field { setting: "TASK_CFS_RQ", paths: &["task_struct.se.cfs_rq"], loses: "run-queue wait" },
        Field { setting: "CFS_RQ_RQ", paths: &["cfs_rq.rq"], loses: "run-queue wait" },
        Field { setting: "RQ_CLOCK", paths: &["rq.clock"], loses: "run-queue wait" },
        Field { setting: "TASK_ARRIVED", paths: &["task_struct.sched_info.last_arrival"], loses: CGROUPS },
        Field { setting: "TASK_PID", paths: &["task_struct.pid"], loses: CGROUPS },
        Field { setting: "TASK_CGROUPS", paths: &["task_struct.cgroups"], loses: CGROUPS },
        Field { setting: "SET_CGROUP", paths: &["css_set.dfl_cgrp"], loses: CGROUPS },
        Field { setting: "CGROUP_NODE", paths: &["cgroup.kn"], loses: CGROUPS },
        Field { setting: "NODE_ID", paths: &["kernfs_node.id"], loses: CGROUPS },
    ],
    maps: &[
        MapDef { name: "SCHED", entries: Entries::PerCpu },
        MapDef { name: "SCHED_OWNER", entries: Entries::PerCpuTimes(owner::BANKS) },
    ],
    shared: OWNER_MAPS,
    // The time in which no program ran is nobody's.
    under_way: &[UnderWay::Words { map: "SCHED", bank: BANK_WORDS, words: &[CLOCKS] }],
    // Taking a slot with a compare-and-swap.
    oldest: Some(KernelVersion(5, 12)),
};

/// When each CPU last switched.
const CLOCKS: Range<usize> = LAST..LAST + 1;

static SWITCHES_TOTAL: Metric = Metric::counter(
    "sched_switches_total",
    "Context switches, by why the outgoing task left the CPU.",
    &[Label::fixed("reason", Switch::LABELS)],
)
.since(Since::Attach);

const WAIT_BUCKETS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -20, last: 4 };

static WAIT_SECONDS: Metric = Metric::histogram(
    "sched_wait_seconds",
    "Time that runnable tasks waited on the run queue of the CPU on which they then ran.",
    WAIT_BUCKETS,
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

static MIGRATIONS_TOTAL: Metric =
    Metric::counter("sched_migrations_total", "Tasks moved to another CPU by the scheduler.", &[])
        .since(Since::Attach);

struct Sched {
    by_owner: Option<ByOwner>,
    opened: Opened,
    banks: View,
    has_wait: bool,
    wait: Histogram,
}

impl Input for Sched {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        for switch in Switch::ALL {
            let count = self.banks.sum(BANK_WORDS, SWITCHES + switch.index());
            acc.put(&SWITCHES_TOTAL, &[switch.label().as_bytes()], count);
        }
        if self.has_wait {
            self.wait.clear();
            for bank in self.banks.words().chunks_exact(BANK_WORDS) {
                self.wait.merge(&bank[WAIT..WAIT + words(TIME_SLOTS)]);
            }
            acc.put(&WAIT_SECONDS, &[], &self.wait);
        }
        acc.put(&MIGRATIONS_TOTAL, &[], self.banks.sum(BANK_WORDS, MIGRATIONS));
        if let Some(by_owner) = &mut self.by_owner {
            by_owner.collect(cx.started, &self.banks, acc);
        }
        Ok(())
    }
}
