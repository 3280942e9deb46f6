//! Queries on what another pipeline published.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{Queries, Query, groups::MOST_LABELS};
use crate::{
    accumulator::{Accumulator, Beginnings, Frame, Limits, Sample, SeriesStore},
    catalogue::Metric,
    config::{PROMETHEUS, PipelineConfig},
    input::{CollectContext, Input},
    output::Output,
    pipeline::{Losses, Outcome, Pipeline, Rules, Schedule, State},
    telemetry,
};

/// The pipeline of queries that take the frames of another pipeline: exported names, and labels with their tags.
///
/// What was not published anew since the last time is not counted again; it only lets time pass, so that windows
/// end. When the source publishes nothing, this publishes nothing.
pub struct QueryPipeline {
    pub(super) config: PipelineConfig,
    source: String,
    queries: Queries,
    replay: Replay,
    store: SeriesStore,
    outputs: Vec<Arc<dyn Output>>,
    state: State,
}

impl QueryPipeline {
    /// The pipeline of a configuration that was checked and takes `from` another. Its results have no prefix but the
    /// one that the transform gives, because the names that it takes have theirs.
    pub fn new(config: &PipelineConfig) -> Self {
        let limits = Limits { series_per_metric: config.transform.max_series, ..Limits::default() };
        let beginnings = Beginnings { attach: None, start: Some(telemetry::started()) };
        let rules = Rules::of(&config.transform, config.prefix());
        let state =
            if config.enabled { State::default() } else { State::Off { reason: "not enabled".to_owned() } };
        Self {
            source: config.source().to_owned(),
            queries: Queries::of(config).on_frames(),
            config: config.clone(),
            replay: Replay::default(),
            store: SeriesStore::new(Box::new(rules), limits).with(beginnings),
            outputs: Vec::new(),
            state,
        }
    }

    fn run(&mut self, cx: &CollectContext, source: &Frame) -> Outcome {
        if source.published() == 0 {
            self.store.withdraw();
            return Outcome::Skipped;
        }
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
        self.store.begin(collected);
        self.queries.deliver(&mut self.store);
        self.store.publish();
        Outcome::Published
    }
}

impl Pipeline for QueryPipeline {
    fn key(&self) -> &str {
        &self.config.key
    }

    fn schedule(&self) -> Option<Schedule> {
        self.config.schedule()
    }

    fn deadline(&self) -> Duration {
        self.config.deadline
    }

    fn source(&self) -> Option<&str> {
        Some(&self.source)
    }

    fn collect(&mut self, cx: &CollectContext, source: Option<&Frame>) -> Outcome {
        if matches!(self.state, State::Off { .. }) {
            return Outcome::Skipped;
        }
        let Some(source) = source else {
            self.store.withdraw();
            self.state = State::Failed { reason: format!("there is no pipeline `{}`", self.source) };
            return Outcome::Failed;
        };
        // A query reads numbers only; still, one pipeline must never take the others with it.
        if let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| self.run(cx, source))) {
            self.state = State::default();
            outcome
        } else {
            self.store.withdraw();
            self.state = State::Failed { reason: "panicked".to_owned() };
            Outcome::Panicked
        }
    }

    fn frame(&self) -> &Frame {
        self.store.frame()
    }

    fn withdraw(&mut self) {
        self.store.withdraw();
    }

    fn close(&mut self, reason: &str) {
        self.store.withdraw();
        self.state = State::Off { reason: reason.to_owned() };
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn debug_info(&self) -> serde_json::Value {
        serde_json::json!({ "from": self.source, "queries": self.queries.debug_info() })
    }

    fn losses(&self) -> Losses {
        self.queries.losses().and(&self.store)
    }

    fn update_from(&mut self, old: &mut dyn Pipeline) {
        self.queries.take_over(old.queries());
        if let Some(old) = old.store() {
            self.store.take_over(old);
        }
    }

    fn input(&mut self) -> Option<&mut dyn Input> {
        None
    }

    fn queries(&mut self) -> &mut [Query] {
        self.queries.as_mut_slice()
    }

    fn is_scraped(&self) -> bool {
        self.config.outputs.iter().any(|output| output == PROMETHEUS)
    }

    fn outputs(&self) -> &[Arc<dyn Output>] {
        &self.outputs
    }

    fn connect(&mut self, outputs: Vec<Arc<dyn Output>>) {
        self.outputs = outputs;
    }

    fn store(&mut self) -> Option<&mut SeriesStore> {
        Some(&mut self.store)
    }
}

/// The series of a frame as samples, made once for as long as the frame has the same series.
#[derive(Debug, Default)]
struct Replay {
    epoch: u64,
    samples: Vec<Replayed>,
    /// Label values of all of them.
    values: Vec<u8>,
    /// Where each label value lies.
    labels: Vec<Range<usize>>,
    /// Series with more labels than can be taken.
    left_out: u64,
}

/// A series of the frame.
#[derive(Debug)]
struct Replayed {
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
        for Replayed { series, metric, labels } in &self.samples {
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
                self.samples.push(Replayed { series: index, metric, labels: first..self.labels.len() });
            }
        }
    }
}
