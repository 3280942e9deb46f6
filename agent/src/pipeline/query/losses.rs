//! What a query could not take.

use std::ops::Add;

use crate::pipeline::Losses;

/// What a query left out or folded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct QueryLosses {
    /// Samples of series past the limit of those that are remembered.
    pub over_limit: u64,
    /// Series that were put into the group `other`, because there were too many groups.
    pub folded: u64,
    /// Samples whose series had been delivered in the same collection.
    pub duplicates: u64,
    /// Values that are not finite.
    pub not_finite: u64,
    /// Values below zero that a histogram cannot take.
    pub below_zero: u64,
    /// Series that a column wanted by name but cannot take: a histogram, or a rate of what is no counter.
    pub unfit: u64,
    /// Collections that were held up between their time and their end, so that rates over them would be wrong.
    pub held_up: u64,
}

impl From<QueryLosses> for Losses {
    fn from(query: QueryLosses) -> Self {
        Self {
            over_limit: query.over_limit,
            duplicates: query.duplicates,
            folded: query.folded,
            held_up: query.held_up,
            ..Self::default()
        }
    }
}

impl Add for QueryLosses {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            over_limit: self.over_limit + more.over_limit,
            folded: self.folded + more.folded,
            duplicates: self.duplicates + more.duplicates,
            not_finite: self.not_finite + more.not_finite,
            below_zero: self.below_zero + more.below_zero,
            unfit: self.unfit + more.unfit,
            held_up: self.held_up + more.held_up,
        }
    }
}
