//! The groups of a query: one for each combination of label values, up to a limit.

use std::collections::HashMap;

use super::{
    fold::{Cell, Moment},
    shape::{Folding, Shape},
};
use crate::{
    accumulator::{Accumulator, Sample},
    catalogue::Metric,
};

/// Labels that a query may group by.
pub(super) const MOST_LABELS: usize = 16;
/// What every label of the group is called that takes what is past the limit.
pub(super) const OTHER: &[u8] = b"other";

/// One combination of label values.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) values: Box<[Box<[u8]>]>,
    /// One for each column; none until a series came for it.
    pub(super) cells: Box<[Option<Cell>]>,
    /// Series that are in it.
    pub(super) members: u32,
}

/// What is made of one column once its metric is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) metric: &'static Metric,
    pub(super) shape: Shape,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) all: Vec<Group>,
    index: HashMap<Box<[Box<[u8]>]>, u32>,
}

impl Groups {
    /// The group of these label values; the one for what is past the limit when there are too many, and then
    /// also true.
    pub(super) fn find(&mut self, values: Box<[Box<[u8]>]>, columns: usize, limit: usize) -> (u32, bool) {
        if let Some(&index) = self.index.get(&values) {
            return (index, false);
        }
        // The last place is for what is past the limit.
        if self.all.len() + 1 >= limit && !values.is_empty() {
            let other = values.iter().map(|_| Box::from(OTHER)).collect();
            return (self.insert(other, columns), true);
        }
        (self.insert(values, columns), false)
    }

    fn insert(&mut self, values: Box<[Box<[u8]>]>, columns: usize) -> u32 {
        if let Some(&index) = self.index.get(&values) {
            return index;
        }
        let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.index.insert(values.clone(), index);
        let cells = std::iter::repeat_with(|| None).take(columns).collect();
        self.all.push(Group { values, cells, members: 0 });
        index
    }

    /// Forgets groups without members, and says where each of the others went.
    pub(super) fn sweep(&mut self) -> Vec<u32> {
        let mut moved = Vec::with_capacity(self.all.len());
        let all = std::mem::take(&mut self.all);
        self.index.clear();
        for group in all {
            if group.members == 0 {
                moved.push(u32::MAX);
                continue;
            }
            let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
            moved.push(index);
            self.index.insert(group.values.clone(), index);
            self.all.push(group);
        }
        moved
    }

    /// Holds the results of a window, or of none.
    pub(super) fn hold(&mut self, window: Option<u64>) {
        for cell in self.all.iter_mut().flat_map(|group| group.cells.iter_mut().flatten()) {
            cell.hold(window);
        }
    }

    /// Delivers what is to be published.
    pub(super) fn publish(
        &mut self,
        columns: &[Option<Made>],
        windows: bool,
        now: Moment,
        out: &mut dyn Accumulator,
    ) {
        for Group { values, cells, .. } in &mut self.all {
            let mut labels: [&[u8]; MOST_LABELS] = [b""; MOST_LABELS];
            for (label, value) in labels.iter_mut().zip(values.iter()) {
                *label = value;
            }
            let labels = &labels[..values.len().min(MOST_LABELS)];
            for (cell, made) in cells.iter_mut().zip(columns) {
                let (Some(cell), Some(Made { metric, .. })) = (cell, made) else { continue };
                if let Some(value) = cell.published(windows, now) {
                    out.add(&Sample { metric, prefix: "", part: b"", labels, value });
                }
            }
        }
    }
}

impl Made {
    /// What is folded is an increase, the first one from zero.
    pub(super) fn is_total(&self) -> bool {
        self.shape.folding == Folding::Total
    }
}
