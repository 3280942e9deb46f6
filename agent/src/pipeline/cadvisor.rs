//! What cAdvisor says of containers, under its names: for dashboards and alerts that were made for it.
//!
//! Only where the number is the same. A working set, resident memory and page cache are not told, because they are in
//! `memory.stat`, which makes the kernel add up over all CPUs for every control group; nor are figures of the network,
//! which belong to pods and not to control groups. What has no limit has no series, where cAdvisor says 0.

use std::ops::Range;

use super::{Derive, DerivedPipeline, Outcome, Owners, Rules, owners::Named};
use crate::{
    accumulator::{Accumulator, Beginnings, Frame, Limits, Sample, SeriesStore},
    catalogue::{Kind, Metric, Unit},
    config::PipelineConfig,
    input::{CollectContext, cgroup},
};

/// Name of its pipeline.
pub const KEY: &str = "cadvisor";
/// The label that has the path of a control group.
const ID: &str = "id";

/// A metric of the input `cgroup`, and what cAdvisor calls it.
struct Same {
    /// Raw name there.
    ours: &'static str,
    /// A label that must have a value, and is not shown.
    only: Option<Pair>,
    theirs: &'static str,
    /// A label that always has this value.
    with: Option<Pair>,
}

const fn same(ours: &'static str, theirs: &'static str) -> Same {
    Same { ours, only: None, theirs, with: None }
}

const fn only(ours: &'static str, label: &'static str, value: &'static str, theirs: &'static str) -> Same {
    Same { ours, only: Some((label, value)), theirs, with: None }
}

static NAMES: &[Same] = &[
    Same {
        ours: "cgroup_cpu_usage_seconds_total",
        only: None,
        theirs: "container_cpu_usage_seconds_total",
        with: Some(("cpu", "total")),
    },
    only("cgroup_cpu_seconds_total", "mode", "user", "container_cpu_user_seconds_total"),
    only("cgroup_cpu_seconds_total", "mode", "system", "container_cpu_system_seconds_total"),
    same("cgroup_cpu_periods_total", "container_cpu_cfs_periods_total"),
    same("cgroup_cpu_throttled_periods_total", "container_cpu_cfs_throttled_periods_total"),
    same("cgroup_cpu_throttled_seconds_total", "container_cpu_cfs_throttled_seconds_total"),
    same("cgroup_memory_usage_bytes", "container_memory_usage_bytes"),
    same("cgroup_memory_peak_bytes", "container_memory_max_usage_bytes"),
    same("cgroup_memory_limit_bytes", "container_spec_memory_limit_bytes"),
    only("cgroup_memory_events_total", "event", "oom_kill", "container_oom_events_total"),
    same("cgroup_pids", "container_threads"),
    same("cgroup_pids_limit", "container_threads_max"),
    only("cgroup_io_bytes_total", "operation", "read", "container_fs_reads_bytes_total"),
    only("cgroup_io_bytes_total", "operation", "write", "container_fs_writes_bytes_total"),
    only("cgroup_io_operations_total", "operation", "read", "container_fs_reads_total"),
    only("cgroup_io_operations_total", "operation", "write", "container_fs_writes_total"),
    only(
        "cgroup_pressure_waiting_seconds_total",
        "resource",
        "cpu",
        "container_pressure_cpu_waiting_seconds_total",
    ),
    only(
        "cgroup_pressure_stalled_seconds_total",
        "resource",
        "cpu",
        "container_pressure_cpu_stalled_seconds_total",
    ),
    only(
        "cgroup_pressure_waiting_seconds_total",
        "resource",
        "memory",
        "container_pressure_memory_waiting_seconds_total",
    ),
    only(
        "cgroup_pressure_stalled_seconds_total",
        "resource",
        "memory",
        "container_pressure_memory_stalled_seconds_total",
    ),
    only(
        "cgroup_pressure_waiting_seconds_total",
        "resource",
        "io",
        "container_pressure_io_waiting_seconds_total",
    ),
    only(
        "cgroup_pressure_stalled_seconds_total",
        "resource",
        "io",
        "container_pressure_io_stalled_seconds_total",
    ),
];

/// A label and its value.
type Pair = (&'static str, &'static str);

/// Names of cAdvisor, the raw names that they stand for, and the label that picks their series, if one does.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str, Option<Pair>)> {
    NAMES.iter().map(|same| (same.theirs, same.ours, same.only))
}

impl Same {
    /// The definition under their name, with the labels of ours that are left.
    fn metric(&self, ours: &Metric) -> &'static Metric {
        let kept = ours.labels.iter().map(|label| label.name).filter(|name| *name != ID && *name != "cgroup");
        let kept = kept.filter(|name| self.only.is_none_or(|(only, _)| only != *name));
        let mut labels: Vec<&str> = [ID].into_iter().chain(kept).collect();
        labels.extend(self.with.map(|(label, _)| label));
        let kind = if ours.kind == Kind::Counter { Kind::Counter } else { Kind::Gauge };
        let unit = Unit::of_name(self.theirs.strip_suffix("_total").unwrap_or(self.theirs));
        Metric::interned_since(self.theirs, ours.help, kind, unit, &labels, ours.since)
    }

    /// The label values of a series under their name, or nothing if it is none of these.
    fn values<'s>(
        &self,
        ours: &Metric,
        labels: impl Iterator<Item = (&'s str, &'s str)>,
    ) -> Option<Vec<String>> {
        let mut values = vec![String::new()];
        // Behind its own there are those of whoever owns it, which are added anew.
        for (label, value) in labels.take(ours.labels.len()) {
            match (label, self.only) {
                ("cgroup", _) => values[0] = format!("/{}", value.trim_start_matches('/')),
                (label, Some((only, wanted))) if label == only => {
                    if value != wanted {
                        return None;
                    }
                }
                ("device", _) => values.push(format!("/dev/{value}")),
                _ => values.push(value.to_owned()),
            }
        }
        values.extend(self.with.map(|(_, value)| value.to_owned()));
        Some(values)
    }
}

/// Series of a frame under their other names, made once for as long as the frame has the same series.
#[derive(Debug, Default)]
struct Renamed {
    epoch: u64,
    samples: Vec<(u32, &'static Metric, Range<usize>)>,
    values: Vec<String>,
}

impl Renamed {
    fn map(&mut self, frame: &Frame) {
        *self = Self { epoch: frame.epoch(), ..Self::default() };
        for family in frame.families() {
            for same in NAMES.iter().filter(|same| same.ours == family.metric.name) {
                let metric = same.metric(family.metric);
                for &index in family.series() {
                    let Some(values) = same.values(family.metric, frame.series(index).labels()) else {
                        continue;
                    };
                    let first = self.values.len();
                    self.values.extend(values);
                    self.samples.push((index, metric, first..self.values.len()));
                }
            }
        }
    }

    fn deliver(&mut self, frame: &Frame, acc: &mut dyn Accumulator) {
        /// More than any of them has.
        const MOST_LABELS: usize = 4;
        if self.epoch != frame.epoch() {
            self.map(frame);
        }
        for (index, metric, range) in &self.samples {
            let Some(value) = frame.value(*index) else { continue };
            let mut labels: [&[u8]; MOST_LABELS] = [b""; MOST_LABELS];
            for (label, value) in labels.iter_mut().zip(&self.values[range.clone()]) {
                *label = value.as_bytes();
            }
            let labels = &labels[..range.len().min(MOST_LABELS)];
            acc.add(&Sample { metric, prefix: "", part: b"", labels, value });
        }
    }
}

/// What the input `cgroup` published last, under cAdvisor's names.
pub struct Cadvisor {
    renamed: Renamed,
    named: Option<Named>,
}

/// The pipeline that publishes that.
pub type CadvisorPipeline = DerivedPipeline<Cadvisor>;

impl CadvisorPipeline {
    /// The configuration of it.
    pub fn config() -> PipelineConfig {
        let from = Some(cgroup::DEF.name.to_owned());
        PipelineConfig { key: KEY.to_owned(), input: None, from, ..PipelineConfig::new(&cgroup::DEF) }
    }

    /// One for a configuration like that.
    pub fn new(config: &PipelineConfig, owners: Option<Owners>) -> Self {
        let limits = Limits { series_per_metric: config.transform.max_series, ..Limits::default() };
        let named = owners.map(|owners| Named::new(owners.by(ID)));
        let owners = named.as_ref().map(|named| named.owners().clone());
        let rules = Rules::of(&config.transform, "").with_owners(owners);
        let store = SeriesStore::new(Box::new(rules), limits).with(Beginnings::default());
        Self::of(config, Cadvisor { renamed: Renamed::default(), named }, store)
    }
}

impl Derive for Cadvisor {
    fn derive(&mut self, cx: &CollectContext, source: &Frame, store: &mut SeriesStore) -> Outcome {
        if let Some(named) = &mut self.named {
            named.keep_current(store);
        }
        store.begin(source.collected().unwrap_or(cx.started));
        self.renamed.deliver(source, store);
        store.publish();
        Outcome::Published
    }

    fn debug_info(&self) -> serde_json::Value {
        serde_json::json!({ "series": self.renamed.samples.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        accumulator::MemoryAccumulator, catalogue::Values, input::cgroup::DEF, pipeline::TransformConfig,
    };

    fn ours(name: &str) -> &'static Metric {
        DEF.metrics.iter().find(|metric| metric.name == name).unwrap()
    }

    #[test]
    fn every_name_is_of_a_metric_and_a_value_that_there_is() {
        for same in NAMES {
            let metric = ours(same.ours);
            let Some((label, value)) = same.only else { continue };
            let label = metric.labels.iter().find(|own| own.name == label).unwrap();
            assert!(
                matches!(label.values, Values::Fixed(values) if values.contains(&value)),
                "{}",
                same.theirs
            );
        }
    }

    #[test]
    fn a_frame_is_shown_under_other_names_with_the_same_values() {
        let mut store =
            SeriesStore::new(Box::new(Rules::of(&TransformConfig::default(), DEF.prefix)), Limits::default());
        store.begin(std::time::Instant::now());
        let acc: &mut dyn Accumulator = &mut store;
        acc.put(ours("cgroup_cpu_usage_seconds_total"), &[b"/a/b"], 1.5);
        acc.put(ours("cgroup_cpu_seconds_total"), &[b"a/b", b"user"], 1.0);
        acc.put(ours("cgroup_io_bytes_total"), &[b"a/b", b"vda", b"write"], 7.0);
        acc.put(ours("cgroup_memory_events_total"), &[b"a/b", b"low"], 9.0);
        store.publish();
        let (mut renamed, mut memory) = (Renamed::default(), MemoryAccumulator::new());
        renamed.deliver(store.frame(), &mut memory);
        assert_eq!(memory.number("container_cpu_usage_seconds_total", &["/a/b", "total"]), Some(1.5));
        assert_eq!(memory.number("container_cpu_user_seconds_total", &["/a/b"]), Some(1.0));
        assert_eq!(memory.number("container_fs_writes_bytes_total", &["/a/b", "/dev/vda"]), Some(7.0));
        assert_eq!(memory.samples().len(), 3);
        assert!(memory.samples().iter().all(|sample| sample.metric.kind == Kind::Counter));
    }
}
