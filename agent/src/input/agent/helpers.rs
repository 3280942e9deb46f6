//! What the agent says about the processes that execute checks for it.

use crate::catalogue::{Label, Metric, Since, Unit};

pub(super) static RUNNING: Metric =
    Metric::gauge("agent_helpers", "Processes that execute checks, in containers or beside the agent.", &[]);
pub(super) static STUCK: Metric = Metric::gauge(
    "agent_helpers_stuck",
    "Such processes that were killed and have not ended, because the kernel waits in them for a file system or a device; \
     they are in no other figure.",
    &[],
);
pub(super) static STARTED: Metric =
    Metric::counter("agent_helpers_started_total", "Such processes that were started.", &[])
        .since(Since::Start);
pub(super) static SPAWNER_REPLACEMENTS: Metric = Metric::counter(
    "agent_spawner_replacements_total",
    "How often the process that starts them had ended, and all of them with it, and another one took its place.",
    &[],
)
.since(Since::Start);
pub(super) static KILLED: Metric = Metric::counter(
    "agent_helpers_killed_total",
    "Such processes that were ended by the agent: for what went wrong with a check, or for want of room.",
    &[Label::bounded("reason", 8)],
)
.since(Since::Start);
pub(super) static REQUESTS: Metric = Metric::counter(
    "agent_helper_requests_total",
    "Checks that were asked for, by what came of it: an answer, whatever it says of the target, or why there is none.",
    &[Label::bounded("result", 9)],
)
.since(Since::Start);
pub(super) static SECONDS: Metric = Metric::counter(
    "agent_helper_seconds_total",
    "Time that checks took, waiting for a process that executes them included.",
    &[],
)
.unit(Unit::Seconds)
.since(Since::Start);
