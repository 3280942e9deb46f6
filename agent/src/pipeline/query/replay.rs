//! Queries on what another pipeline published.

use std::ops::Range;

use super::{Queries, Query, groups::MOST_LABELS};
use crate::{
    accumulator::{Accumulator, Beginnings, Frame, Limits, Sample, SeriesStore},
    catalogue::Metric,
    config::PipelineConfig,
    input::CollectContext,
    pipeline::{Derive, DerivedPipeline, Losses, Outcome, Pipeline, Rules},
    telemetry,
};

/// Queries that take the frames of another pipeline: exported names, and labels with their tags.
///
/// What was not published anew since the last time is not counted again; it only lets time pass, so that windows
/// end.
pub struct Replayed {
    queries: Queries,
    replay: Replay,
}

/// The pipeline of such queries.
pub type QueryPipeline = DerivedPipeline<Replayed>;

impl QueryPipeline {
    /// The pipeline of a configuration that was checked and takes `from` another. Its results have no prefix but the
    /// one that the transform gives, because the names that it takes have theirs.
    pub fn new(config: &PipelineConfig) -> Self {
        let limits = Limits { series_per_metric: config.transform.max_series, ..Limits::default() };
        let beginnings = Beginnings { attach: None, start: Some(telemetry::started()) };
        let rules = Rules::of(&config.transform, config.prefix());
        let store = SeriesStore::new(Box::new(rules), limits).with(beginnings);
        let replayed = Replayed { queries: Queries::of(config).on_frames(), replay: Replay::default() };
        Self::of(config, replayed, store)
    }
}

impl Derive for Replayed {
    fn derive(&mut self, cx: &CollectContext, source: &Frame, store: &mut SeriesStore) -> Outcome {
        let mut collected = None;
        for query in self.queries.as_mut_slice() {
            let is_new = query.takes((source.epoch(), source.published()));
            if !is_new && query.config().window.is_none() {
                continue;
            }
            let at = source.collected().filter(|_| is_new).unwrap_or(cx.started);
            query.begin_at(at, cx.aligned_timestamp);
            if is_new {
                self.replay.run(source, query);
            }
            query.close_at(cx.aligned_timestamp);
            collected = collected.max(Some(at));
        }
        let Some(collected) = collected else { return Outcome::Skipped };
        store.begin(collected);
        self.queries.deliver(store);
        store.publish();
        Outcome::Published
    }

    fn debug_info(&self) -> serde_json::Value {
        serde_json::json!({ "queries": self.queries.debug_info() })
    }

    fn losses(&self) -> Losses {
        self.queries.losses().into()
    }

    fn queries(&mut self) -> &mut [Query] {
        self.queries.as_mut_slice()
    }

    fn update_from(&mut self, old: &mut dyn Pipeline) {
        self.queries.take_over(old.queries());
    }
}

/// The series of a frame as samples, made once for as long as the frame has the same series.
#[derive(Debug, Default)]
struct Replay {
    epoch: u64,
    samples: Vec<Place>,
    /// Label values of all of them.
    values: Vec<u8>,
    /// Where each label value lies.
    labels: Vec<Range<usize>>,
    /// Series with more labels than can be taken.
    left_out: u64,
}

/// A series of the frame.
#[derive(Debug)]
struct Place {
    series: u32,
    metric: &'static Metric,
    labels: Range<usize>,
}

impl Replay {
    fn run(&mut self, frame: &Frame, query: &mut Query) {
        if self.epoch != frame.epoch() {
            self.map(frame);
        }
        query.lose(self.left_out);
        for Place { series, metric, labels } in &self.samples {
            let Some(value) = frame.value(*series) else { continue };
            let mut values: [&[u8]; MOST_LABELS] = [b""; MOST_LABELS];
            let ranges = &self.labels[labels.clone()];
            for (value, range) in values.iter_mut().zip(ranges) {
                *value = &self.values[range.clone()];
            }
            query.add(&Sample { metric, prefix: "", part: b"", labels: &values[..ranges.len()], value });
        }
    }

    fn map(&mut self, frame: &Frame) {
        *self = Self { epoch: frame.epoch(), ..Self::default() };
        for family in frame.families() {
            let name = String::from_utf8_lossy(&family.name);
            // Most series of a family have the same labels, one after the other.
            let mut last: Option<&'static Metric> = None;
            for &index in family.series() {
                let series = frame.series(index);
                let labels: Vec<(&str, &str)> = series.labels().collect();
                if labels.len() > MOST_LABELS {
                    self.left_out += 1;
                    continue;
                }
                let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
                let source = series.metric();
                let same = |metric: &&'static Metric| {
                    metric.kind == source.kind
                        && metric.labels.iter().map(|label| label.name).eq(names.iter().copied())
                };
                let metric = last.filter(same).unwrap_or_else(|| {
                    Metric::interned_since(&name, source.help, source.kind, source.unit, &names, source.since)
                });
                last = Some(metric);
                let first = self.labels.len();
                for (_, value) in &labels {
                    let start = self.values.len();
                    self.values.extend_from_slice(value.as_bytes());
                    self.labels.push(start..self.values.len());
                }
                self.samples.push(Place { series: index, metric, labels: first..self.labels.len() });
            }
        }
    }
}
