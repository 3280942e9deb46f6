//! What an earlier store knew, for a new one under another configuration.

use std::collections::HashMap;

use super::{
    Folds, Keys, NONE, SeriesStore, Sets, To,
    work::{NEVER, Sink},
};
use crate::{
    accumulator::{Change, Frame, Histogram, Sample, key},
    catalogue::Metric,
};

/// A raw series, whatever it is called outside.
type Identity = (usize, Box<[u8]>);

/// What is taken up when a series is born again.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    known: HashMap<Identity, Known>,
    totals: HashMap<Identity, Total>,
}

/// What was known of a raw series.
#[derive(Debug)]
pub(super) struct Known {
    /// Its last value, and when that was.
    pub(super) base: f64,
    pub(super) base_at: u64,
    /// It was part of a fold.
    pub(super) member: bool,
    /// And the fold has counted it up to that value.
    pub(super) counted: bool,
    /// The same for a histogram.
    pub(super) histogram: Option<Histogram>,
}

/// What a fold had reached.
#[derive(Debug)]
enum Total {
    Number(f64),
    Histogram(Histogram),
}

fn identity(metric: &'static Metric, key: &[u8]) -> Identity {
    (std::ptr::from_ref(metric).addr(), key.into())
}

impl Legacy {
    /// What was known of a sample's series.
    pub(super) fn take(&mut self, sample: &Sample<'_>) -> Option<Known> {
        let mut bytes = Vec::new();
        key::push(sample, &mut bytes);
        self.known.remove(&identity(sample.metric, &bytes))
    }

    /// Lets a fold go on from where it was.
    pub(super) fn restore(&mut self, metric: &'static Metric, key: &[u8], cell: u32, frame: &mut Frame) {
        match self.totals.remove(&identity(metric, key)) {
            Some(Total::Number(total)) => {
                if let Some(cell) = frame.cells.get_mut(cell as usize) {
                    cell.number = total;
                }
            }
            Some(Total::Histogram(total)) => {
                if let Some(kept) = frame.histogram_of(cell).filter(|kept| kept.buckets == total.buckets) {
                    kept.copy_from(&total);
                }
            }
            None => {}
        }
    }
}

impl SeriesStore {
    /// Takes over what an earlier store remembered of raw series: the samples that differences and rates are
    /// measured from, what was lost so far, and the folds. Names, tags and rules may be others now. With
    /// another limit of series the folds begin anew: what they held may be shown by itself from now on.
    ///
    /// The old store has nothing left after that. This one must not have begun a cycle yet.
    pub fn take_over(&mut self, old: &mut Self) {
        self.origin = old.origin;
        self.over_limit += old.over_limit;
        self.duplicates += old.duplicates;
        self.folded += old.folded;
        self.conflicts += old.conflicts;
        self.resets += old.resets;
        let same = self.limits.series_per_metric == old.limits.series_per_metric;
        // What the old store had not met again either.
        let mut legacy = old.legacy.take().unwrap_or_default();
        if !same {
            legacy.totals.clear();
            for known in legacy.known.values_mut() {
                (known.member, known.counted, known.histogram) = (false, false, None);
            }
        }
        let mut members: Vec<_> = std::mem::take(&mut old.folds.members).into_iter().map(Some).collect();
        for raw in std::mem::take(&mut old.raws) {
            let known = match raw.to {
                To::Work(index) => old.works.get(index as usize).and_then(|work| {
                    let counted = matches!(work.sink, Sink::Counter(_));
                    let member = counted || matches!(work.sink, Sink::Sum(_));
                    let (member, counted) = (member && same, counted && same);
                    let worth = member || (work.change != Change::Pass && work.base_at != NEVER);
                    let (base, base_at) = (work.base, work.base_at);
                    worth.then_some(Known { base, base_at, member, counted, histogram: None })
                }),
                To::Member(index) if same => {
                    let member = members.get_mut(index as usize).and_then(Option::take);
                    member.map(|member| Known {
                        base: 0.0,
                        base_at: NEVER,
                        member: true,
                        counted: true,
                        histogram: Some(member.into_last()),
                    })
                }
                _ => None,
            };
            if let Some(known) = known {
                legacy.known.insert(identity(raw.metric, old.keys.get(raw.key)), known);
            }
        }
        for fold in old.folds.all.iter().filter(|fold| fold.rises && same) {
            let number = old.frame.cells.get(fold.cell as usize).map(|cell| Total::Number(cell.number));
            let total = old.frame.histogram_of(fold.cell).cloned().map(Total::Histogram).or(number);
            if let Some(total) = total {
                legacy.totals.insert(identity(fold.raw.0, &fold.raw.1), total);
            }
        }
        self.legacy = Some(legacy);
        old.empty();
    }

    /// Forgets every series.
    fn empty(&mut self) {
        (self.frame, self.keys, self.sets) = (Frame::default(), Keys::default(), Sets::default());
        (self.folds, self.first, self.last) = (Folds::default(), NONE, NONE);
        self.raws.clear();
        self.works.clear();
        self.table.clear();
        self.populations.clear();
    }

    /// Series that have not come back by now are not waited for; folds may still.
    pub(super) fn forget_legacy(&mut self) {
        if let Some(legacy) = &mut self.legacy {
            legacy.known = HashMap::new();
            if legacy.totals.is_empty() {
                self.legacy = None;
            }
        }
    }
}
