//! The samples of the newest result of a target, kept until they are delivered.

use super::labels::Labelled;
use crate::{
    accumulator::{Accumulator, Histogram, Sample, Value},
    input::InputDef,
};

/// Labels that a sample may have, with those of its target.
pub(super) const MOST_LABELS: usize = 24;

/// Samples with all that they borrowed. Refilled in place: memory is kept from one result to the next.
#[derive(Debug)]
pub(super) struct Samples {
    def: &'static InputDef,
    kept: Vec<Kept>,
    /// Parts of names and label values, one after another, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Histograms, the first so many of which are of this result.
    histograms: Vec<Histogram>,
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Place of its metric in the definition.
    metric: usize,
    /// Its part among the texts; its labels follow.
    first: usize,
    labels: usize,
    value: KeptValue,
}

#[derive(Clone, Copy, Debug)]
enum KeptValue {
    Number(f64),
    Histogram(usize),
}

impl Samples {
    /// Room for samples of an input.
    pub(super) fn of(def: &'static InputDef) -> Self {
        Self { def, kept: Vec::new(), bytes: Vec::new(), ends: Vec::new(), histograms: Vec::new(), used: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.bytes.clear();
        self.ends.clear();
        self.used = 0;
    }

    /// Delivers them with the labels of a target. Allocates nothing.
    pub(super) fn deliver(&self, labelled: &Labelled, acc: &mut dyn Accumulator) {
        for kept in &self.kept {
            let Some(metric) = labelled.def.metrics.get(kept.metric) else { continue };
            let mut labels: [&[u8]; MOST_LABELS] = [b""; MOST_LABELS];
            let own = (1..=kept.labels).map(|at| self.text(kept.first + at));
            let mut count = 0;
            for (place, value) in labels.iter_mut().zip(own.chain(labelled.values(kept.metric))) {
                *place = value;
                count += 1;
            }
            let value = match kept.value {
                KeptValue::Number(number) => Value::Number(number),
                KeptValue::Histogram(at) => match self.histograms.get(at) {
                    Some(histogram) => Value::Histogram(histogram),
                    None => continue,
                },
            };
            let labels = labels.get(..count).unwrap_or_default();
            acc.add(&Sample { metric, prefix: "", part: self.text(kept.first), labels, value });
        }
    }

    fn text(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn keep_text(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn keep_histogram(&mut self, histogram: &Histogram) -> usize {
        let at = self.used;
        match self.histograms.get_mut(at) {
            Some(kept) => kept.copy_from(histogram),
            None => self.histograms.push(histogram.clone()),
        }
        self.used += 1;
        at
    }
}

impl Accumulator for Samples {
    fn add(&mut self, sample: &Sample<'_>) {
        let known = self.def.metrics.iter().position(|metric| std::ptr::eq(*metric, sample.metric));
        debug_assert!(known.is_some(), "{sample:?} is not in the definition of its input");
        let Some(metric) = known else { return };
        let value = match sample.value {
            Value::Number(number) => KeptValue::Number(number),
            Value::Histogram(histogram) => KeptValue::Histogram(self.keep_histogram(histogram)),
        };
        self.kept.push(Kept { metric, first: self.ends.len(), labels: sample.labels.len(), value });
        self.keep_text(sample.part);
        for label in sample.labels {
            self.keep_text(label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        accumulator::MemoryAccumulator,
        input::check::{EXECUTED, FAILURES, dialcheck},
    };

    #[test]
    fn samples_come_back_with_the_labels_of_their_target() {
        let mut samples = Samples::of(&dialcheck::DEF);
        let labels = [("pod".to_owned(), "web".to_owned())];
        let labelled = Labelled::new(&dialcheck::DEF, &labels);
        for round in 1..3 {
            samples.clear();
            let acc: &mut dyn Accumulator = &mut samples;
            acc.put(&FAILURES, &[b"enter"], f64::from(round));
            acc.put(&EXECUTED, &[], false);
            let mut memory = MemoryAccumulator::new();
            samples.deliver(&labelled, &mut memory);
            assert_eq!(memory.samples().len(), 2);
            assert_eq!(memory.number("failures_total", &["enter", "web"]), Some(f64::from(round)));
            assert_eq!(memory.number("executed", &["web"]), Some(0.0));
        }
    }
}
