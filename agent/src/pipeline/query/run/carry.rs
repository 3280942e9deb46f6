//! What a query keeps when its configuration changes.

use super::{Known, Query, QueryConfig, Table};

impl Query {
    /// Takes over what an earlier query of the same pipeline knew:
    ///
    /// * unchanged: all of it;
    /// * only another window: series, totals, histograms and rolling extremes; the window begins anew;
    /// * anything else changed: what the series were at, so that rates and changes go on without a gap. Totals
    ///   go on from what their series had counted; histograms begin anew, for they would count something else.
    pub fn take_over(&mut self, old: &mut Self) {
        if self.config.from != old.config.from || self.takes_frames != old.takes_frames {
            return;
        }
        self.taken = old.taken;
        let only_window = QueryConfig { window: self.config.window, ..(*old.config).clone() };
        if only_window == *self.config && self.limit == old.limit {
            let same = old.config.window == self.config.window;
            (self.made, self.lists) = (std::mem::take(&mut old.made), std::mem::take(&mut old.lists));
            self.table = std::mem::replace(&mut old.table, Table::new());
            self.groups = std::mem::take(&mut old.groups);
            (self.origin, self.before, self.sweep) = (old.origin, old.before, old.sweep);
            (self.moment, self.losses) = (old.moment, old.losses);
            if same {
                self.windows = old.windows;
            } else {
                self.groups.hold(None);
                // What the old window held is not of the new one.
                self.moment.window += 1;
            }
            return;
        }
        (self.before, self.losses) = (old.before, old.losses);
        for known in std::mem::take(&mut old.table.all) {
            let mut adopted = Known::new(known.metric, known.key, known.seen);
            (adopted.value, adopted.at) = (known.value, known.at);
            self.decide(&mut adopted);
            if !adopted.value.is_nan()
                && let Some(group) = self.groups.all.get_mut(adopted.group as usize)
            {
                for &column in &*self.lists[adopted.list as usize] {
                    if let Some(cell) = &mut group.cells[column] {
                        cell.begin_at(adopted.value);
                    }
                }
            }
            self.table.insert(adopted);
        }
    }
}
