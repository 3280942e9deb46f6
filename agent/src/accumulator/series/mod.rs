//! The interning accumulator: a series is named, filtered and rendered once; from then on a sample is an
//! index and a value.
//!
//! A known series is found by prediction (inputs deliver in the same order every cycle, so the series that
//! followed last time is compared first) or by a hash of the borrowed bytes. Neither allocates. A value that is
//! published as it came goes straight into the frame. One that is changed, folded or computed from waits until
//! the cycle is published, so that a cycle that fails leaves no trace in what is remembered of earlier ones.

mod birth;
mod derived;
mod fold;
mod legacy;
mod sweep;
#[cfg(test)]
mod tests;
mod work;

use std::time::Instant;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use self::{derived::Sets, fold::Folds, legacy::Legacy, work::Work};
use super::{
    Accumulator, Beginnings, Frame, Naming, Sample, Value,
    frame::NONE,
    key::{self, Key, Keys},
};
use crate::catalogue::Metric;

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series that one metric may have by themselves. Later ones fold into others, at most as many again: up to
    /// ten times as many are known by their raw identity, and what comes after those is counted and left out.
    pub series_per_metric: u32,
    /// Cycles after which a series that was not seen is forgotten.
    pub keep_cycles: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series_per_metric: 10_000, keep_cycles: 60 }
    }
}

impl Limits {
    /// Raw series that one metric may have, shown, folded or left out.
    fn known_per_metric(&self) -> u32 {
        self.series_per_metric.saturating_mul(11)
    }
}

/// A series as it is delivered.
#[derive(Debug)]
struct Raw {
    metric: &'static Metric,
    key: Key,
    /// The series that followed it in the last cycle.
    next: u32,
    /// Cycle that last brought a value.
    stamp: u32,
    to: To,
}

/// Where the values of a raw series go.
#[derive(Clone, Copy, Debug, PartialEq)]
enum To {
    /// Nowhere: it is not wanted.
    Nowhere,
    /// Nowhere: its metric has too many series, and it cannot be folded.
    OverLimit,
    /// Nowhere: its labels contradict the tags.
    Conflict,
    /// A cell of the frame.
    Cell(u32),
    /// The histogram of a cell.
    Histogram(u32),
    /// Something that is done when the cycle is published.
    Work(u32),
    /// A histogram that is folded when the cycle is published.
    Member(u32),
}

/// How many series a metric has.
#[derive(Debug)]
struct Population {
    metric: &'static Metric,
    /// All that are known.
    known: u32,
    /// Those that are shown by themselves.
    shown: u32,
    /// Folds of others.
    folds: u32,
    /// Histograms that are folded.
    histograms: u32,
}

/// The accumulator that pipelines use.
pub struct SeriesStore {
    frame: Frame,
    naming: Box<dyn Naming>,
    limits: Limits,
    keys: Keys,
    raws: Vec<Raw>,
    table: HashTable<u32>,
    works: Vec<Work>,
    folds: Folds,
    sets: Sets,
    legacy: Option<Box<Legacy>>,
    populations: Vec<Population>,
    hasher: FixedState,
    /// Where times are measured from, the beginning of this cycle, and the nanoseconds between the two.
    origin: Option<Instant>,
    begun: Option<Instant>,
    now: u64,
    cycle: u32,
    last: u32,
    first: u32,
    /// Samples left out because their metric had too many series, and that could not be folded.
    pub over_limit: u64,
    /// Samples whose series had already been delivered in the same cycle.
    pub duplicates: u64,
    /// Samples that are part of an `other` series.
    pub folded: u64,
    /// Samples left out because their labels contradict the tags.
    pub conflicts: u64,
    /// Differences and rates left out because their counter had fallen.
    pub resets: u64,
}

impl SeriesStore {
    /// An empty store.
    pub fn new(naming: Box<dyn Naming>, limits: Limits) -> Self {
        Self {
            frame: Frame::default(),
            naming,
            limits,
            keys: Keys::default(),
            raws: Vec::new(),
            table: HashTable::new(),
            works: Vec::new(),
            folds: Folds::default(),
            sets: Sets::default(),
            legacy: None,
            populations: Vec::new(),
            hasher: FixedState::default(),
            origin: None,
            begun: None,
            now: 0,
            cycle: 0,
            last: NONE,
            first: NONE,
            over_limit: 0,
            duplicates: 0,
            folded: 0,
            conflicts: 0,
            resets: 0,
        }
    }

    /// The same, for counters that began at these times.
    pub fn with(mut self, beginnings: Beginnings) -> Self {
        self.frame.beginnings = beginnings;
        self
    }

    /// Starts a cycle, at the time that its samples stand for. What the last one published stays until
    /// [`Self::publish`].
    pub fn begin(&mut self, now: Instant) {
        self.begun = Some(now);
        let origin = *self.origin.get_or_insert(now);
        self.now = u64::try_from(now.saturating_duration_since(origin).as_nanos()).unwrap_or(u64::MAX - 1);
        self.cycle += 1;
        self.last = NONE;
    }

    /// Ends a cycle: its samples become the frame, and series that have not been seen for long are forgotten.
    pub fn publish(&mut self) {
        self.work();
        self.derive();
        self.folds.settle(self.cycle, &mut self.frame);
        (self.frame.published, self.frame.collected) = (self.cycle, self.begun);
        if u64::from(self.cycle).is_multiple_of(self.limits.keep_cycles) {
            self.sweep();
        }
    }

    /// Ends a cycle that failed: nothing is published, and nothing of it is remembered.
    pub fn withdraw(&mut self) {
        self.frame.withdraw();
    }

    /// Asks anew for the labels of series whose own label of this name has a value that is concerned, because who
    /// names them knows more now. Their values stay. Says how many have other labels now.
    pub fn relabel(&mut self, label: &str, concerns: &dyn Fn(&str) -> bool) -> usize {
        self.frame.relabel(label, concerns, &*self.naming)
    }

    /// What was published last.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The series that followed the last one in the previous cycle, if it is this one again.
    #[inline]
    fn predicted(&self, sample: &Sample<'_>) -> Option<u32> {
        let index = if self.last == NONE { self.first } else { self.raws[self.last as usize].next };
        let raw = self.raws.get(index as usize)?;
        (std::ptr::eq(raw.metric, sample.metric) && self.keys.is(raw.key, sample)).then_some(index)
    }

    fn find(&mut self, sample: &Sample<'_>) -> Option<u32> {
        let hash = key::hash(&self.hasher, sample);
        let is = |&index: &u32| {
            let raw = &self.raws[index as usize];
            std::ptr::eq(raw.metric, sample.metric) && self.keys.is(raw.key, sample)
        };
        let index = match self.table.find(hash, is).copied() {
            Some(index) => index,
            None => self.bear(hash, sample)?,
        };
        if self.last == NONE {
            self.first = index;
        } else {
            self.raws[self.last as usize].next = index;
        }
        Some(index)
    }
}

impl Accumulator for SeriesStore {
    fn add(&mut self, sample: &Sample<'_>) {
        debug_assert_eq!(sample.labels.len(), sample.metric.labels.len(), "{sample:?}");
        let Some(index) = self.predicted(sample).or_else(|| self.find(sample)) else {
            self.over_limit += 1;
            return;
        };
        self.last = index;
        let raw = &mut self.raws[index as usize];
        if raw.stamp == self.cycle {
            self.duplicates += 1;
            return;
        }
        raw.stamp = self.cycle;
        match (raw.to, sample.value) {
            (To::Cell(index), Value::Number(value)) => {
                if let Some(cell) = self.frame.cells.get_mut(index as usize) {
                    cell.set(self.cycle, value);
                }
            }
            (To::Work(index), Value::Number(value)) => {
                if let Some(work) = self.works.get_mut(index as usize) {
                    work.take(self.cycle, value);
                }
            }
            (To::Histogram(index), Value::Histogram(value)) => {
                if let Some(kept) = self.frame.histogram_of(index) {
                    kept.copy_from(value);
                    self.frame.cells[index as usize].stamp = self.cycle;
                }
            }
            (To::Member(index), Value::Histogram(value)) => self.folds.take(index, self.cycle, value),
            (To::OverLimit, _) => self.over_limit += 1,
            (To::Conflict, _) => self.conflicts += 1,
            // What is not wanted; and an input that delivers another type than it defines.
            _ => {}
        }
    }
}

/// The population of a metric. An input has a few dozen metrics at most.
fn population<'a>(all: &'a mut Vec<Population>, of: &'static Metric) -> &'a mut Population {
    let at = all.iter().position(|one| std::ptr::eq(one.metric, of)).unwrap_or_else(|| {
        all.push(Population { metric: of, known: 0, shown: 0, folds: 0, histograms: 0 });
        all.len() - 1
    });
    &mut all[at]
}
