//! The metrics of control groups.

use crate::catalogue::{Label, Metric, Unit};

/// Control groups that get series unless the configuration says otherwise: those of a host with hundreds of
/// containers, a pod and a service each.
pub(super) const MOST: u32 = 1000;

pub(super) const CGROUP: Label = Label::bounded("cgroup", MOST);

/// Labels of `memory.events`, in the order in which the kernel numbers them.
pub(super) const MEMORY_EVENT_NAMES: &[&str; 5] = &["low", "high", "max", "oom", "oom_kill"];
pub(super) const MODES: &[&str; 2] = &["user", "system"];
pub(super) const RESOURCES: &[&str; 3] = &["cpu", "memory", "io"];
pub(super) const OPERATIONS: &[&str; 2] = &["read", "write"];

const OWN: &[Label] = &[CGROUP];
const RESOURCE: &[Label] = &[CGROUP, Label::fixed("resource", RESOURCES)];
const DEVICE: &[Label] = &[CGROUP, Label::bounded("device", 500), Label::fixed("operation", OPERATIONS)];

const fn count(name: &'static str, help: &'static str) -> Metric {
    Metric::counter(name, help, OWN)
}

pub(super) static MEMORY_USAGE: Metric = Metric::gauge(
    "cgroup_memory_usage_bytes",
    "Memory that is charged to a control group and those below it, with page cache and kernel memory.",
    OWN,
)
.unit(Unit::Bytes);
pub(super) static MEMORY_LIMIT: Metric = Metric::gauge(
    "cgroup_memory_limit_bytes",
    "Memory that a control group may use, if it has a limit of its own.",
    OWN,
)
.unit(Unit::Bytes);
pub(super) static MEMORY_PEAK: Metric =
    Metric::gauge("cgroup_memory_peak_bytes", "Most memory that a control group has used so far.", OWN)
        .unit(Unit::Bytes);
pub(super) static MEMORY_EVENTS: Metric = Metric::counter(
    "cgroup_memory_events_total",
    "What happened for want of memory, in a control group and those below it, but with version 1 only kills and only its own.",
    &[CGROUP, Label::fixed("event", MEMORY_EVENT_NAMES)],
);
pub(super) static CPU_USAGE: Metric =
    count("cgroup_cpu_usage_seconds_total", "Time that a control group and those below it ran on CPUs; where over 128 lie right below the root, as of the last turn of 128.")
        .unit(Unit::Seconds);
pub(super) static CPU_MODE: Metric = Metric::counter(
    "cgroup_cpu_seconds_total",
    "The same time by mode, split as the ticks of the clock found it.",
    &[CGROUP, Label::fixed("mode", MODES)],
)
.unit(Unit::Seconds);
pub(super) static CPU_PERIODS: Metric = count(
    "cgroup_cpu_periods_total",
    "Periods of the CPU limit during which a control group had something to run.",
);
pub(super) static CPU_THROTTLED_PERIODS: Metric =
    count("cgroup_cpu_throttled_periods_total", "Periods in which a control group used up its CPU limit.");
pub(super) static CPU_THROTTLED: Metric = count(
    "cgroup_cpu_throttled_seconds_total",
    "Time that run queues of a control group were held back by its CPU limit, summed over CPUs.",
)
.unit(Unit::Seconds);
pub(super) static CPU_LIMIT: Metric = Metric::gauge(
    "cgroup_cpu_limit_cores",
    "CPU time per time that a control group may use, if it has a limit of its own.",
    OWN,
);
pub(super) static PIDS: Metric =
    Metric::gauge("cgroup_pids", "Tasks in a control group and those below it, threads counted too.", OWN);
pub(super) static PIDS_LIMIT: Metric = Metric::gauge(
    "cgroup_pids_limit",
    "Tasks that a control group may have, if it has a limit of its own.",
    OWN,
);
pub(super) static PRESSURE_WAITING: Metric = Metric::counter(
    "cgroup_pressure_waiting_seconds_total",
    "Time during which at least one task of a control group waited for a resource, at most two seconds old.",
    RESOURCE,
)
.unit(Unit::Seconds);
pub(super) static PRESSURE_STALLED: Metric = Metric::counter(
    "cgroup_pressure_stalled_seconds_total",
    "Time during which every task of a control group that was not idle waited for a resource, at most two seconds old.",
    RESOURCE,
)
.unit(Unit::Seconds);
pub(super) static IO_BYTES: Metric = Metric::counter(
    "cgroup_io_bytes_total",
    "Bytes that a control group and those below it read from and wrote to a block device; of 128 groups at a collection, in turn.",
    DEVICE,
)
.unit(Unit::Bytes);
pub(super) static IO_OPERATIONS: Metric = Metric::counter(
    "cgroup_io_operations_total",
    "Requests to a block device by a control group and those below it; of 128 groups at a collection, in turn.",
    DEVICE,
);
pub(super) static UNTRACKED: Metric = Metric::gauge(
    "cgroup_untracked",
    "Control groups without series because they lie too deep or there are too many, as of the last walk of the tree.",
    &[],
);
