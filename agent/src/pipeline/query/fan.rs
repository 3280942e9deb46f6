//! Several queries on the samples of one input.

use std::time::{Duration, Instant};

use super::{Query, QueryLosses};
use crate::{
    accumulator::{Accumulator, Sample},
    config::PipelineConfig,
    input::CollectContext,
};

/// Results of collections that follow each other faster are delivered this often: nobody scrapes faster, and
/// to copy a hundred histograms costs more than to add to them.
const DELIVERED: Duration = Duration::from_millis(100);

/// Queries that get the same samples.
#[derive(Default)]
pub(crate) struct Queries {
    all: Vec<Query>,
    delivered: Option<Instant>,
}

impl Queries {
    /// Those of a pipeline whose configuration was checked.
    pub(crate) fn of(config: &PipelineConfig) -> Self {
        let query = |query| Query::checked(query).with_groups(config.transform.max_series);
        Self { all: config.queries.iter().map(query).collect(), delivered: None }
    }

    /// The same on frames of another pipeline.
    pub(super) fn on_frames(self) -> Self {
        Self { all: self.all.into_iter().map(Query::on_frames).collect(), ..self }
    }

    /// Whether samples pass as they are.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Query] {
        &mut self.all
    }

    /// Starts a collection.
    pub(crate) fn begin(&mut self, cx: &CollectContext) {
        for query in &mut self.all {
            query.begin(cx);
        }
    }

    /// Ends a collection. True when its results are due, which [`Self::deliver`] then delivers.
    pub(crate) fn finish(&mut self, cx: &CollectContext) -> bool {
        let due = self.delivered.is_none_or(|at| cx.started.saturating_duration_since(at) >= DELIVERED);
        for query in &mut self.all {
            query.close_at(cx.aligned_timestamp);
        }
        if due {
            self.delivered = Some(cx.started);
        }
        due
    }

    /// Delivers the results.
    pub(crate) fn deliver(&mut self, out: &mut dyn Accumulator) {
        for query in &mut self.all {
            query.deliver(out);
        }
    }

    /// Nothing that was delivered is shown any more: what comes next is due at once.
    pub(crate) fn withdraw(&mut self) {
        self.delivered = None;
    }

    /// What they left out.
    pub(crate) fn losses(&self) -> QueryLosses {
        self.all.iter().fold(QueryLosses::default(), |sum, query| sum + query.losses())
    }

    /// Takes over what earlier queries knew: each of the one that makes the same results, or of the only one.
    pub(crate) fn take_over(&mut self, old: &mut [Query]) {
        let names = |query: &Query| -> Vec<String> {
            query.config().select.iter().map(|select| select.name.clone()).collect()
        };
        let only = self.all.len() == 1 && old.len() == 1;
        for query in &mut self.all {
            if let Some(old) = old.iter_mut().find(|old| only || names(old) == names(query)) {
                query.take_over(old);
            }
        }
    }

    /// Whatever helps to understand them.
    pub(crate) fn debug_info(&self) -> serde_json::Value {
        self.all.iter().map(Query::debug_info).collect()
    }
}

impl Accumulator for Queries {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>) {
        for query in self.all.iter_mut().filter(|query| query.may_want(sample.metric)) {
            query.add(sample);
        }
    }
}
