//! Accumulators: where inputs deliver their samples.
//!
//! A sample borrows everything: the name part and label values are slices of the input's own read buffer.
//! What an accumulator does with them is its business: [`SeriesStore`] interns a series once and afterwards
//! only stores values, [`MemoryAccumulator`] keeps owned copies for tests and small programs,
//! [`Prefixed`] passes samples on under a longer name.

mod formula;
mod frame;
mod histogram;
pub(crate) mod key;
mod memory;
mod naming;
mod prefix;
mod render;
mod series;

use std::fmt;

use crate::catalogue::Metric;

#[cfg(test)]
pub(crate) use self::naming::AsIs;
pub use self::{
    formula::{DEPTH, Formula, Formulas, Op, Stack, evaluate},
    frame::{Beginnings, Family, Frame, Series},
    histogram::Histogram,
    memory::{MemoryAccumulator, OwnedSample, OwnedValue},
    naming::{Candidate, Change, Labels, Naming, Verdict, Wanted},
    prefix::Prefixed,
    series::{Limits, SeriesStore},
};
pub(crate) use self::{memory::full_name, render::HistogramLines};

/// One measured value of one series.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    /// Its definition.
    pub metric: &'static Metric,
    /// Put before the definition's name; empty unless an adapter added it.
    pub prefix: &'a str,
    /// What stands for the `*` in the definition's name; empty when there is none.
    pub part: &'a [u8],
    /// Label values, in the order of the definition.
    pub labels: &'a [&'a [u8]],
    /// The value, in base units.
    pub value: Value<'a>,
}

/// A value by type.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A counter, gauge, info or untyped value: the definition says which.
    Number(f64),
    /// A native histogram.
    Histogram(&'a Histogram),
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Number(if value { 1.0 } else { 0.0 })
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Number(value as f64)
    }
}

impl<'a> From<&'a Histogram> for Value<'a> {
    fn from(value: &'a Histogram) -> Self {
        Self::Histogram(value)
    }
}

/// Takes samples. Errors are not samples: an input returns them.
pub trait Accumulator {
    /// Takes one sample.
    fn add(&mut self, sample: &Sample<'_>);
}

impl dyn Accumulator + '_ {
    /// Adds a value of a series with a fixed name.
    #[inline]
    pub fn put<'v>(&mut self, metric: &'static Metric, labels: &[&[u8]], value: impl Into<Value<'v>>) {
        self.add(&Sample { metric, prefix: "", part: b"", labels, value: value.into() });
    }

    /// Adds a value of a series whose name the source completes.
    #[inline]
    pub fn put_part<'v>(
        &mut self,
        metric: &'static Metric,
        part: &[u8],
        labels: &[&[u8]],
        value: impl Into<Value<'v>>,
    ) {
        self.add(&Sample { metric, prefix: "", part, labels, value: value.into() });
    }
}

impl fmt::Debug for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}[{}]", self.prefix, self.metric.name, String::from_utf8_lossy(self.part))?;
        for (label, value) in self.metric.labels.iter().zip(self.labels) {
            write!(f, " {}={:?}", label.name, String::from_utf8_lossy(value))?;
        }
        Ok(())
    }
}
