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
/// The part of the time between two collections by which the time that they took may differ: a rate is wrong by as
/// much, because nobody knows when between its time and its end a collection found a number.
const TOLERATED: u32 = 20;

/// Queries that get the same samples.
#[derive(Default)]
pub(crate) struct Queries {
    all: Vec<Query>,
    delivered: Option<Instant>,
    /// When the last collection that was taken started, and how long it took.
    taken: Option<(Instant, Duration)>,
    held_up: u64,
}

impl Queries {
    /// Those of a pipeline whose configuration was checked.
    pub(crate) fn of(config: &PipelineConfig) -> Self {
        let query = |query| Query::checked(query).with_groups(config.transform.max_series);
        Self { all: config.queries.iter().map(query).collect(), ..Self::default() }
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
        let held_up = self.is_held_up(cx.started, cx.started.elapsed());
        // A query that does not get to close it sees it as one that failed: the next rate is over the time of both.
        for query in self.all.iter_mut().filter(|query| !(held_up && query.takes_rates())) {
            query.close_at(cx.aligned_timestamp);
        }
        self.held_up += u64::from(held_up && self.all.iter().any(Query::takes_rates));
        if due {
            self.delivered = Some(cx.started);
        }
        due
    }

    /// Whether a collection took so much more or less time than the one before that rates between them are wrong.
    /// The longer ago that is, the less it matters: where collections take longer from now on, few are left out.
    fn is_held_up(&mut self, started: Instant, took: Duration) -> bool {
        let held_up = self.taken.is_some_and(|(before, usual)| {
            took.abs_diff(usual) > started.saturating_duration_since(before) / TOLERATED
        });
        if !held_up {
            self.taken = Some((started, took));
        }
        held_up
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
        let own = QueryLosses { held_up: self.held_up, ..QueryLosses::default() };
        self.all.iter().fold(own, |sum, query| sum + query.losses())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_that_was_held_up_is_left_out_and_one_that_stays_slow_is_not() {
        let start = Instant::now();
        let mut queries = Queries::default();
        // Starts and lengths, in microseconds.
        let mut is_left_out = |started: u64, took: u64| {
            queries.is_held_up(start + Duration::from_micros(started), Duration::from_micros(took))
        };
        assert!(!is_left_out(0, 100));
        assert!(!is_left_out(10_000, 550));
        assert!(is_left_out(20_000, 5_000));
        assert!(!is_left_out(30_000, 100));
        // From now on it takes longer.
        assert_eq!((4..10).filter(|tick| is_left_out(tick * 10_000, 1_000)).count(), 1);
    }
}
