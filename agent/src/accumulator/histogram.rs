//! The value of a histogram sample.

use std::sync::atomic::{AtomicU64, Ordering};

use pitot_common::histogram::{FIRST, SUM, ZERO};

use crate::catalogue::Buckets;

/// Counts by native bucket slot (see `pitot_common::histogram`), kept and refilled by its input.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Layout.
    pub buckets: Buckets,
    /// Observations of zero.
    pub zero: u64,
    /// Sum of raw values. Wide, because what is observed a thousand times a second would fill 64 bits in days.
    pub sum: u128,
    /// Counts by slot.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(buckets: Buckets) -> Self {
        Self { buckets, zero: 0, sum: 0, counts: vec![0; buckets.slots] }
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.zero = 0;
        self.sum = 0;
        self.counts.fill(0);
    }

    /// Adds a histogram that a kernel program keeps, word by word. Observations that arrive meanwhile may
    /// be in a bucket and not yet in the sum, or the reverse.
    pub fn merge(&mut self, words: &[AtomicU64]) {
        let Some((head, slots)) = words.split_at_checked(FIRST) else { return };
        self.zero += head[ZERO].load(Ordering::Relaxed);
        self.sum += u128::from(head[SUM].load(Ordering::Relaxed));
        for (count, word) in self.counts.iter_mut().zip(slots) {
            *count += word.load(Ordering::Relaxed);
        }
    }

    /// Adds another one of the same layout.
    pub fn add(&mut self, other: &Self) {
        self.zero += other.zero;
        self.sum += other.sum;
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Counts one raw value.
    pub fn observe(&mut self, value: u64) {
        if value == 0 {
            self.zero += 1;
        } else if let Some(count) = self.counts.get_mut(self.buckets.scale.slot(value) as usize) {
            *count += 1;
            self.sum += u128::from(value);
        }
    }

    /// Makes this a copy of another one of the same layout, without allocating.
    pub fn copy_from(&mut self, other: &Self) {
        self.buckets = other.buckets;
        self.zero = other.zero;
        self.sum = other.sum;
        self.counts.clone_from(&other.counts);
    }

    /// Observations in all: what the buckets hold, so that count and buckets always agree.
    pub fn count(&self) -> u64 {
        self.zero + self.counts.iter().sum::<u64>()
    }

    /// Sum in base units.
    pub fn sum(&self) -> f64 {
        self.sum as f64 / self.buckets.scale.per_unit()
    }
}
