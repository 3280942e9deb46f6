//! System calls: how many of each and of each cgroup; their errors, and how long they take, when asked for.

mod errors;

use pitot_common::{
    histogram::{Scale, TIME_SLOTS, words},
    owner,
    syscall::{BANK_WORDS, COMPAT, IN_FLIGHT, LATENCY_WORDS, LOST, NUMBERS, OTHER, OWNERS},
};
use syscalls::Sysno;

use self::errors::Errors;
use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{
        Opened,
        map::View,
        owner::{OWNER_MAPS, Owners, Place},
    },
    catalogue::{
        BpfDef, Buckets, Entries, Field, Hook, Label, MapDef, Metric, OptionDef, OptionValue, ProgramKind,
        Since, Source, UnderWay, Unit, Variant,
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "syscall",
    about: "System calls by name and by cgroup, counted in the kernel; their errors and latency when asked for.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "one short program per system call, and 6 KiB of kernel memory per CPU; with errors a second one; \
           with latency a second one, two clock reads and a table entry per call, and 3 MiB",
    metrics: &[&CALLS_TOTAL, &CGROUP_CALLS_TOTAL, &errors::ERRORS_TOTAL, &SECONDS, &UNTIMED_TOTAL],
    options: &[
        OptionDef {
            key: "errors",
            default: OptionValue::Regex(""),
            help: "Count the errors of the calls whose names match, of 32 at most; every call then pays for a second program.",
        },
        OptionDef {
            key: "latency",
            default: OptionValue::Bool(false),
            help: "Measure how long each call takes; every call then pays for a second program and two clock reads.",
        },
    ],
    open: |cx| {
        let latency = cx.options.bool("latency");
        let names: Vec<_> = (0..NUMBERS).map(name).collect();
        let chosen = errors::choose(&names, &cx.options.pattern("errors"));
        let owners = cx.bpf.runs("sched");
        let mut opened = cx.bpf.open(&BPF, |settings| {
            let errors =
                chosen.as_ref().is_ok_and(|calls| !calls.is_empty()) && settings.has(&["REGS_NUMBER"]);
            settings.set("LATENCY", u32::from(latency));
            settings.set("ERRORS", u32::from(errors));
            settings.set("EXITS", u32::from(errors || latency));
            settings.set("OWNERS_ON", u32::from(owners));
            settings.set("EXIT", Sysno::exit as u32);
            settings.set("EXIT_GROUP", Sysno::exit_group as u32);
            settings.set("COMPAT_MASK", if settings.has(&["COMPAT_FLAGS"]) { compat::MASK } else { 0 });
        })?;
        let times = if latency { Some(opened.view("SYSCALL_TIME", NUMBERS, LATENCY_WORDS)?) } else { None };
        let errors = match chosen {
            Ok(calls) if opened.is_on("ERRORS") && opened.is_typed() => {
                Some(Errors::new(&opened, &names, &calls)?)
            }
            Ok(_) => None,
            Err(reason) => {
                opened.lose(&format!("no errors ({reason})"));
                None
            }
        };
        let owners = if owners {
            let owners = cx.bpf.owners(&opened)?;
            owners.clean_up(opened.writable_view("SYSCALL", opened.cpus(), BANK_WORDS)?, PLACE);
            Some(owners)
        } else {
            None
        };
        Ok(Box::new(Syscall {
            owners,
            errors,
            banks: opened.view("SYSCALL", opened.cpus(), BANK_WORDS)?,
            times,
            names,
            histogram: Histogram::new(BUCKETS),
            opened,
        }))
    },
};

/// How the kernel marks a thread that came through the 32-bit table, on this architecture.
mod compat {
    #[cfg(target_arch = "x86_64")]
    pub(super) const PATH: &str = "task_struct.thread_info.status";
    /// `TS_COMPAT`
    #[cfg(target_arch = "x86_64")]
    pub(super) const MASK: u32 = 1 << 1;

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) const PATH: &str = "task_struct.thread_info.flags";
    /// `TIF_32BIT` of arm64.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) const MASK: u32 = 1 << 22;
}

static BPF: BpfDef = BpfDef {
    object: "syscall",
    hooks: &[
        Hook {
            name: "sys_enter",
            variants: &[
                Variant { program: "sys_enter", kind: ProgramKind::TpBtf, loses: "" },
                Variant {
                    program: "sys_enter_raw",
                    kind: ProgramKind::RawTp,
                    loses: "telling 32-bit calls apart",
                },
            ],
            when: "",
        },
        Hook {
            name: "sys_exit",
            variants: &[
                Variant { program: "sys_exit", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "sys_exit_raw", kind: ProgramKind::RawTp, loses: "errors" },
            ],
            when: "EXITS",
        },
    ],
    fields: &[
        Field { setting: "COMPAT_FLAGS", paths: &[compat::PATH], loses: "telling 32-bit calls apart" },
        Field { setting: "REGS_NUMBER", paths: &["pt_regs.orig_ax", "pt_regs.syscallno"], loses: "errors" },
    ],
    maps: &[
        MapDef { name: "SYSCALL", entries: Entries::PerCpu },
        MapDef { name: "SYSCALL_CHOICE", entries: Entries::Fixed(1) },
        MapDef { name: "SYSCALL_ERRORS", entries: Entries::PerCpu },
        MapDef { name: "SYSCALL_TIME", entries: Entries::When("LATENCY", NUMBERS) },
        MapDef { name: "SYSCALL_START", entries: Entries::When("LATENCY", IN_FLIGHT) },
    ],
    shared: OWNER_MAPS,
    under_way: &[UnderWay::Map("SYSCALL_START")],
    oldest: None,
};

static CALLS_TOTAL: Metric = Metric::counter(
    "syscall_calls_total",
    "System calls entered, by name; compat are those of 32-bit programs, other have no known number.",
    &[Label::bounded("syscall", NUMBERS + 2)],
)
.since(Since::Attach);

static CGROUP_CALLS_TOTAL: Metric = Metric::counter(
    "syscall_cgroup_calls_total",
    "System calls entered by tasks of a cgroup of the unified hierarchy, without those below it; other are all that found no slot; only beside the input sched.",
    &[Label::bounded("cgroup", owner::SLOTS + 1)],
)
.since(Since::Attach);

/// Where the counters of owners are.
const PLACE: Place = Place { run: BANK_WORDS, first: OWNERS, words: 1 };

const BUCKETS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -20, last: 4 };

static SECONDS: Metric = Metric::histogram(
    "syscall_seconds",
    "Time from entering a system call until leaving it, including any sleep, by name.",
    BUCKETS,
    &[Label::bounded("syscall", NUMBERS)],
)
.unit(Unit::Seconds)
.since(Since::Attach);

static UNTIMED_TOTAL: Metric = Metric::counter(
    "syscall_untimed_calls_total",
    "System calls without a latency because the table of calls in flight was full.",
    &[],
)
.since(Since::Attach);

fn name(number: u32) -> Box<[u8]> {
    let text = Sysno::new(number as usize)
        .map_or_else(|| format!("syscall_{number}"), |call| call.name().to_owned());
    text.into_bytes().into_boxed_slice()
}

struct Syscall {
    opened: Opened,
    owners: Option<Owners>,
    errors: Option<Errors>,
    banks: View,
    times: Option<View>,
    names: Vec<Box<[u8]>>,
    histogram: Histogram,
}

impl Input for Syscall {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let calls = self.names.iter().map(|name| &**name).enumerate();
        for (word, name) in calls.chain([(COMPAT, &b"compat"[..]), (OTHER, &b"other"[..])]) {
            let count = self.banks.sum(BANK_WORDS, word);
            // A call that is never made has no series.
            if count > 0 {
                acc.put(&CALLS_TOTAL, &[name], count);
            }
        }
        if let Some(owners) = self.owners.as_ref().filter(|owners| owners.keeps_track()) {
            owners.sums(cx.started, &self.banks, PLACE, |cgroup, [calls]| {
                acc.put(&CGROUP_CALLS_TOTAL, &[cgroup], *calls);
            });
        }
        if let Some(errors) = &self.errors {
            errors.collect(acc);
        }
        let Some(times) = &self.times else { return Ok(()) };
        let banks = times.words().chunks_exact(LATENCY_WORDS);
        for (word, (bank, name)) in banks.zip(&self.names).enumerate() {
            // A page of the map that is never looked at takes no memory of the agent.
            if self.banks.sum(BANK_WORDS, word) == 0 {
                continue;
            }
            self.histogram.clear();
            self.histogram.merge(&bank[..words(TIME_SLOTS)]);
            if self.histogram.count() > 0 {
                acc.put(&SECONDS, &[name], &self.histogram);
            }
        }
        acc.put(&UNTIMED_TOTAL, &[], self.banks.sum(BANK_WORDS, LOST));
        Ok(())
    }
}
