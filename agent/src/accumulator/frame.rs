//! What a collection left: what encoders and outputs read.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime},
};

use bytes::Bytes;

use super::{Histogram, Labels, Naming, Value, render::Rendered};
use crate::catalogue::{Kind, Metric, Since};

/// Stands for no index.
pub(super) const NONE: u32 = u32::MAX;
/// Stamp of a series that has had no value yet: neither a cycle nor the 0 of a frame that publishes nothing.
const NEVER: u32 = u32::MAX;
/// Epochs are handed out to all frames of the process, so that no two frames ever share one: whoever keeps
/// what it derived from a frame need only remember its epoch.
static EPOCH: AtomicU64 = AtomicU64::new(0);

pub(super) fn next_epoch() -> u64 {
    EPOCH.fetch_add(1, Ordering::Relaxed) + 1
}

/// A published series: all of it that does not change.
#[derive(Clone, Debug)]
pub struct Series {
    pub(super) metric: &'static Metric,
    /// Index of its family.
    pub(super) family: u32,
    pub(super) rendered: Rendered,
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

/// The value of a series, apart from what does not change: the values of neighbours lie side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) number: f64,
    /// Cycle that last brought a value.
    pub(super) stamp: u32,
    /// Position in the column of histograms.
    pub(super) histogram: u32,
}

impl Cell {
    #[inline]
    pub(super) fn set(&mut self, cycle: u32, number: f64) {
        self.number = number;
        self.stamp = cycle;
    }

    /// Adds to what this cycle has brought so far.
    #[inline]
    pub(super) fn add(&mut self, cycle: u32, number: f64) {
        let before = if self.stamp == cycle { self.number } else { 0.0 };
        self.set(cycle, before + number);
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
    pub(super) families: Vec<Family>,
    pub(super) series: Vec<Series>,
    pub(super) cells: Vec<Cell>,
    pub(super) histograms: Vec<Histogram>,
    /// `name{labels} ` of every series that is no histogram, one after another, and where each one ends.
    lines: Vec<u8>,
    ends: Vec<usize>,
    pub(super) published: u32,
    /// When what is published was collected.
    pub(super) collected: Option<Instant>,
    pub(super) epoch: u64,
    pub(super) beginnings: Beginnings,
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
        self.published.into()
    }

    /// When what was published last was collected.
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
        let cell = self.cells.get(index as usize)?;
        if cell.stamp != self.published {
            None
        } else if cell.histogram == NONE {
            Some(Value::Number(cell.number))
        } else {
            self.histograms.get(cell.histogram as usize).map(Value::Histogram)
        }
    }

    /// What stands before the value of a series that is no histogram: `name{labels} `.
    #[inline]
    pub(crate) fn line(&self, index: u32) -> &[u8] {
        let index = index as usize;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.lines.get(start..end).unwrap_or_default()
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
        self.cells.iter().filter(|cell| cell.stamp == self.published).count()
    }

    /// Publishes nothing until the next successful cycle.
    pub fn withdraw(&mut self) {
        self.published = 0;
    }

    /// Adds a series to the family of its name; nothing when there are more than can be counted.
    pub(super) fn bear(&mut self, name: &str, metric: &'static Metric, labels: &Labels<'_>) -> Option<u32> {
        let index = u32::try_from(self.series.len()).ok().filter(|&index| index != NONE)?;
        let mut cell = Cell { number: 0.0, stamp: NEVER, histogram: NONE };
        if let Kind::Histogram(buckets) = metric.kind {
            cell.histogram = u32::try_from(self.histograms.len()).ok()?;
            self.histograms.push(Histogram::new(buckets));
        }
        let families = &mut self.families;
        let at = families.iter().position(|f| f.name == name.as_bytes()).unwrap_or_else(|| {
            families.push(Family { metric, name: Bytes::from(name.to_owned()), series: Vec::new() });
            families.len() - 1
        });
        families[at].series.push(index);
        let rendered = Rendered::new(name, metric.kind, labels, &mut self.lines);
        self.ends.push(self.lines.len());
        self.series.push(Series { metric, family: u32::try_from(at).unwrap_or(NONE), rendered });
        self.cells.push(cell);
        self.epoch = next_epoch();
        Some(index)
    }

    /// Asks anew for the labels of series whose own label of this name has a value that is concerned. Their places
    /// and values stay. Says how many have other labels now.
    pub(super) fn relabel(
        &mut self,
        label: &str,
        concerns: &dyn Fn(&str) -> bool,
        naming: &dyn Naming,
    ) -> usize {
        let mut anew = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            let own = series.metric.labels;
            let Some(at) = own.iter().position(|own| own.name == label) else { continue };
            if !series.labels().nth(at).is_some_and(|(_, value)| concerns(value)) {
                continue;
            }
            let before = || series.labels().map(|(name, value)| (name, Cow::from(value)));
            let Some(labels) = naming.labels(before().take(own.len()).collect()) else { continue };
            let name = self.families.get(series.family as usize).map(|family| &*family.name);
            if let Some(name) = name.filter(|_| !before().eq(labels.iter().cloned())) {
                let mut line = Vec::new();
                let name = String::from_utf8_lossy(name);
                let rendered = Rendered::new(&name, series.metric.kind, &labels, &mut line);
                anew.push((index, rendered, line));
            }
        }
        let count = anew.len();
        if count == 0 {
            return 0;
        }
        let (mut lines, mut ends) =
            (Vec::with_capacity(self.lines.len()), Vec::with_capacity(self.ends.len()));
        let mut anew = anew.into_iter().peekable();
        for index in 0..self.series.len() {
            if let Some((_, rendered, line)) = anew.next_if(|(at, ..)| *at == index) {
                self.series[index].rendered = rendered;
                lines.extend_from_slice(&line);
            } else {
                lines.extend_from_slice(self.line(u32::try_from(index).unwrap_or(NONE)));
            }
            ends.push(lines.len());
        }
        (self.lines, self.ends) = (lines, ends);
        self.epoch = next_epoch();
        count
    }

    /// The series of that name with the same labels.
    pub(super) fn find(&self, name: &str, labels: &Labels<'_>) -> Option<u32> {
        let family = self.families.iter().find(|family| family.name == name.as_bytes())?;
        let wanted = || labels.iter().map(|(label, value)| (*label, &**value));
        let same = |index: &u32| self.series[*index as usize].labels().eq(wanted());
        family.series.iter().copied().find(same)
    }

    /// The histogram of a series that has one.
    #[inline]
    pub(super) fn histogram_of(&mut self, index: u32) -> Option<&mut Histogram> {
        let cell = self.cells.get(index as usize)?;
        self.histograms.get_mut(cell.histogram as usize)
    }

    /// Forgets all series but these, and says where they are now.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut places = vec![NONE; self.series.len()];
        let (mut series, mut cells, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lines, mut ends) = (Vec::new(), Vec::new());
        for family in &mut self.families {
            family.series.clear();
        }
        let old = std::mem::take(&mut self.series).into_iter().zip(std::mem::take(&mut self.cells));
        for ((index, place), (one, mut cell)) in (0u32..).zip(&mut places).zip(old) {
            if !keep(index) {
                continue;
            }
            *place = u32::try_from(series.len()).unwrap_or(NONE);
            lines.extend_from_slice(self.line(index));
            ends.push(lines.len());
            if let Some(family) = self.families.get_mut(one.family as usize) {
                family.series.push(*place);
            }
            if let Some(histogram) = self.histograms.get_mut(cell.histogram as usize) {
                let buckets = histogram.buckets;
                let kept = Histogram {
                    buckets,
                    zero: histogram.zero,
                    sum: histogram.sum,
                    counts: std::mem::take(&mut histogram.counts),
                };
                cell.histogram = u32::try_from(histograms.len()).unwrap_or(NONE);
                histograms.push(kept);
            }
            series.push(one);
            cells.push(cell);
        }
        (self.series, self.cells, self.histograms) = (series, cells, histograms);
        (self.lines, self.ends) = (lines, ends);
        self.epoch = next_epoch();
        places
    }
}
