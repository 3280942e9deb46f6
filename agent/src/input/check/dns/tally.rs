//! What the agent keeps of the answers of helpers: counts and times.

use std::time::Duration;

use super::{
    super::{
        resolve::Verdict,
        wire::{self, WireError},
    },
    DEF,
    asked::Asked,
    metrics::{LOOKUP_SECONDS, RESULTS_TOTAL, SECONDS, TIMES},
};
use crate::accumulator::{Accumulator, Histogram, MemoryAccumulator, OwnedSample, OwnedValue};

/// Counts of every question.
#[derive(Debug, Default)]
pub(super) struct Tally(Vec<Counts>);

#[derive(Debug)]
struct Counts {
    labels: [String; 2],
    results: [u64; Verdict::WORDS.len()],
    seconds: Histogram,
}

/// What is kept of a sample.
enum Note {
    Ended(usize),
    Took(Duration),
    Other,
}

impl Tally {
    pub(super) fn new(asked: &Asked) -> Self {
        let counts = |labels: [&str; 2]| Counts {
            labels: labels.map(str::to_owned),
            results: [0; Verdict::WORDS.len()],
            seconds: Histogram::new(TIMES),
        };
        Self(asked.labels().map(counts).collect())
    }

    /// Takes over the counts of questions that are still asked.
    pub(super) fn take_over(&mut self, old: &mut Self) {
        for counts in &mut self.0 {
            if let Some(old) = old.0.iter_mut().find(|old| old.labels == counts.labels) {
                std::mem::swap(counts, old);
            }
        }
    }

    /// Delivers what a response says of this moment and counts the rest. Nothing of a response about questions that
    /// were not asked.
    pub(super) fn deliver(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), WireError> {
        let mut memory = MemoryAccumulator::new();
        wire::deliver(&DEF, response, &mut memory)?;
        let notes = memory.samples().iter().map(|sample| self.note(sample)).collect::<Result<Vec<_>, _>>()?;
        for (sample, (at, note)) in memory.samples().iter().zip(notes) {
            let counts = &mut self.0[at];
            match note {
                Note::Ended(result) => {
                    counts.results[result] += 1;
                    continue;
                }
                Note::Took(took) => {
                    counts.seconds.observe(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
                }
                Note::Other => {}
            }
            let OwnedValue::Number(value) = sample.value else { continue };
            let [name, kind] = &counts.labels;
            acc.put(sample.metric, &[name.as_bytes(), kind.as_bytes()], value);
        }
        Ok(())
    }

    /// Which question a sample is about, and what is kept of it.
    fn note(&self, sample: &OwnedSample) -> Result<(usize, Note), WireError> {
        let labels = || sample.labels.iter().map(|(_, value)| value.as_str());
        let is_its = |counts: &Counts| counts.labels.iter().map(String::as_str).eq(labels().take(2));
        let at = self.0.iter().position(is_its).ok_or(WireError::Malformed("labels"))?;
        let note = match sample.value {
            _ if std::ptr::eq(sample.metric, &raw const RESULTS_TOTAL) => {
                let result = Verdict::WORDS.iter().position(|word| labels().nth(2) == Some(word));
                Note::Ended(result.ok_or(WireError::Malformed("result"))?)
            }
            OwnedValue::Number(value) if std::ptr::eq(sample.metric, &raw const SECONDS) => {
                Note::Took(Duration::try_from_secs_f64(value).map_err(|_| WireError::Malformed("seconds"))?)
            }
            _ => Note::Other,
        };
        Ok((at, note))
    }

    /// Delivers the counts.
    pub(super) fn show(&self, acc: &mut dyn Accumulator) {
        for counts in &self.0 {
            let [name, kind] = [counts.labels[0].as_bytes(), counts.labels[1].as_bytes()];
            for (word, count) in Verdict::WORDS.iter().zip(counts.results) {
                acc.put(&RESULTS_TOTAL, &[name, kind, word.as_bytes()], count);
            }
            acc.put(&LOOKUP_SECONDS, &[name, kind], &counts.seconds);
        }
    }
}
