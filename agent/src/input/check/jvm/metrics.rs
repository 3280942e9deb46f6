//! What the check delivers, and which counters that is.

use super::MOST;
use crate::catalogue::{Label, Metric, Unit};

/// One machine. Machines of the same class are told apart by their process.
const MACHINE: &[Label] = &[Label::bounded("jvm", MOST), Label::bounded("main", 1)];
const SPACE: &[Label] = &[
    Label::bounded("jvm", MOST),
    Label::bounded("main", 1),
    Label::fixed("area", &["heap", "nonheap"]),
    Label::bounded("generation", 1),
    Label::bounded("space", 10),
];
const COLLECTOR: &[Label] =
    &[Label::bounded("jvm", MOST), Label::bounded("main", 1), Label::bounded("collector", 8)];

/// Why a file of counters was not reported.
pub(super) const REASONS: &[&str] = &["past_bound", "denied", "format", "starting", "ended", "other"];

pub(super) static MACHINES: Metric =
    Metric::gauge("machines", "Java virtual machines whose counters were read.", &[]);
pub(super) static LEFT_OUT: Metric = Metric::gauge(
    "left_out",
    "Files of counters that were not reported, by why: `ended` ones were left behind, `denied` ones belong to another \
     user.",
    &[Label::fixed("reason", REASONS)],
);
pub(super) static PARTS_LEFT_OUT: Metric = Metric::gauge(
    "parts_left_out",
    "Spaces and collectors of all machines past 10 spaces of the heap and 8 collectors, or named as another one.",
    &[],
);
pub(super) static INFO: Metric = Metric::info(
    "info",
    "Version of the machine and its policy of garbage collection.",
    &[
        Label::bounded("jvm", MOST),
        Label::bounded("main", 1),
        Label::bounded("version", 1),
        Label::bounded("policy", 1),
    ],
);
pub(super) static UPTIME: Metric = Metric::gauge(
    "uptime_seconds",
    "For how long the machine has been running; those from version 25 on do not say.",
    MACHINE,
)
.unit(Unit::Seconds);
static THREADS: Metric = Metric::gauge("threads", "Live threads, of which some are daemons.", MACHINE);
static THREADS_DAEMON: Metric =
    Metric::gauge("threads_daemon", "Live threads that do not keep the machine running.", MACHINE);
static THREADS_PEAK: Metric =
    Metric::gauge("threads_peak", "The most threads that were live at once.", MACHINE);
static THREADS_STARTED: Metric =
    Metric::counter("threads_started_total", "Threads that were started since the machine was.", MACHINE);
static CLASSES_LOADED: Metric = Metric::counter(
    "classes_loaded_total",
    "Classes that were loaded since the machine was started, from its archive too.",
    MACHINE,
);
static CLASSES_UNLOADED: Metric = Metric::counter(
    "classes_unloaded_total",
    "Classes that were unloaded since the machine was started.",
    MACHINE,
);
static COMPILE: Metric =
    Metric::counter("compile_seconds_total", "Time that was spent compiling to machine code.", MACHINE)
        .unit(Unit::Seconds);
static SAFEPOINTS: Metric = Metric::counter(
    "safepoints_total",
    "Times at which all threads were stopped, for whatever reason.",
    MACHINE,
);
static SAFEPOINT_TIME: Metric =
    Metric::counter("safepoint_seconds_total", "Time for which all threads were stopped.", MACHINE)
        .unit(Unit::Seconds);
static SAFEPOINT_SYNC: Metric = Metric::counter(
    "safepoint_sync_seconds_total",
    "Time that it took until all threads had stopped, once they were asked to.",
    MACHINE,
)
.unit(Unit::Seconds);
pub(super) static USED: Metric = Metric::gauge(
    "memory_used_bytes",
    "Use of each space, some of which are only updated by a garbage collection.",
    SPACE,
)
.unit(Unit::Bytes);
pub(super) static COMMITTED: Metric =
    Metric::gauge("memory_committed_bytes", "Memory that each space has.", SPACE).unit(Unit::Bytes);
pub(super) static MAXIMUM: Metric = Metric::gauge(
    "memory_max_bytes",
    "Memory that each space may have; several spaces may be promised the same.",
    SPACE,
)
.unit(Unit::Bytes);
pub(super) static COLLECTIONS: Metric =
    Metric::counter("gc_collections_total", "Garbage collections of each collector.", COLLECTOR);
pub(super) static COLLECTION_TIME: Metric =
    Metric::counter("gc_seconds_total", "Time that each collector took.", COLLECTOR).unit(Unit::Seconds);

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Number,
    /// Of the clock of the machine.
    Ticks,
}

/// A counter of the machine that is a series by itself.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) counter: &'static str,
    pub(super) metric: &'static Metric,
    pub(super) amount: Amount,
}

const fn plain(counter: &'static str, metric: &'static Metric, amount: Amount) -> Plain {
    Plain { counter, metric, amount }
}

/// Counters and their metrics. Those of the same metric stand together and are added up.
pub(super) static PLAIN: [Plain; 13] = [
    plain("sun.os.hrt.ticks", &UPTIME, Amount::Ticks),
    plain("java.threads.live", &THREADS, Amount::Number),
    plain("java.threads.daemon", &THREADS_DAEMON, Amount::Number),
    plain("java.threads.livePeak", &THREADS_PEAK, Amount::Number),
    plain("java.threads.started", &THREADS_STARTED, Amount::Number),
    plain("java.cls.loadedClasses", &CLASSES_LOADED, Amount::Number),
    plain("java.cls.sharedLoadedClasses", &CLASSES_LOADED, Amount::Number),
    plain("java.cls.unloadedClasses", &CLASSES_UNLOADED, Amount::Number),
    plain("java.cls.sharedUnloadedClasses", &CLASSES_UNLOADED, Amount::Number),
    plain("java.ci.totalTime", &COMPILE, Amount::Ticks),
    plain("sun.rt.safepoints", &SAFEPOINTS, Amount::Number),
    plain("sun.rt.safepointTime", &SAFEPOINT_TIME, Amount::Ticks),
    plain("sun.rt.safepointSyncTime", &SAFEPOINT_SYNC, Amount::Ticks),
];

/// Spaces outside the heap, as counters and labels call them.
pub(super) static NOT_HEAP: [&str; 2] = ["metaspace", "compressedclassspace"];

/// Everything that is delivered.
pub(super) static ALL: [&Metric; 22] = [
    &super::EXECUTED,
    &super::FAILURES,
    &MACHINES,
    &LEFT_OUT,
    &PARTS_LEFT_OUT,
    &INFO,
    &UPTIME,
    &THREADS,
    &THREADS_DAEMON,
    &THREADS_PEAK,
    &THREADS_STARTED,
    &CLASSES_LOADED,
    &CLASSES_UNLOADED,
    &COMPILE,
    &SAFEPOINTS,
    &SAFEPOINT_TIME,
    &SAFEPOINT_SYNC,
    &USED,
    &COMMITTED,
    &MAXIMUM,
    &COLLECTIONS,
    &COLLECTION_TIME,
];
