//! What the input delivers.

use pitot_common::process::{Exit, State};

use super::MOST;
use crate::catalogue::{Label, Metric, Since, Unit};

/// A process of a list; all others together are the pid `other`.
const PROCESS: &[Label] = &[Label::bounded("pid", MOST + 1), Label::bounded("comm", 1)];

pub(super) static STARTS_TOTAL: Metric =
    Metric::counter("process_starts_total", "Processes that were started, without further threads.", &[])
        .since(Since::Attach);

pub(super) static THREAD_STARTS_TOTAL: Metric = Metric::counter(
    "process_thread_starts_total",
    "Threads that were started beside the first one of their process.",
    &[],
)
.since(Since::Attach);

pub(super) static EXECS_TOTAL: Metric =
    Metric::counter("process_execs_total", "Programs that processes have turned into.", &[])
        .since(Since::Attach);

pub(super) static EXITS_TOTAL: Metric = Metric::counter(
    "process_exits_total",
    "Processes that ended, by their status: zero, another one, or killed by a signal.",
    &[Label::fixed("result", Exit::LABELS)],
)
.since(Since::Attach);

pub(super) static STATES: Metric = Metric::gauge(
    "process_states",
    "Processes by the state of their main thread, with the letters of ps.",
    &[Label::fixed("state", State::LABELS)],
);

pub(super) static THREAD_STATES: Metric = Metric::gauge(
    "process_thread_states",
    "Threads of all processes by their state, with the letters of ps.",
    &[Label::fixed("state", State::LABELS)],
);

pub(super) static THREADS: Metric =
    Metric::gauge("process_threads", "Threads of all processes, zombies included.", &[]);

pub(super) static CPU_SECONDS_TOTAL: Metric = Metric::counter(
    "process_cpu_seconds_total",
    "Time on CPUs of the processes that use the most, each since it is in the list, and of all others together.",
    PROCESS,
)
.unit(Unit::Seconds)
.since(Since::Start);

pub(super) static IO_BYTES_TOTAL: Metric = Metric::counter(
    "process_io_bytes_total",
    "Bytes read from and written to storage by the processes that move the most, each since it is in the list, and by all others together.",
    PROCESS,
)
.unit(Unit::Bytes)
.since(Since::Start);

pub(super) static RESIDENT_BYTES: Metric = Metric::gauge(
    "process_resident_bytes",
    "Resident memory of the processes that have the most, and of all others together.",
    PROCESS,
)
.unit(Unit::Bytes);
