//! Who uses the most, from one pass to the next.

use std::time::Instant;

use super::{
    metrics::{CPU_SECONDS_TOTAL, IO_BYTES_TOTAL, RESIDENT_BYTES},
    table::{Name, Table},
    top::{Member, Top},
    total::Total,
};
use crate::{accumulator::Accumulator, catalogue::Metric};

const NANOSECONDS: f64 = 1e-9;

/// The lists, and what they are made from.
pub(super) struct Usage {
    pub(super) table: Table,
    cpu: Top,
    cpu_total: Total,
    bytes: Top,
    bytes_total: Total,
    memory: Top,
}

impl Usage {
    pub(super) fn new(most: usize) -> Self {
        Self {
            table: Table::default(),
            cpu: Top::new(most, |process| &process.cpu),
            cpu_total: Total::default(),
            bytes: Top::new(most, |process| &process.bytes),
            bytes_total: Total::default(),
            memory: Top::new(most, |process| &process.memory),
        }
    }

    /// Goes on with what another instance knew, with lists of another length.
    pub(super) fn take_over(&mut self, old: &mut Self, most: usize) {
        std::mem::swap(self, old);
        for top in [&mut self.cpu, &mut self.bytes, &mut self.memory] {
            top.resize(most);
        }
    }

    /// After the table has taken a pass. What tasks had used that were gone before the pass completes the sums.
    pub(super) fn update(&mut self, gone_cpu: u64, gone_bytes: u64, now: Instant) {
        let named = self.cpu.update(&self.table);
        self.cpu_total.update(gone_cpu + self.table.cpu, named, now);
        let named = self.bytes.update(&self.table);
        self.bytes_total.update(gone_bytes + self.table.bytes, named, now);
        self.memory.update(&self.table);
    }

    pub(super) fn deliver(&self, has_bytes: bool, acc: &mut dyn Accumulator) {
        let seconds = |nanoseconds: u64| nanoseconds as f64 * NANOSECONDS;
        for member in self.cpu.members() {
            put(&CPU_SECONDS_TOTAL, member, seconds(member.used), acc);
        }
        acc.put(&CPU_SECONDS_TOTAL, OTHER, seconds(self.cpu_total.other));
        if has_bytes {
            for member in self.bytes.members() {
                put(&IO_BYTES_TOTAL, member, member.used as f64, acc);
            }
            acc.put(&IO_BYTES_TOTAL, OTHER, self.bytes_total.other);
        }
        let mut named = 0;
        for member in self.memory.members() {
            named += member.level;
            put(&RESIDENT_BYTES, member, member.level as f64, acc);
        }
        acc.put(&RESIDENT_BYTES, OTHER, self.table.memory.saturating_sub(named));
    }
}

/// The labels of all that are in no list.
const OTHER: &[&[u8]] = &[b"other", b"other"];

fn put(metric: &'static Metric, member: &Member, value: f64, acc: &mut dyn Accumulator) {
    let mut pid = itoa::Buffer::new();
    acc.put(metric, &[pid.format(member.pid()).as_bytes(), text(&member.name)], value);
}

fn text(name: &Name) -> &[u8] {
    name.split(|&byte| byte == 0).next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
