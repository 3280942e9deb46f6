//! The lists over many passes.

use std::collections::BTreeMap;

use pitot_common::process::{Task, Usage as Used};
use proptest::prelude::*;

use super::*;
use crate::accumulator::MemoryAccumulator;

const SECOND: u64 = 1_000_000_000;

/// Processes of one thread, by number, and what they and the dead used.
#[derive(Default)]
struct Host {
    cpu: BTreeMap<u32, u64>,
    gone: u64,
}

impl Host {
    fn works(&mut self, pid: u32, seconds: u64) {
        *self.cpu.entry(pid).or_default() += seconds * SECOND;
    }

    fn ends(&mut self, pid: u32) {
        self.gone += self.cpu.remove(&pid).unwrap_or(0);
    }

    fn all(&self) -> u64 {
        self.gone + self.cpu.values().sum::<u64>()
    }

    fn pass(&self, usage: &mut Usage) {
        let tasks = self.cpu.iter().map(|(&pid, &cpu)| Task {
            process: pid,
            thread: pid,
            start: u64::from(pid),
            own: Used { cpu, bytes: 0 },
            pages: u64::from(pid),
            name: [u64::from_ne_bytes(*b"work\0\0\0\0"), 0],
            ..Task::default()
        });
        usage.table.update(tasks, 4096);
        usage.update(self.gone, 0, Instant::now());
    }
}

/// The CPU seconds by pid.
fn listed(usage: &Usage) -> BTreeMap<String, f64> {
    let mut samples = MemoryAccumulator::new();
    usage.deliver(false, &mut samples);
    let cpu = samples.samples().iter().filter(|sample| sample.name == "process_cpu_seconds_total");
    cpu.map(|sample| {
        let pid = sample.labels[0].1.clone();
        let value = samples.number(sample.name.as_ref(), &[&pid, &sample.labels[1].1]);
        (pid, value.unwrap())
    })
    .collect()
}

#[test]
fn a_process_has_a_series_while_it_uses_the_most() {
    let (mut host, mut usage) = (Host::default(), Usage::new(1));
    (1..=3).for_each(|pid| host.works(pid, 100));
    host.pass(&mut usage);
    assert_eq!(listed(&usage), BTreeMap::from([("other".into(), 0.0)]), "what was before is nobody's");

    host.works(2, 10);
    host.works(3, 1);
    host.pass(&mut usage);
    let entered = BTreeMap::from([("2".into(), 0.0), ("other".into(), 11.0)]);
    assert_eq!(listed(&usage), entered, "it counts from when it is in the list");

    host.works(2, 10);
    host.works(3, 1);
    host.pass(&mut usage);
    assert_eq!(listed(&usage), BTreeMap::from([("2".into(), 10.0), ("other".into(), 12.0)]));

    host.ends(2);
    host.pass(&mut usage);
    let next: Vec<_> = listed(&usage).into_keys().collect();
    assert_eq!(next, ["3", "other"], "its place is free at once");
}

#[test]
fn a_member_leaves_when_it_was_clearly_beaten_for_some_passes() {
    let (mut host, mut usage) = (Host::default(), Usage::new(1));
    host.works(1, 0);
    host.works(2, 0);
    host.pass(&mut usage);
    let mut members = |first: u64, second: u64| {
        host.works(1, first);
        host.works(2, second);
        host.pass(&mut usage);
        listed(&usage).into_keys().next().unwrap()
    };
    assert_eq!(members(100, 0), "1");
    for _ in 0..20 {
        assert_eq!(members(100, 115), "1", "a little more is not enough");
    }
    assert_eq!(members(100, 200), "1");
    assert_eq!(members(100, 100), "1", "nor is a moment");
    for _ in 0..20 {
        members(100, 100);
    }
    let row: Vec<_> = (0..4).map(|_| members(10, 200)).collect();
    assert_eq!(row, ["1", "1", "2", "2"]);
}

#[test]
fn a_name_that_stays_is_taken_over_with_a_new_series() {
    let (mut host, mut usage) = (Host::default(), Usage::new(1));
    host.works(1, 0);
    host.pass(&mut usage);
    for _ in 0..2 {
        host.works(1, 1);
        host.pass(&mut usage);
    }
    assert_eq!(listed(&usage), BTreeMap::from([("1".into(), 1.0), ("other".into(), 1.0)]));
    let renamed = |usage: &mut Usage, host: &Host| {
        let name = [u64::from_ne_bytes(*b"renamed\0"), 0];
        let own = Used { cpu: host.cpu[&1], bytes: 0 };
        let task = Task { process: 1, thread: 1, start: 1, own, name, ..Task::default() };
        usage.table.update([task].into_iter(), 4096);
        usage.update(0, 0, Instant::now());
    };
    for (wanted, other) in [(2.0, 1.0), (3.0, 1.0), (0.0, 2.0)] {
        host.works(1, 1);
        renamed(&mut usage, &host);
        assert_eq!(listed(&usage), BTreeMap::from([("1".into(), wanted), ("other".into(), other)]));
    }
}

#[test]
fn memory_is_a_level_and_sums_up() {
    let (mut host, mut usage) = (Host::default(), Usage::new(2));
    (1..=4).for_each(|pid| host.works(pid, 0));
    host.pass(&mut usage);
    let mut samples = MemoryAccumulator::new();
    usage.deliver(false, &mut samples);
    let memory = |pid, name| samples.number("process_resident_bytes", &[pid, name]);
    assert_eq!(memory("4", "work"), Some(4.0 * 4096.0));
    assert_eq!(memory("3", "work"), Some(3.0 * 4096.0));
    assert_eq!(memory("2", "work"), None);
    assert_eq!(memory("other", "other"), Some(3.0 * 4096.0));
}

proptest! {
    /// Whatever works, starts and ends: the growth of all series together is what was used, no series goes
    /// back, and there are never more than the list is long.
    #[test]
    fn nothing_is_lost_and_nothing_counted_twice(
        steps in prop::collection::vec((prop::collection::vec((1u32..9, 0u64..50), 0..9), 0u32..12), 1..40),
        most in 1usize..5,
    ) {
        let (mut host, mut usage) = (Host::default(), Usage::new(most));
        host.works(1, 5);
        host.pass(&mut usage);
        let first = host.all();
        let (mut before, mut grown) = (listed(&usage), 0.0);
        for (work, ends) in steps {
            for (pid, seconds) in work {
                host.works(pid, seconds);
            }
            host.ends(ends);
            host.pass(&mut usage);
            let now = listed(&usage);
            prop_assert!(now.len() <= most + 1);
            for (pid, value) in &now {
                let growth = value - before.get(pid).unwrap_or(&0.0);
                // A number that came back is another process with a series from zero.
                prop_assert!(growth >= 0.0 || *value == 0.0);
                grown += growth.max(0.0);
            }
            before = now;
        }
        let used = (host.all() - first) / SECOND;
        prop_assert!((grown - used as f64).abs() < 1e-6, "{grown} of {used}");
    }
}
