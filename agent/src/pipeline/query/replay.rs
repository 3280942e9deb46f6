//! A query on what another pipeline published.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{Query, groups::MOST_LABELS};
use crate::{
    accumulator::{Accumulator, Beginnings, Frame, Limits, Sample, SeriesStore},
    catalogue::Metric,
    input::{CollectContext, Input},
    pipeline::{Losses, Outcome, Pipeline, Rules, Schedule, State, TransformConfig},
    telemetry,
};

/// The pipeline of a query that takes the frames of another pipeline: exported names, and labels with their tags.
///
/// What was not published anew since the last time is not counted again; it only lets time pass, so that windows
/// end. When the source publishes nothing, this publishes nothing.
pub struct QueryPipeline {
    key: String,
    source: String,
    schedule: Option<Schedule>,
    deadline: Duration,
    query: Query,
    replay: Replay,
    store: SeriesStore,
    /// The query has windows, which end even when nothing new comes.
    windows: bool,
    state: State,
}

impl QueryPipeline {
    /// A pipeline of that name. Its results have no prefix but the one that the transform gives, because the
    /// names that it takes have theirs.
    pub fn new(
        key: &str,
        query: Query,
        transform: &TransformConfig,
        schedule: Option<Schedule>,
        deadline: Duration,
    ) -> Self {
        let limits = Limits { series_per_metric: transform.max_series, ..Limits::default() };
        let beginnings = Beginnings { attach: None, start: Some(telemetry::started()) };
        Self {
            key: key.to_owned(),
            source: query.config().from.clone(),
            schedule,
            deadline,
            windows: query.config().window.is_some(),
            query: query.with_groups(transform.max_series),
            replay: Replay::default(),
            store: SeriesStore::new(Box::new(Rules::of(transform, "")), limits).with(beginnings),
            state: State::default(),
        }
    }

    /// The query that it runs.
    pub fn query(&self) -> &Query {
        &self.query
    }

    fn run(&mut self, cx: &CollectContext, source: &Frame) -> Outcome {
        if source.published() == 0 {
            self.store.withdraw();
            return Outcome::Skipped;
        }
        let anew = self.query.takes((source.epoch(), source.published()));
        if !anew && !self.windows {
            return Outcome::Skipped;
        }
        let collected = source.collected().filter(|_| anew).unwrap_or(cx.started);
        self.query.begin_at(collected, cx.aligned_timestamp);
        if anew {
            self.replay.run(source, &mut self.query);
        }
        self.store.begin(collected);
        self.query.finish_at(cx.aligned_timestamp, &mut self.store);
        self.store.publish();
        Outcome::Published
    }
}

impl Pipeline for QueryPipeline {
    fn key(&self) -> &str {
        &self.key
    }

    fn schedule(&self) -> Option<Schedule> {
        self.schedule
    }

    fn deadline(&self) -> Duration {
        self.deadline
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
        self.query.debug_info()
    }

    fn losses(&self) -> Losses {
        self.query.losses().and(&self.store)
    }

    fn update_from(&mut self, old: &mut dyn Pipeline) {
        if let [old] = old.queries() {
            self.query.take_over(old);
        }
        if let Some(old) = old.store() {
            self.store.take_over(old);
        }
    }

    fn input(&mut self) -> Option<&mut dyn Input> {
        None
    }

    fn queries(&mut self) -> &mut [Query] {
        std::slice::from_mut(&mut self.query)
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
