//! What passes noted of one control group, and what that says.

use std::ops::Range;

use pitot_common::cgroup::{has, record};

use super::super::figures::{Figures, Limits};

/// `PAGE_COUNTER_MAX` is near 2^63 bytes, whatever the size of pages.
const UNLIMITED_BYTES: u64 = 1 << 62;
/// `PIDS_MAX`, which is one more than the most that the kernel can number.
const UNLIMITED_PIDS: u64 = 4 * 1024 * 1024 + 1;

/// The words of a record that say something.
pub(in super::super) type Words = [u64; record::PIDS_LIMIT + 1];

/// What the passes of a collection noted of one control group.
#[derive(Default)]
pub(in super::super) struct Record {
    words: Words,
}

/// Beside the parts: memory is that of version 1, whose events are not those of the groups below it. What its
/// files do not tell is left out.
const FIRST_MEMORY: u64 = 1 << 63;

/// The words of each part.
const PARTS: [(u64, Range<usize>); 5] = [
    (has::UNIFIED, record::USER..record::PRESSURE),
    (has::PRESSURE, record::PRESSURE..record::MEMORY),
    (has::MEMORY, record::MEMORY..record::PERIODS),
    (has::CPU, record::PERIODS..record::PIDS),
    (has::PIDS, record::PIDS..record::PIDS_LIMIT + 1),
];

impl Record {
    /// Forgets all parts.
    pub(in super::super) fn clear(&mut self) {
        self.words[record::HAS] = 0;
    }

    /// Whether a pass over the unified hierarchy came by.
    pub(in super::super) fn is_unified(&self) -> bool {
        self.has(has::UNIFIED)
    }

    /// Takes over the parts that a pass over one hierarchy noted.
    pub(in super::super) fn take(&mut self, noted: &Words) {
        let mut parts = noted[record::HAS];
        for (_, words) in PARTS.into_iter().filter(|(part, _)| parts & part != 0) {
            self.words[words.clone()].copy_from_slice(&noted[words]);
        }
        if parts & has::MEMORY != 0 && parts & has::UNIFIED == 0 {
            parts |= FIRST_MEMORY;
        }
        self.words[record::HAS] |= parts;
    }

    fn word(&self, at: usize) -> u64 {
        self.words[at]
    }

    fn has(&self, part: u64) -> bool {
        self.word(record::HAS) & part != 0
    }

    /// What the record says, in pages of so many bytes. The split by mode goes on from what was delivered before.
    pub(in super::super) fn read(
        &self,
        page: u64,
        figures: &mut Figures,
        limits: &mut Limits,
        modes: &mut [u64; 2],
    ) {
        if self.has(has::UNIFIED) {
            let usage = self.word(record::RUNTIME);
            split(usage, [self.word(record::USER), self.word(record::SYSTEM)], modes);
            figures.cpu_usage = Some(usage);
            figures.cpu_modes = modes.map(Some);
        }
        if self.has(has::PRESSURE) {
            // The kernel's order is I/O, memory, CPU; ours CPU, memory, I/O.
            for (resource, times) in figures.pressure.iter_mut().rev().enumerate() {
                let at = record::PRESSURE + resource * 2;
                *times = [Some(self.word(at)), Some(self.word(at + 1))];
            }
        }
        if self.has(has::MEMORY) {
            let bytes = |at| self.word(at).saturating_mul(page);
            figures.memory_usage = Some(bytes(record::MEMORY));
            figures.memory_peak = Some(bytes(record::MEMORY_PEAK));
            limits.memory = Some(bytes(record::MEMORY_LIMIT)).filter(|&limit| limit < UNLIMITED_BYTES);
            let skipped = if self.has(FIRST_MEMORY) { record::EVENTS - 1 } else { 0 };
            for (event, slot) in figures.memory_events.iter_mut().enumerate().skip(skipped) {
                *slot = Some(self.word(record::MEMORY_EVENTS + event));
            }
        }
        if self.has(has::CPU) {
            figures.cpu_periods = Some(self.word(record::PERIODS));
            figures.cpu_throttled_periods = Some(self.word(record::THROTTLED));
            figures.cpu_throttled = Some(self.word(record::THROTTLED_TIME));
            limits.cpu_quota = Some(self.word(record::QUOTA)).filter(|&quota| quota != u64::MAX);
            limits.cpu_period = Some(self.word(record::PERIOD));
        }
        if self.has(has::PIDS) {
            figures.pids = Some(self.word(record::PIDS));
            limits.pids = Some(self.word(record::PIDS_LIMIT)).filter(|&limit| limit < UNLIMITED_PIDS);
        }
    }
}

/// Splits time on CPUs as the ticks were split, so that no part ever falls: what the kernel does when
/// `cpu.stat` is read (`cputime_adjust`).
fn split(usage: u64, ticks: [u64; 2], before: &mut [u64; 2]) {
    if before[0].saturating_add(before[1]) >= usage {
        return;
    }
    let all = u128::from(ticks[0]) + u128::from(ticks[1]);
    let share = u128::from(ticks[1]) * u128::from(usage);
    let system = share.checked_div(all).map_or(0, |share| u64::try_from(share).unwrap_or(usage));
    let system = system.clamp(before[1], usage - before[0]);
    *before = [usage - system, system];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_come_from_the_hierarchy_of_their_controller() {
        let mut unified = [0; record::PIDS_LIMIT + 1];
        unified[record::HAS] = has::UNIFIED | has::PRESSURE;
        unified[record::RUNTIME] = 7;
        let mut memory = [1; record::PIDS_LIMIT + 1];
        memory[record::HAS] = has::MEMORY;
        memory[record::MEMORY] = 3;
        let mut of = Record::default();
        let read = |of: &Record| {
            let (mut figures, mut limits) = (Figures::default(), Limits::default());
            of.read(4096, &mut figures, &mut limits, &mut [0; 2]);
            (figures, limits)
        };
        of.take(&memory);
        let (figures, limits) = read(&of);
        assert!(!of.is_unified() && figures.cpu_usage.is_none() && figures.pids.is_none());
        assert_eq!((figures.memory_usage, limits.memory), (Some(3 * 4096), Some(4096)));
        assert_eq!(figures.memory_events, [None, None, None, None, Some(1)], "as in its files");
        of.take(&unified);
        let (figures, _) = read(&of);
        assert_eq!((figures.cpu_usage, figures.memory_usage), (Some(7), Some(3 * 4096)));
        assert_eq!(figures.pressure[0], [Some(0); 2]);
        of.clear();
        assert!(read(&of).0.cpu_usage.is_none() && !of.is_unified());
    }

    #[test]
    fn time_is_split_as_the_ticks_were() {
        let mut modes = [0, 0];
        split(1000, [30, 10], &mut modes);
        assert_eq!(modes, [750, 250]);
        split(1000, [0, 40], &mut modes);
        assert_eq!(modes, [750, 250]);
        split(1100, [30, 70], &mut modes);
        assert_eq!(modes, [750, 350]);
        let mut modes = [0, 0];
        split(7, [0, 0], &mut modes);
        assert_eq!(modes, [7, 0]);
    }

    proptest! {
        #[test]
        fn parts_never_fall_and_are_the_whole(steps in prop::collection::vec((0u64..1 << 50, 0u64..1 << 50, 0u64..1 << 50), 1..20)) {
            let (mut modes, mut usage) = ([0, 0], 0);
            for (more, user, system) in steps {
                let before = modes;
                usage += more;
                split(usage, [user, system], &mut modes);
                prop_assert!(modes[0] >= before[0] && modes[1] >= before[1]);
                prop_assert_eq!(modes[0] + modes[1], usage);
            }
        }
    }
}
