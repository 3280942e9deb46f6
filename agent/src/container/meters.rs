//! What discovery says about itself, by the `metrics` facade. The input `agent` defines and exports it.

use std::{collections::BTreeMap, time::Instant};

use metrics::{Counter, Gauge, counter, gauge};

use super::{Container, Runtime};
use crate::telemetry;

/// Figures of discovery.
pub(super) struct Meters {
    snapshots: Counter,
    watches: Gauge,
    unwatched: Gauge,
    overflows: Counter,
    left_out: Gauge,
    dropped: Counter,
}

/// What is counted somewhere else, as it stands.
pub(super) struct Standing {
    pub(super) watches: usize,
    pub(super) unwatched: usize,
    pub(super) overflows: u64,
    pub(super) left_out: usize,
    pub(super) dropped: u64,
}

const RUNTIMES: [Runtime; 5] =
    [Runtime::Containerd, Runtime::Crio, Runtime::Docker, Runtime::Podman, Runtime::Unknown];

impl Meters {
    pub(super) fn new() -> Self {
        telemetry::recorder();
        Self {
            snapshots: counter!("pitot_agent_containers_snapshots_total"),
            watches: gauge!("pitot_agent_containers_watches"),
            unwatched: gauge!("pitot_agent_containers_unwatched_directories"),
            overflows: counter!("pitot_agent_containers_overflows_total"),
            left_out: gauge!("pitot_agent_containers_left_out"),
            dropped: counter!("pitot_agent_containers_dropped_metadata_total"),
        }
    }

    /// There is a new snapshot.
    pub(super) fn published<'a>(&self, containers: impl Iterator<Item = &'a Container>) {
        self.snapshots.increment(1);
        let mut by_runtime: BTreeMap<Runtime, usize> = RUNTIMES.map(|runtime| (runtime, 0)).into();
        containers.for_each(|container| *by_runtime.entry(container.runtime).or_default() += 1);
        for (runtime, count) in by_runtime {
            gauge!("pitot_agent_containers", "runtime" => runtime.word()).set(count as f64);
        }
    }

    pub(super) fn stand(&self, standing: &Standing) {
        self.watches.set(standing.watches as f64);
        self.unwatched.set(standing.unwatched as f64);
        self.overflows.absolute(standing.overflows);
        self.left_out.set(standing.left_out as f64);
        self.dropped.absolute(standing.dropped);
    }
}

/// Figures of one source.
pub(super) struct SourceMeter {
    up: Gauge,
    age: Gauge,
    calls: Counter,
    errors: Counter,
    /// Since when it has not answered; none while it does.
    silent_since: Option<Instant>,
}

impl SourceMeter {
    pub(super) fn new(name: &str) -> Self {
        telemetry::recorder();
        let name = name.to_owned();
        Self {
            up: gauge!("pitot_agent_containers_source_up", "source" => name.clone()),
            age: gauge!("pitot_agent_containers_source_age_seconds", "source" => name.clone()),
            calls: counter!("pitot_agent_containers_source_calls_total", "source" => name.clone()),
            errors: counter!("pitot_agent_containers_source_errors_total", "source" => name),
            silent_since: None,
        }
    }

    /// It has answered, with so many calls so far.
    pub(super) fn answered(&mut self, calls: u64) {
        self.silent_since = None;
        self.calls.absolute(calls);
        self.up.set(1.0);
        self.age.set(0.0);
    }

    /// It has not. Says whether that is new.
    pub(super) fn failed(&mut self, calls: u64) -> bool {
        let is_new = self.silent_since.is_none();
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        self.calls.absolute(calls);
        self.errors.increment(1);
        self.up.set(0.0);
        self.age.set(since.elapsed().as_secs_f64());
        is_new
    }
}
