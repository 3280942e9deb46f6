//! The series that a query knows, and what was decided about each.

use std::{borrow::Cow, time::Instant};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::condition::Verdict;
use crate::{
    accumulator::{Sample, key},
    catalogue::Metric,
};

pub(super) const NONE: u32 = u32::MAX;

/// A series.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) metric: &'static Metric,
    pub(super) key: Box<[u8]>,
    /// The series that followed it in the last collection.
    next: u32,
    /// Its group; `NONE` when it is not wanted.
    pub(super) group: u32,
    /// Which list of columns takes it.
    pub(super) list: u32,
    /// The collection that last brought it.
    pub(super) tick: u64,
    /// When that was.
    pub(super) seen: Instant,
    /// The value before; NaN when there was none.
    pub(super) value: f64,
    /// When that was collected.
    pub(super) at: Instant,
    /// What is to be tested of its values.
    pub(super) test: Option<Box<Verdict>>,
}

impl Known {
    /// One that is not wanted, until it is said otherwise.
    pub(super) fn new(metric: &'static Metric, key: Box<[u8]>, now: Instant) -> Self {
        Self {
            metric,
            key,
            next: NONE,
            group: NONE,
            list: 0,
            tick: 0,
            seen: now,
            value: f64::NAN,
            at: now,
            test: None,
        }
    }

    /// Whether a sample is of this series.
    #[inline]
    fn is(&self, sample: &Sample<'_>) -> bool {
        std::ptr::eq(self.metric, sample.metric) && key::is(&self.key, sample)
    }

    /// What stands for the `*` in its name.
    pub(super) fn full_name(&self) -> String {
        let labels: Vec<&[u8]> = self.labels().collect();
        let mut pieces = Pieces(&self.key);
        let prefix = String::from_utf8_lossy(pieces.next().unwrap_or_default());
        let part = pieces.next().unwrap_or_default();
        let value = crate::accumulator::Value::Number(0.0);
        crate::accumulator::full_name(&Sample {
            metric: self.metric,
            prefix: &prefix,
            part,
            labels: &labels,
            value,
        })
    }

    /// Its label values, in the order of the definition.
    fn labels(&self) -> impl Iterator<Item = &[u8]> {
        Pieces(&self.key).skip(2)
    }

    /// The value of a label; empty when it has none of that name.
    pub(super) fn label(&self, name: &str) -> &[u8] {
        let mut pairs = self.metric.labels.iter().zip(self.labels());
        pairs.find(|(label, _)| label.name == name).map_or(&[], |(_, value)| value)
    }

    /// The same as text.
    pub(super) fn label_text(&self, name: &str) -> Cow<'_, str> {
        String::from_utf8_lossy(self.label(name))
    }
}

/// The pieces of a key.
struct Pieces<'k>(&'k [u8]);

impl<'k> Iterator for Pieces<'k> {
    type Item = &'k [u8];

    fn next(&mut self) -> Option<&'k [u8]> {
        let (piece, rest) = key::piece(self.0)?;
        self.0 = rest;
        Some(piece)
    }
}

/// All series, found by prediction or by hash.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) all: Vec<Known>,
    index: HashTable<u32>,
    hasher: FixedState,
    first: u32,
    last: u32,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { first: NONE, last: NONE, ..Self::default() }
    }

    /// Starts a collection.
    pub(super) fn begin(&mut self) {
        self.last = NONE;
    }

    /// The series of a sample, if it is known.
    #[inline]
    pub(super) fn find(&mut self, sample: &Sample<'_>) -> Option<u32> {
        let guess = if self.last == NONE { self.first } else { self.all[self.last as usize].next };
        let index = match self.all.get(guess as usize) {
            Some(known) if known.is(sample) => guess,
            _ => self.look_up(sample)?,
        };
        self.last = index;
        Some(index)
    }

    fn look_up(&mut self, sample: &Sample<'_>) -> Option<u32> {
        let all = &self.all;
        let found = self.index.find(key::hash(&self.hasher, sample), |&at| {
            let known = &all[at as usize];
            known.is(sample)
        });
        let index = *found?;
        self.follows(index);
        Some(index)
    }

    /// Notes which series came after the last one.
    fn follows(&mut self, index: u32) {
        if self.last == NONE {
            self.first = index;
        } else {
            self.all[self.last as usize].next = index;
        }
    }

    /// Adds one that is not known, as the one that came last.
    pub(super) fn insert(&mut self, known: Known) {
        let Ok(index) = u32::try_from(self.all.len()) else { return };
        let (hasher, hash) = (&self.hasher, key::hash_of(&self.hasher, known.metric, &known.key));
        self.all.push(known);
        let all = &self.all;
        self.index.insert_unique(hash, index, |&at| {
            let known = &all[at as usize];
            key::hash_of(hasher, known.metric, &known.key)
        });
        self.follows(index);
        self.last = index;
    }

    /// Keeps only some. What followed what is forgotten.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Known) -> bool) {
        let mut keep = keep;
        let all = std::mem::take(&mut self.all);
        self.index.clear();
        (self.first, self.last) = (NONE, NONE);
        for mut known in all {
            if keep(&known) {
                known.next = NONE;
                self.insert(known);
            }
        }
    }
}
