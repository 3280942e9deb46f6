//! Scheduler: context switches by reason, migrations, and how long runnable tasks waited for a CPU.
//!
//! The wait is the kernel's own `run_delay`, taken apart: from the moment a task is put on the run queue on
//! which it then runs until it runs. A task that is moved while it waits starts anew on the other queue.

use pitot_common::{
    histogram::{Scale, TIME_SLOTS, words},
    sched::{BANK_WORDS, MIGRATIONS, SWITCHES, Switch, WAIT},
};

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{Opened, map::View},
    catalogue::{
        BpfDef, Buckets, Entries, Field, Hook, Label, MapDef, Metric, ProgramKind, Since, Source, Unit,
        Variant,
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "sched",
    about: "Context switches, migrations and run-queue wait, counted in the kernel.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "one short program per context switch and per migration; 4 KiB of kernel memory per CPU",
    metrics: &[&SWITCHES_TOTAL, &WAIT_SECONDS, &MIGRATIONS_TOTAL],
    options: &[],
    open: |cx| {
        let opened = cx.bpf.open(&BPF, |settings| {
            let wait = settings.has(&["TASK_QUEUED", "TASK_CFS_RQ", "CFS_RQ_RQ", "RQ_CLOCK"]);
            settings.set("WAIT_ON", u32::from(wait));
        })?;
        Ok(Box::new(Sched {
            banks: opened.view("SCHED", opened.cpus(), BANK_WORDS)?,
            has_wait: opened.is_on("WAIT_ON") && opened.is_typed(),
            wait: Histogram::new(WAIT_BUCKETS),
            opened,
        }))
    },
};

static BPF: BpfDef = BpfDef {
    object: "sched",
    hooks: &[
        Hook {
            name: "sched_switch",
            variants: &[
                Variant { program: "sched_switch", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "sched_switch_r", kind: ProgramKind::RawTp, loses: "run-queue wait" },
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
    ],
    maps: &[MapDef { name: "SCHED", entries: Entries::PerCpu }],
    shared: &[],
    under_way: &[],
    oldest: None,
};

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

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
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
        Ok(())
    }
}
