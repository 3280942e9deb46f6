//! What the agent makes and keeps of the answers of helpers: statistics of a check, and counts and times of all.

use std::time::Duration;

use super::{
    super::wire::{self, WireError},
    DEF,
    asked::Asked,
    echo::Ending,
    metrics::{
        EACH, LOSS_RATIO, LOST_TOTAL, RECEIVED, RESULTS_TOTAL, ROUND_TRIP_SECONDS, RTT_SECONDS, SENT,
        SENT_TOTAL, STATS, TIMES, UP,
    },
};
use crate::accumulator::{Accumulator, Histogram, MemoryAccumulator, OwnedSample, OwnedValue};

/// More echoes than a check ever sends.
const MOST: u16 = 100;

/// Counts of every host.
#[derive(Debug, Default)]
pub(super) struct Tally(Vec<Counts>);

#[derive(Debug)]
struct Counts {
    host: String,
    sent: u64,
    lost: u64,
    results: [u64; Ending::WORDS.len()],
    seconds: Histogram,
}

/// What a response says of a host.
#[derive(Clone, Debug, Default)]
struct Told {
    sent: Option<u16>,
    round_trips: Vec<Duration>,
    result: Option<usize>,
}

impl Tally {
    pub(super) fn new(asked: &Asked) -> Self {
        let counts = |host: &String| Counts {
            host: host.clone(),
            sent: 0,
            lost: 0,
            results: [0; Ending::WORDS.len()],
            seconds: Histogram::new(TIMES),
        };
        Self(asked.hosts.iter().map(counts).collect())
    }

    /// Takes over the counts of hosts that are still asked.
    pub(super) fn take_over(&mut self, old: &mut Self) {
        for counts in &mut self.0 {
            if let Some(old) = old.0.iter_mut().find(|old| old.host == counts.host) {
                std::mem::swap(counts, old);
            }
        }
    }

    /// Delivers what a response says of this moment and counts the rest. Nothing of a response that says what
    /// cannot be.
    pub(super) fn deliver(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), WireError> {
        let mut memory = MemoryAccumulator::new();
        wire::deliver(&DEF, response, &mut memory)?;
        let mut told = vec![Told::default(); self.0.len()];
        for sample in memory.samples() {
            self.hear(sample, &mut told)?;
        }
        let is_possible = |told: &Told| told.round_trips.len() <= told.sent.unwrap_or(0).into();
        if !told.iter().all(is_possible) {
            return Err(WireError::Malformed("more answers than echoes"));
        }
        for (counts, told) in self.0.iter_mut().zip(told) {
            if let (Some(sent), Some(result)) = (told.sent, told.result) {
                counts.take(sent, &told.round_trips, result);
                show_now(&counts.host, sent, &told.round_trips, acc);
            }
        }
        Ok(())
    }

    fn hear(&self, sample: &OwnedSample, told: &mut [Told]) -> Result<(), WireError> {
        let mut labels = sample.labels.iter().map(|(_, value)| value.as_str());
        let (host, second) = (labels.next(), labels.next());
        let at = self.0.iter().position(|counts| Some(counts.host.as_str()) == host);
        let (Some(told), OwnedValue::Number(value)) = (at.and_then(|at| told.get_mut(at)), &sample.value)
        else {
            return Err(WireError::Malformed("labels"));
        };
        if std::ptr::eq(sample.metric, &raw const SENT) {
            let is_it = |count: &u16| (f64::from(*count) - *value).abs() < f64::EPSILON;
            let possible = (0..=MOST).find(is_it);
            told.sent = Some(possible.ok_or(WireError::Malformed("sent"))?);
        } else if std::ptr::eq(sample.metric, &raw const RTT_SECONDS)
            && second.map(str::as_bytes) == Some(EACH)
        {
            let time = Duration::try_from_secs_f64(*value).map_err(|_| WireError::Malformed("seconds"))?;
            told.round_trips.push(time);
        } else if std::ptr::eq(sample.metric, &raw const RESULTS_TOTAL) {
            let result = Ending::WORDS.iter().position(|word| Some(*word) == second);
            told.result = Some(result.ok_or(WireError::Malformed("result"))?);
        } else {
            return Err(WireError::Malformed("metric"));
        }
        Ok(())
    }

    /// Delivers the counts.
    pub(super) fn show(&self, acc: &mut dyn Accumulator) {
        for counts in &self.0 {
            let host = counts.host.as_bytes();
            acc.put(&SENT_TOTAL, &[host], counts.sent);
            acc.put(&LOST_TOTAL, &[host], counts.lost);
            for (word, count) in Ending::WORDS.iter().zip(counts.results) {
                acc.put(&RESULTS_TOTAL, &[host, word.as_bytes()], count);
            }
            acc.put(&ROUND_TRIP_SECONDS, &[host], &counts.seconds);
        }
    }
}

impl Counts {
    fn take(&mut self, sent: u16, round_trips: &[Duration], result: usize) {
        self.sent += u64::from(sent);
        self.lost += u64::from(sent) - round_trips.len() as u64;
        self.results[result] += 1;
        for time in round_trips {
            self.seconds.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// Delivers what is of one check.
fn show_now(host: &str, sent: u16, round_trips: &[Duration], acc: &mut dyn Accumulator) {
    let (host, received) = (host.as_bytes(), round_trips.len() as f64);
    acc.put(&UP, &[host], !round_trips.is_empty());
    acc.put(&SENT, &[host], f64::from(sent));
    acc.put(&RECEIVED, &[host], received);
    if sent > 0 {
        acc.put(&LOSS_RATIO, &[host], 1.0 - received / f64::from(sent));
    }
    let (Some(min), Some(max)) = (round_trips.iter().min(), round_trips.iter().max()) else { return };
    let mean = round_trips.iter().map(Duration::as_secs_f64).sum::<f64>() / received;
    for (stat, value) in STATS.iter().zip([min.as_secs_f64(), mean, max.as_secs_f64()]) {
        acc.put(&RTT_SECONDS, &[host, stat.as_bytes()], value);
    }
}
