//! The interning accumulator: a series is named, filtered and rendered once; from then on a sample is an
//! index and a value.
//!
//! A known series is found by prediction (inputs deliver in the same order every cycle, so the series that
//! followed last time is compared first) or by a hash of the borrowed bytes. Neither allocates.

#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{Accumulator, Histogram, Sample, Value, memory::full_name, render::Rendered};
use crate::catalogue::{Kind, Metric, Since};

/// Decides what a series is called outside, when it is born.
pub trait Naming: Send {
    /// The exported name of a raw name, or nothing when the series is not wanted.
    fn export(&self, raw: &str) -> Option<String>;
    /// Labels to add; a label of the metric itself wins.
    fn tags(&self) -> &[(String, String)];
}

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series that one metric may have; later ones are counted and left out.
    pub series_per_metric: u32,
    /// Cycles after which a series that was not seen is forgotten.
    pub keep_cycles: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series_per_metric: 10_000, keep_cycles: 60 }
    }
}

const NONE: u32 = u32::MAX;
/// Epochs are handed out to all frames of the process, so that no two frames ever share one: whoever keeps
/// what it derived from a frame need only remember its epoch.
static EPOCH: AtomicU64 = AtomicU64::new(0);

fn next_epoch() -> u64 {
    EPOCH.fetch_add(1, Ordering::Relaxed) + 1
}

/// A sweep is only worth its work when so many series are gone.
const SWEEP_AT_LEAST: usize = 64;

/// A series and what was decided about it.
#[derive(Clone, Debug)]
pub struct Series {
    metric: &'static Metric,
    key: Box<[u8]>,
    /// Index of its family; `NONE` when it was filtered out.
    family: u32,
    /// Position in the column of histograms.
    histogram: u32,
    /// The series that followed it in the last cycle.
    next: u32,
    /// Cycle that last brought a value.
    stamp: u64,
    number: f64,
    rendered: Rendered,
}

impl Series {
    /// Its definition.
    pub fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// Its labels as they are shown: those of the metric first, then the tags.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rendered.labels()
    }

    /// What was rendered at its birth.
    pub(crate) fn rendered(&self) -> &Rendered {
        &self.rendered
    }
}

/// All series of one exported name.
#[derive(Clone, Debug)]
pub struct Family {
    /// Definition.
    pub metric: &'static Metric,
    /// Exported name.
    pub name: Bytes,
    pub(crate) series: Vec<u32>,
}

impl Family {
    /// Its series, in the order of their birth, by what [`Frame::series`] and [`Frame::value`] take.
    pub fn series(&self) -> &[u32] {
        &self.series
    }
}

/// When counters began at zero that do not count from boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beginnings {
    /// Those of a kernel program.
    pub attach: Option<SystemTime>,
    /// Those of the agent.
    pub start: Option<SystemTime>,
}

/// What a collection left: families, their series and the values of the published cycle. A copy stays what it was.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    families: Vec<Family>,
    series: Vec<Series>,
    histograms: Vec<Histogram>,
    published: u64,
    /// When what is published was collected.
    collected: Option<Instant>,
    epoch: u64,
    beginnings: Beginnings,
}

impl Frame {
    /// The families, in the order of their birth.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Changes whenever a series or family is born or forgotten. Two frames never have the same one, but
    /// for 0: that of every frame without series.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the published cycle; 0 when nothing is published. Together with [`Self::epoch`] it tells
    /// whether something was published anew.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// When what is published was collected, where that was said.
    pub fn collected(&self) -> Option<Instant> {
        self.collected
    }

    /// A series of a family.
    pub fn series(&self, index: u32) -> &Series {
        &self.series[index as usize]
    }

    /// Its value, if the published cycle brought one.
    #[inline]
    pub fn value(&self, index: u32) -> Option<Value<'_>> {
        let series = &self.series[index as usize];
        if series.stamp != self.published {
            None
        } else if series.histogram == NONE {
            Some(Value::Number(series.number))
        } else {
            self.histograms.get(series.histogram as usize).map(Value::Histogram)
        }
    }

    /// When the counters of a metric began at zero, where that is known.
    #[inline]
    pub(crate) fn beginning(&self, metric: &Metric) -> Option<SystemTime> {
        match metric.since {
            Since::Attach => self.beginnings.attach,
            Since::Start => self.beginnings.start,
            Since::Boot | Since::Now => None,
        }
    }

    /// Series with a value in the published cycle.
    pub fn live(&self) -> usize {
        if self.published == 0 {
            return 0;
        }
        self.series.iter().filter(|s| s.stamp == self.published && s.family != NONE).count()
    }

    /// Publishes nothing until the next successful cycle.
    pub fn withdraw(&mut self) {
        self.published = 0;
    }
}

/// The accumulator that pipelines use.
pub struct SeriesStore {
    frame: Frame,
    naming: Box<dyn Naming>,
    limits: Limits,
    table: HashTable<u32>,
    /// How many series each metric has.
    populations: Vec<(&'static Metric, u32)>,
    hasher: FixedState,
    cycle: u64,
    last: u32,
    first: u32,
    /// Samples left out because their metric had too many series.
    pub over_limit: u64,
    /// Samples whose series had already been delivered in the same cycle.
    pub duplicates: u64,
}

impl SeriesStore {
    /// An empty store.
    pub fn new(naming: Box<dyn Naming>, limits: Limits) -> Self {
        Self {
            frame: Frame::default(),
            naming,
            limits,
            table: HashTable::new(),
            populations: Vec::new(),
            hasher: FixedState::default(),
            cycle: 0,
            last: NONE,
            first: NONE,
            over_limit: 0,
            duplicates: 0,
        }
    }

    /// The same, for counters that began at these times.
    pub fn with(mut self, beginnings: Beginnings) -> Self {
        self.frame.beginnings = beginnings;
        self
    }

    /// Starts a cycle. What the last one published stays until [`Self::publish`].
    pub fn begin(&mut self) {
        self.cycle += 1;
        self.last = NONE;
    }

    /// Ends a cycle: its samples become the frame, and series that have not been seen for long are forgotten.
    pub fn publish(&mut self) {
        self.frame.published = self.cycle;
        let gone = self.frame.series.len().saturating_sub(self.frame.live());
        if gone >= SWEEP_AT_LEAST && self.cycle.is_multiple_of(self.limits.keep_cycles) {
            self.sweep();
        }
    }

    /// The same, for samples that were collected at this time.
    pub fn publish_at(&mut self, collected: Instant) {
        self.frame.collected = Some(collected);
        self.publish();
    }

    /// Ends a cycle that failed: nothing is published.
    pub fn withdraw(&mut self) {
        self.frame.withdraw();
    }

    /// What was published last.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    fn hash(&self, sample: &Sample<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_usize(std::ptr::from_ref(sample.metric).addr());
        for piece in pieces(sample) {
            hasher.write(piece);
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }

    /// The series that followed the last one in the previous cycle, if it is this one again.
    #[inline]
    fn predicted(&self, sample: &Sample<'_>) -> Option<u32> {
        let index = if self.last == NONE { self.first } else { self.frame.series[self.last as usize].next };
        let series = self.frame.series.get(index as usize)?;
        is(series, sample).then_some(index)
    }

    fn find(&mut self, sample: &Sample<'_>) -> Option<u32> {
        let hash = self.hash(sample);
        let series = &self.frame.series;
        let found = self.table.find(hash, |&i| is(&series[i as usize], sample)).copied();
        let index = match found {
            Some(index) => index,
            None => self.bear(hash, sample)?,
        };
        if self.last == NONE {
            self.first = index;
        } else {
            self.frame.series[self.last as usize].next = index;
        }
        Some(index)
    }

    #[cold]
    fn bear(&mut self, hash: u64, sample: &Sample<'_>) -> Option<u32> {
        let siblings = population(&mut self.populations, sample.metric);
        if *siblings >= self.limits.series_per_metric {
            return None;
        }
        *siblings += 1;
        let index = u32::try_from(self.frame.series.len()).ok().filter(|&i| i != NONE)?;
        let raw = full_name(sample);
        let mut series = Series {
            metric: sample.metric,
            key: key(sample),
            family: NONE,
            histogram: NONE,
            next: NONE,
            stamp: 0,
            number: 0.0,
            rendered: Rendered::default(),
        };
        if let Some(name) = self.naming.export(&raw) {
            series.rendered = Rendered::new(&name, sample, self.naming.tags());
            series.family = self.family(name, sample.metric, index);
            if let Kind::Histogram(buckets) = sample.metric.kind {
                series.histogram = u32::try_from(self.frame.histograms.len()).ok()?;
                self.frame.histograms.push(Histogram::new(buckets));
            }
            self.frame.epoch = next_epoch();
        }
        self.frame.series.push(series);
        let (series, hasher) = (&self.frame.series, &self.hasher);
        self.table.insert_unique(hash, index, |&i| stored_hash(hasher, &series[i as usize]));
        Some(index)
    }

    fn family(&mut self, name: String, metric: &'static Metric, series: u32) -> u32 {
        let families = &mut self.frame.families;
        let at = families.iter().position(|f| f.name == name.as_bytes()).unwrap_or_else(|| {
            families.push(Family { metric, name: Bytes::from(name), series: Vec::new() });
            families.len() - 1
        });
        families[at].series.push(series);
        u32::try_from(at).unwrap_or(NONE)
    }

    /// Forgets series that have not been seen for `keep_cycles`.
    fn sweep(&mut self) {
        let oldest = self.cycle.saturating_sub(self.limits.keep_cycles);
        let frame = &mut self.frame;
        let mut histograms = Vec::new();
        let mut kept: Vec<Series> = Vec::with_capacity(frame.series.len());
        for family in &mut frame.families {
            family.series.clear();
        }
        for mut series in frame.series.drain(..) {
            if series.stamp < oldest {
                continue;
            }
            let index = u32::try_from(kept.len()).unwrap_or(NONE);
            series.next = NONE;
            if let Some(family) = frame.families.get_mut(series.family as usize) {
                family.series.push(index);
            }
            if let Some(histogram) = frame.histograms.get(series.histogram as usize) {
                series.histogram = u32::try_from(histograms.len()).unwrap_or(NONE);
                histograms.push(histogram.clone());
            }
            kept.push(series);
        }
        frame.series = kept;
        frame.histograms = histograms;
        frame.epoch = next_epoch();
        (self.first, self.last) = (NONE, NONE);
        self.table.clear();
        self.populations.clear();
        let (series, hasher) = (&self.frame.series, &self.hasher);
        for (index, one) in (0u32..).zip(series) {
            let hash = stored_hash(hasher, one);
            *population(&mut self.populations, one.metric) += 1;
            self.table.insert_unique(hash, index, |&i| stored_hash(hasher, &series[i as usize]));
        }
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
        let series = &mut self.frame.series[index as usize];
        if series.stamp == self.cycle {
            self.duplicates += 1;
            return;
        }
        series.stamp = self.cycle;
        match sample.value {
            Value::Number(value) => series.number = value,
            Value::Histogram(value) => {
                if let Some(kept) = self.frame.histograms.get_mut(series.histogram as usize) {
                    kept.copy_from(value);
                }
            }
        }
    }
}

/// The number of series of a metric. An input has a few dozen metrics at most.
fn population<'a>(all: &'a mut Vec<(&'static Metric, u32)>, of: &'static Metric) -> &'a mut u32 {
    let at = all.iter().position(|(metric, _)| std::ptr::eq(*metric, of)).unwrap_or_else(|| {
        all.push((of, 0));
        all.len() - 1
    });
    &mut all[at].1
}

/// The bytes that tell a series from others of its metric.
fn pieces<'a>(sample: &'a Sample<'a>) -> impl Iterator<Item = &'a [u8]> {
    [sample.prefix.as_bytes(), sample.part].into_iter().chain(sample.labels.iter().copied())
}

/// Those bytes as one run, each piece after its length.
fn key(sample: &Sample<'_>) -> Box<[u8]> {
    let mut key = Vec::new();
    for piece in pieces(sample) {
        key.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_ne_bytes());
        key.extend_from_slice(piece);
    }
    key.into_boxed_slice()
}

/// Takes the next piece off a key.
#[inline]
fn piece(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_ne_bytes(*length) as usize)
}

#[inline]
fn is(series: &Series, sample: &Sample<'_>) -> bool {
    if !std::ptr::eq(series.metric, sample.metric) {
        return false;
    }
    let mut rest = &*series.key;
    for wanted in pieces(sample) {
        match piece(rest) {
            Some((have, after)) if have == wanted => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

fn stored_hash(hasher: &FixedState, series: &Series) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_usize(std::ptr::from_ref(series.metric).addr());
    let mut rest = &*series.key;
    while let Some((have, after)) = piece(rest) {
        hasher.write(have);
        hasher.write_u8(0xff);
        rest = after;
    }
    hasher.finish()
}
