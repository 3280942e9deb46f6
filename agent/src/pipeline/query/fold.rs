//! What is kept for one result: a column of one group.

use super::{quantile::Sketch, rolling::Rolling, shape::Folding};
use crate::accumulator::{Histogram, Value};

/// The fold of one column of one group.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    fold: Fold,
    /// The window that it holds values of.
    window: u64,
    /// The collection that last brought a value.
    tick: u64,
    /// Values folded in this window.
    folded: u64,
    /// The result of the window that ended last.
    held: Option<f64>,
}

#[derive(Clone, Debug)]
enum Fold {
    Total(f64),
    Mean { sum: f64, weight: f64 },
    Sum { sum: f64, weight: f64 },
    Plus(f64),
    Min(f64),
    Max(f64),
    Last(f64),
    Count,
    Quantile(u8, Box<Sketch>),
    Histogram(Box<Histogram>),
    Rolling(Box<Rolling>),
}

/// The moment at which values are folded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    /// Number of the collection.
    pub(super) tick: u64,
    /// Number of the window.
    pub(super) window: u64,
    /// Nanoseconds since the query began.
    pub(super) nanos: u64,
}

/// Why a value could not be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BelowZero;

impl Cell {
    pub(super) fn new(folding: Folding, largest: bool, over: std::time::Duration) -> Self {
        let fold = match folding {
            Folding::Total => Fold::Total(0.0),
            Folding::Sum => Fold::Sum { sum: 0.0, weight: 0.0 },
            Folding::Plus => Fold::Plus(0.0),
            Folding::Avg => Fold::Mean { sum: 0.0, weight: 0.0 },
            Folding::Min => Fold::Min(f64::INFINITY),
            Folding::Max => Fold::Max(f64::NEG_INFINITY),
            Folding::Last => Fold::Last(0.0),
            Folding::Count => Fold::Count,
            Folding::Quantile(percent) => Fold::Quantile(percent, Box::default()),
            Folding::Histogram(buckets) => Fold::Histogram(Box::new(Histogram::new(buckets))),
            Folding::Rolling => Fold::Rolling(Box::new(Rolling::new(largest, over))),
        };
        Self { fold, window: 0, tick: 0, folded: 0, held: None }
    }

    /// Notes that its group was there in this collection, whether or not the value is taken. `weight` is what
    /// the collection counts for in a mean.
    #[inline]
    pub(super) fn touch(&mut self, now: Moment, weight: f64) {
        if self.window != now.window {
            (self.window, self.folded) = (now.window, 0);
            match &mut self.fold {
                Fold::Mean { sum, weight } | Fold::Sum { sum, weight } => (*sum, *weight) = (0.0, 0.0),
                Fold::Plus(sum) => *sum = 0.0,
                Fold::Min(least) => *least = f64::INFINITY,
                Fold::Max(most) => *most = f64::NEG_INFINITY,
                Fold::Quantile(_, sketch) => sketch.clear(),
                Fold::Total(_) | Fold::Last(_) | Fold::Count | Fold::Histogram(_) | Fold::Rolling(_) => {}
            }
        }
        if self.tick != now.tick {
            self.tick = now.tick;
            if let Fold::Sum { weight: all, .. } = &mut self.fold {
                *all += weight;
            }
        }
    }

    /// Folds a finite value; for a total, the increase.
    #[inline]
    pub(super) fn fold(&mut self, value: f64, weight: f64, now: Moment) -> Result<(), BelowZero> {
        match &mut self.fold {
            Fold::Total(total) => *total += value,
            Fold::Mean { sum, weight: all } => {
                *sum += value * weight;
                *all += weight;
            }
            Fold::Sum { sum, .. } => *sum += value * weight,
            Fold::Plus(sum) => *sum += value,
            Fold::Min(least) => *least = least.min(value),
            Fold::Max(most) => *most = most.max(value),
            Fold::Last(last) => *last = value,
            Fold::Count => {}
            Fold::Quantile(_, sketch) => sketch.observe(value),
            Fold::Histogram(histogram) => {
                if value < 0.0 {
                    return Err(BelowZero);
                }
                let raw = value * histogram.buckets.scale.per_unit();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "not below zero, and what is too large is in the last bucket"
                )]
                histogram.observe(raw.round() as u64);
            }
            Fold::Rolling(rolling) => rolling.observe(value, now.nanos),
        }
        self.folded += 1;
        Ok(())
    }

    /// Adds to a total what a series had counted before it came here.
    pub(super) fn begin_at(&mut self, value: f64) {
        if let Fold::Total(total) = &mut self.fold {
            *total += value;
        }
    }

    /// What a window has come to so far. A count is 0 when the group was there and nothing was taken; all else
    /// is missing then.
    fn result(&self, window: u64) -> Option<f64> {
        if self.window != window || (self.folded == 0 && !matches!(self.fold, Fold::Count)) {
            return None;
        }
        match &self.fold {
            Fold::Mean { sum, weight } | Fold::Sum { sum, weight } => (*weight > 0.0).then(|| sum / weight),
            Fold::Count => Some(self.folded as f64),
            Fold::Quantile(percent, sketch) => sketch.quantile(*percent),
            Fold::Total(value)
            | Fold::Plus(value)
            | Fold::Min(value)
            | Fold::Max(value)
            | Fold::Last(value) => Some(*value),
            Fold::Histogram(_) | Fold::Rolling(_) => None,
        }
    }

    /// Holds the result of a window that has ended, or nothing.
    pub(super) fn hold(&mut self, window: Option<u64>) {
        self.held = window.and_then(|window| self.result(window));
    }

    /// What is to be published: of the window that ended last, or of this collection if there are no windows.
    /// Histograms and rolling extremes do not know windows.
    #[inline]
    pub(super) fn published(&mut self, windows: bool, now: Moment) -> Option<Value<'_>> {
        let number = match &mut self.fold {
            Fold::Histogram(_) => None,
            Fold::Rolling(rolling) => rolling.value(now.nanos),
            _ if windows => self.held,
            _ => self.result(now.window),
        };
        match &self.fold {
            Fold::Histogram(histogram) => Some(Value::Histogram(histogram)),
            _ => number.map(Value::Number),
        }
    }
}
