//! Series past the limit of their metric, folded into one called `other`.
//!
//! What is folded is still part of the sum. Numbers that go up and down are added up while they are there. A
//! counter only rises: a member that is gone keeps contributing what it had, and one that began anew adds to
//! that. Histograms are counters in every bucket.

use std::collections::HashMap;

use super::{NONE, SeriesStore, population};
use crate::{
    accumulator::{Frame, Histogram, Labels, Sample},
    catalogue::{Kind, Metric, Values},
};

/// What bounded labels of a fold are called.
pub(super) const OTHER: &[u8] = b"other";
/// Histograms of one metric that may be members of folds: each is kept twice, at some KiB.
pub(super) const HISTOGRAMS: u32 = 1_000;

/// All folds of a store.
#[derive(Debug, Default)]
pub(super) struct Folds {
    /// By name and labels.
    by_name: HashMap<Box<[u8]>, u32>,
    pub(super) all: Vec<Fold>,
    pub(super) members: Vec<Member>,
}

/// One series that others are folded into.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) name: Box<[u8]>,
    /// Metric and key of the raw series that it would be.
    pub(super) raw: (&'static Metric, Box<[u8]>),
    /// Its cell in the frame.
    pub(super) cell: u32,
    /// It is a counter or a histogram: shown in every cycle, whether a member is there or not.
    pub(super) rises: bool,
}

/// A histogram that is part of a fold.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) cell: u32,
    stamp: u32,
    /// What this cycle brought.
    pending: Histogram,
    /// What the published cycle brought that brought one last.
    last: Histogram,
}

impl Member {
    pub(super) fn new(cell: u32, last: Histogram) -> Self {
        Self { cell, stamp: 0, pending: Histogram::new(last.buckets), last }
    }

    pub(super) fn into_last(self) -> Histogram {
        self.last
    }
}

impl Folds {
    pub(super) fn find(&self, name: &[u8]) -> Option<&Fold> {
        self.all.get(*self.by_name.get(name)? as usize)
    }

    pub(super) fn add(&mut self, fold: Fold) {
        let index = u32::try_from(self.all.len()).unwrap_or(NONE);
        self.by_name.insert(fold.name.clone(), index);
        self.all.push(fold);
    }

    /// Keeps only some folds.
    pub(super) fn retain(&mut self, keep: impl Fn(&Fold) -> bool) {
        self.by_name.clear();
        for fold in std::mem::take(&mut self.all) {
            if keep(&fold) {
                self.add(fold);
            }
        }
    }

    /// Takes the histogram of a member.
    pub(super) fn take(&mut self, member: u32, cycle: u32, value: &Histogram) {
        if let Some(member) = self.members.get_mut(member as usize) {
            member.pending.copy_from(value);
            member.stamp = cycle;
        }
    }

    /// Adds what members have gained to the histograms of their folds, and says how many did.
    pub(super) fn merge(&mut self, cycle: u32, frame: &mut Frame) -> u64 {
        let mut merged = 0;
        for member in &mut self.members {
            if member.stamp != cycle {
                continue;
            }
            let Member { pending, last, .. } = member;
            if let Some(total) = frame.histogram_of(member.cell) {
                gain(total, last, pending);
                merged += 1;
            }
            std::mem::swap(last, pending);
        }
        merged
    }

    /// Counters and histograms are shown in every cycle.
    pub(super) fn settle(&self, cycle: u32, frame: &mut Frame) {
        for fold in self.all.iter().filter(|fold| fold.rises) {
            if let Some(cell) = frame.cells.get_mut(fold.cell as usize) {
                cell.stamp = cycle;
            }
        }
    }
}

/// Adds what came between two states of a histogram. When a bucket fell, it began anew.
fn gain(total: &mut Histogram, before: &Histogram, after: &Histogram) {
    let fell = after.zero < before.zero || after.counts.iter().zip(&before.counts).any(|(a, b)| a < b);
    if fell || after.counts.len() != before.counts.len() {
        total.add(after);
        return;
    }
    total.zero += after.zero - before.zero;
    total.sum = total.sum.wrapping_add(after.sum.wrapping_sub(before.sum));
    for ((count, after), before) in total.counts.iter_mut().zip(&after.counts).zip(&before.counts) {
        *count += after - before;
    }
}

/// The labels of a series as they are without tags.
pub(super) fn own_labels<'a>(sample: &Sample<'a>) -> Labels<'a> {
    let values = sample.labels.iter().map(|value| String::from_utf8_lossy(value));
    sample.metric.labels.iter().map(|label| label.name).zip(values).collect()
}

/// What a fold is found by.
pub(super) fn name_of(name: &str, labels: &Labels<'_>) -> Box<[u8]> {
    let mut out = name.as_bytes().to_vec();
    for (label, value) in labels {
        for piece in [label, &**value] {
            out.push(0xff);
            out.extend_from_slice(piece.as_bytes());
        }
    }
    out.into_boxed_slice()
}

/// The label values of the fold of a series; nothing when no label can be folded.
pub(super) fn folded_labels<'a>(sample: &Sample<'a>) -> Option<Vec<&'a [u8]>> {
    // An info metric says what is, and `other` says nothing.
    if sample.metric.kind == Kind::Info {
        return None;
    }
    let mut any = false;
    let labels = sample.metric.labels.iter().zip(sample.labels).map(|(label, &value)| match label.values {
        Values::Bounded(_) => {
            any = true;
            OTHER
        }
        Values::Fixed(_) | Values::Cpu => value,
    });
    let labels = labels.collect();
    any.then_some(labels)
}

impl SeriesStore {
    /// Whether one more histogram of a metric may be a member.
    pub(super) fn another_member(&mut self, of: &'static Metric) -> bool {
        let population = population(&mut self.populations, of);
        let room = population.histograms < HISTOGRAMS;
        population.histograms += u32::from(room);
        room
    }
}
