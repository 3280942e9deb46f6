//! An accumulator that keeps owned copies, for tests and small programs.

use super::{Accumulator, Histogram, Sample, Value};
use crate::catalogue::Metric;

/// Keeps every sample, in the order of arrival.
#[derive(Debug, Default)]
pub struct MemoryAccumulator {
    samples: Vec<OwnedSample>,
}

/// A sample that owns its parts.
#[derive(Clone, Debug)]
pub struct OwnedSample {
    /// Definition.
    pub metric: &'static Metric,
    /// Full name, with the source's part and any prefix.
    pub name: String,
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// Value.
    pub value: OwnedValue,
}

/// A value that owns its parts.
#[derive(Clone, Debug)]
pub enum OwnedValue {
    /// A number.
    Number(f64),
    /// A histogram.
    Histogram(Box<Histogram>),
}

impl MemoryAccumulator {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has arrived.
    pub fn samples(&self) -> &[OwnedSample] {
        &self.samples
    }

    /// The number of the series with that name and those label values.
    pub fn number(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let sample = self.samples.iter().find(|s| {
            s.name == name
                && s.labels.len() == labels.len()
                && s.labels.iter().zip(labels).all(|(a, b)| a.1 == *b)
        })?;
        match sample.value {
            OwnedValue::Number(value) => Some(value),
            OwnedValue::Histogram(_) => None,
        }
    }
}

impl Accumulator for MemoryAccumulator {
    fn add(&mut self, sample: &Sample<'_>) {
        self.samples.push(OwnedSample {
            metric: sample.metric,
            name: full_name(sample),
            labels: sample
                .metric
                .labels
                .iter()
                .zip(sample.labels)
                .map(|(label, value)| (label.name, String::from_utf8_lossy(value).into_owned()))
                .collect(),
            value: match sample.value {
                Value::Number(value) => OwnedValue::Number(value),
                Value::Histogram(value) => OwnedValue::Histogram(Box::new(value.clone())),
            },
        });
    }
}

/// The name of a sample with its part and its prefix.
pub(crate) fn full_name(sample: &Sample<'_>) -> String {
    let part = String::from_utf8_lossy(sample.part);
    match sample.metric.name.split_once('*') {
        Some((before, after)) => format!("{}{before}{part}{after}", sample.prefix),
        None => format!("{}{}", sample.prefix, sample.metric.name),
    }
}
