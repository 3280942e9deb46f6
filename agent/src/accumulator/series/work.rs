//! What is done to values before they are published: differences, rates, folding, variables of formulas.

use super::{NONE, SeriesStore};
use crate::accumulator::Change;

/// The time of a sample that never was.
pub(super) const NEVER: u64 = u64::MAX;

/// A series whose values do not go into the frame as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// What this cycle brought; only told when the cycle is published.
    value: f64,
    /// The value of the published cycle that brought one last, and when that was.
    pub(super) base: f64,
    pub(super) base_at: u64,
    stamp: u32,
    /// Its variable of the formulas.
    pub(super) variable: u32,
    pub(super) change: Change,
    pub(super) sink: Sink,
}

/// Where a value goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sink {
    /// It is only there to compute from.
    Hidden,
    /// Samples that would be shown are counted as left out: too many series, and no fold.
    OverLimit,
    /// The same, because labels contradict the tags.
    Conflict,
    /// A cell of its own.
    Cell(u32),
    /// The cell of a sum of what is there.
    Sum(u32),
    /// The cell of a counter that only rises.
    Counter(u32),
}

impl Sink {
    /// Its cell, if it has one.
    pub(super) const fn cell(self) -> Option<u32> {
        match self {
            Self::Cell(cell) | Self::Sum(cell) | Self::Counter(cell) => Some(cell),
            Self::Hidden | Self::OverLimit | Self::Conflict => None,
        }
    }

    /// The same, where cells have moved.
    pub(super) fn moved(self, places: &[u32]) -> Self {
        let place = |cell: u32| places.get(cell as usize).copied().unwrap_or(NONE);
        match self {
            Self::Cell(cell) => Self::Cell(place(cell)),
            Self::Sum(cell) => Self::Sum(place(cell)),
            Self::Counter(cell) => Self::Counter(place(cell)),
            other => other,
        }
    }
}

/// What a sample says once it is compared with the one before.
enum Told {
    Value(f64),
    Nothing,
    Reset,
}

impl Work {
    pub(super) fn new(change: Change, sink: Sink, variable: u32) -> Self {
        Self { value: 0.0, base: 0.0, base_at: NEVER, stamp: 0, variable, change, sink }
    }

    #[inline]
    pub(super) fn take(&mut self, cycle: u32, value: f64) {
        self.value = value;
        self.stamp = cycle;
    }

    #[inline]
    fn told(&mut self, now: u64) -> Told {
        let (keep_negative, rate) = match self.change {
            Change::Pass => return Told::Value(self.value),
            Change::Delta { keep_negative } => (keep_negative, false),
            Change::Rate { keep_negative } => (keep_negative, true),
        };
        let (base, base_at) = (self.base, self.base_at);
        // Time that did not pass gives no rate: the next cycle measures from where this one would have.
        if !self.value.is_finite() || (rate && base_at == now) {
            return Told::Nothing;
        }
        (self.base, self.base_at) = (self.value, now);
        if base_at == NEVER {
            return Told::Nothing;
        }
        let rise = self.value - base;
        if rise < 0.0 && !keep_negative {
            Told::Reset
        } else if rate {
            Told::Value(rise / (now.saturating_sub(base_at) as f64 * 1e-9))
        } else {
            Told::Value(rise)
        }
    }

    /// How much a member of a counter has added since it was last seen. A member that fell began anew.
    /// Nothing when the value is none of a counter.
    #[inline]
    fn rise(&mut self, now: u64) -> Option<f64> {
        if !self.value.is_finite() || self.value < 0.0 {
            return None;
        }
        let known = self.base_at != NEVER && self.base <= self.value;
        let rise = if known { self.value - self.base } else { self.value };
        (self.base, self.base_at) = (self.value, now);
        Some(rise)
    }
}

impl SeriesStore {
    /// Does what is to be done with the numbers of this cycle.
    pub(super) fn work(&mut self) {
        let (cycle, now) = (self.cycle, self.now);
        for work in &mut self.works {
            if work.stamp != cycle {
                continue;
            }
            let value = match work.told(now) {
                Told::Value(value) => value,
                Told::Nothing => continue,
                Told::Reset => {
                    self.resets += 1;
                    continue;
                }
            };
            if work.variable != NONE {
                self.sets.give(work.variable, cycle, value);
            }
            let Some(cell) = work.sink.cell().and_then(|cell| self.frame.cells.get_mut(cell as usize)) else {
                match work.sink {
                    Sink::OverLimit => self.over_limit += 1,
                    Sink::Conflict => self.conflicts += 1,
                    _ => {}
                }
                continue;
            };
            match work.sink {
                Sink::Sum(_) => {
                    cell.add(cycle, value);
                    self.folded += 1;
                }
                Sink::Counter(_) => match work.rise(now) {
                    Some(rise) => {
                        cell.number += rise;
                        self.folded += 1;
                    }
                    None => self.over_limit += 1,
                },
                _ => cell.set(cycle, value),
            }
        }
        self.folded += self.folds.merge(cycle, &mut self.frame);
    }
}
