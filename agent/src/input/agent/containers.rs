//! Figures of how the containers of the host are followed.

use crate::catalogue::{Label, Metric, Since, Unit};

const SOURCE: &[Label] = &[Label::bounded("source", 16)];

pub(super) static KNOWN: Metric = Metric::gauge(
    "agent_containers",
    "Containers that are known to run, by who started them.",
    &[Label::fixed("runtime", &["containerd", "cri-o", "docker", "podman", "unknown"])],
);
pub(super) static LEFT_OUT: Metric =
    Metric::gauge("agent_containers_left_out", "Containers that are not known, past the limit.", &[]);
pub(super) static SNAPSHOTS: Metric = Metric::counter(
    "agent_containers_snapshots_total",
    "Times that a container came, went or turned out to be called something else.",
    &[],
)
.since(Since::Start);
pub(super) static DROPPED: Metric = Metric::counter(
    "agent_containers_dropped_metadata_total",
    "Labels, annotations and names of containers that were left out for being too long or too many.",
    &[],
)
.since(Since::Start);
pub(super) static WATCHES: Metric = Metric::gauge(
    "agent_containers_watches",
    "Control groups and files of theirs of which the kernel tells what happens to them.",
    &[],
);
pub(super) static UNWATCHED: Metric = Metric::gauge(
    "agent_containers_unwatched_directories",
    "Control groups that are only looked at now and then, because there are too many to be watched.",
    &[],
);
pub(super) static OVERFLOWS: Metric = Metric::counter(
    "agent_containers_overflows_total",
    "Times that more happened to control groups than the kernel could tell, so that all were looked at again.",
    &[],
)
.since(Since::Start);
pub(super) static SOURCE_UP: Metric =
    Metric::gauge("agent_containers_source_up", "Whether a runtime last answered what it was asked.", SOURCE);
pub(super) static SOURCE_AGE: Metric = Metric::gauge(
    "agent_containers_source_age_seconds",
    "For how long a runtime has not answered, 0 while it does; what it said before stays.",
    SOURCE,
)
.unit(Unit::Seconds);
pub(super) static SOURCE_CALLS: Metric =
    Metric::counter("agent_containers_source_calls_total", "Calls of a runtime.", SOURCE).since(Since::Start);
pub(super) static SOURCE_ERRORS: Metric = Metric::counter(
    "agent_containers_source_errors_total",
    "Questions about containers to which a runtime had no answer.",
    SOURCE,
)
.since(Since::Start);
