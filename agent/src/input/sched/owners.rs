//! What each cgroup had of the CPUs.

use std::{sync::atomic::Ordering, time::Instant};

use pitot_common::{
    histogram::{OCTAVE_SLOTS, Scale, words},
    owner::{GONE, OTHER, PAST, SLOTS, cpu},
    sched::{BANK_WORDS, FIRST, IDLE, LAST, Switch, UNSEEN, owner},
};

use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{
        map::View,
        owner::{Owners, Place, Usage},
    },
    catalogue::{Buckets, Label, Metric, Since, Unit},
};

/// Where the banks of owners are.
pub(super) const PLACE: Place = Place::banks(owner::WORDS);
const CGROUP: Label = Label::bounded("cgroup", SLOTS + 1);
/// Nobody's switches are no owner's.
const REASONS: &[Switch] = &[Switch::Preempted, Switch::Blocked];
const WAITS: Buckets = Buckets { scale: Scale::NanosecondOctaves, slots: OCTAVE_SLOTS, first: -14, last: 2 };

pub(super) static CPU_SECONDS: Metric = Metric::counter(
    "sched_cgroup_cpu_seconds_total",
    "Time that tasks of a cgroup of the unified hierarchy, without those below it, had a CPU, interrupts included; other are all that found no slot.",
    &[CGROUP],
)
.unit(Unit::Seconds)
.since(Since::Attach);

pub(super) static WAIT_SECONDS: Metric = Metric::histogram(
    "sched_cgroup_wait_seconds",
    "Time that runnable tasks of a cgroup waited for a CPU; its sum, over itself plus the CPU time, is the share off the CPU.",
    WAITS,
    &[CGROUP],
)
.unit(Unit::Seconds)
.since(Since::Attach);

pub(super) static SWITCHES_TOTAL: Metric = Metric::counter(
    "sched_cgroup_switches_total",
    "How often tasks of a cgroup left a CPU, by why.",
    &[CGROUP, Label::fixed("reason", &["preempted", "blocked"])],
)
.since(Since::Attach);

pub(super) static IDLE_SECONDS: Metric = Metric::counter(
    "sched_idle_seconds_total",
    "Time that CPUs had no task to run, interrupts included.",
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

pub(super) static UNSEEN_TOTAL: Metric = Metric::counter(
    "sched_unseen_switches_total",
    "Switches that the kernel did not report, found out when the task that left a CPU was not the one that last got it; all counters of switches are short of at least these.",
    &[],
)
.since(Since::Attach);

pub(super) static UNACCOUNTED_SECONDS: Metric = Metric::gauge(
    "sched_unaccounted_seconds",
    "CPU time since counting began that is charged to no cgroup and was not known to be idle: a switch was not seen.",
    &[],
)
.unit(Unit::Seconds);

pub(super) static SLOTS_USED: Metric = Metric::gauge(
    "sched_cgroup_slots",
    "Slots for cgroups with series of their own, by whose they are: of a cgroup that lives, of one that is gone and still shown, or free.",
    &[Label::fixed("state", &["live", "gone", "free"])],
);

/// The part of the scheduler's input that counts by cgroup.
pub(super) struct ByOwner {
    pub(super) owners: Owners,
    /// Banks by CPU and owner.
    pub(super) banks: View,
    /// Who runs on each CPU.
    pub(super) cpus: View,
    held: Vec<Held>,
    /// By bank, what was shown last.
    shown: Vec<Shown>,
    waits: Histogram,
    others: Others,
}

/// Who has a CPU at the moment of a reading, and what that makes of its time there.
#[derive(Clone, Copy, Default)]
struct Held {
    holder: u64,
    ran: u64,
    last: u64,
}

/// What a series was at the collection before: its time must not run backwards, whatever the clocks of two
/// CPUs differ by.
#[derive(Clone, Copy, Default)]
struct Shown {
    cgroup: u64,
    ran: u64,
}

/// The sums of all that have no series of their own.
struct Others {
    any: bool,
    ran: u64,
    switches: [u64; 2],
    waits: Histogram,
}

impl ByOwner {
    pub(super) fn new(owners: Owners, banks: View, cpus: View) -> Self {
        let cpu_count = cpus.words().len() / cpu::WORDS;
        Self {
            owners,
            banks,
            cpus,
            held: vec![Held::default(); cpu_count],
            shown: vec![Shown::default(); SLOTS as usize + 1],
            waits: Histogram::new(WAITS),
            others: Others { any: false, ran: 0, switches: [0; 2], waits: Histogram::new(WAITS) },
        }
    }

    /// Delivers the series of all cgroups and of nobody.
    pub(super) fn collect(&mut self, at: Instant, sched: &View, acc: &mut dyn Accumulator) {
        let now = self.look_at_cpus(sched);
        let Self { owners, banks, held, shown, waits, others, .. } = self;
        let bank = |slot: u32, waits: &mut Histogram| sum(banks, held, slot, waits);
        others.clear();
        let mut charged = 0;
        let usage = owners.visit(at, |owner| {
            waits.clear();
            let (ran, switches) = bank(owner.slot, waits);
            charged += ran;
            if owner.past {
                return;
            }
            let Some(name) = owner.name else {
                others.add(ran, switches, waits);
                return;
            };
            deliver(acc, name, owner.cgroup, &mut shown[owner.slot as usize], ran, switches, waits);
        });
        let Some(usage) = usage else { return };
        for slot in [OTHER, GONE] {
            waits.clear();
            let (ran, switches) = bank(slot, waits);
            charged += ran;
            others.add(ran, switches, waits);
        }
        if others.any {
            let shown = &mut shown[OTHER as usize];
            deliver(acc, b"other", 0, shown, others.ran, others.switches, &others.waits);
        }
        waits.clear();
        charged += bank(PAST, waits).0;
        let idle = self.idle(sched);
        acc.put(&IDLE_SECONDS, &[], seconds(idle));
        acc.put(&UNSEEN_TOTAL, &[], sched.sum(BANK_WORDS, UNSEEN));
        let all = all(sched, now);
        acc.put(&UNACCOUNTED_SECONDS, &[], (all as f64 - charged as f64 - idle as f64) / 1e9);
        deliver_usage(acc, usage);
    }

    /// Notes who has each CPU, and returns what the clock of the run queues says: at least what the CPU that
    /// switched last said then, and that was this one, a moment ago.
    fn look_at_cpus(&mut self, sched: &View) -> u64 {
        for (number, (held, bank)) in
            self.held.iter_mut().zip(sched.words().chunks_exact(BANK_WORDS)).enumerate()
        {
            *held = Held::default();
            let current = &self.cpus.words()[number * cpu::WORDS + cpu::CURRENT];
            // A switch comes in between now and then; a CPU that switches all the time is not far behind.
            for _ in 0..4 {
                let last = bank[LAST].load(Ordering::Acquire);
                let holder = current.load(Ordering::Acquire);
                let ran = match holder {
                    cpu::IDLE => bank[IDLE].load(Ordering::Acquire),
                    _ => slot_of(holder).map_or(0, |slot| {
                        let at = cpu_bank(number, slot) + owner::RUN;
                        self.banks.words()[at].load(Ordering::Acquire)
                    }),
                };
                if last != 0 && bank[LAST].load(Ordering::Acquire) == last {
                    *held = Held { holder, ran, last };
                    break;
                }
            }
        }
        let now = self.held.iter().map(|held| held.last).max().unwrap_or(0);
        for held in self.held.iter_mut().filter(|held| held.last != 0) {
            held.ran += now.saturating_sub(held.last);
        }
        now
    }

    fn idle(&self, sched: &View) -> u64 {
        let banks = sched.words().chunks_exact(BANK_WORDS);
        let idle = banks.zip(&self.held).map(|(bank, held)| match held.holder {
            cpu::IDLE => held.ran,
            _ => bank[IDLE].load(Ordering::Relaxed),
        });
        idle.sum()
    }
}

impl Drop for ByOwner {
    fn drop(&mut self) {
        self.owners.lose_track();
    }
}

impl Others {
    fn clear(&mut self) {
        (self.any, self.ran, self.switches) = (false, 0, [0; 2]);
        self.waits.clear();
    }

    fn add(&mut self, ran: u64, switches: [u64; 2], waits: &Histogram) {
        self.any |= ran > 0;
        self.ran += ran;
        for (sum, count) in self.switches.iter_mut().zip(switches) {
            *sum += count;
        }
        self.waits.add(waits);
    }
}

/// The time of all CPUs since each one's first switch.
fn all(sched: &View, now: u64) -> u64 {
    let firsts = sched.words().chunks_exact(BANK_WORDS).map(|bank| bank[FIRST].load(Ordering::Relaxed));
    firsts.filter(|&first| first != 0).map(|first| now.saturating_sub(first)).sum()
}

/// The slot of a CPU's holder, if it is one.
fn slot_of(holder: u64) -> Option<u32> {
    holder.checked_sub(1).and_then(|slot| u32::try_from(slot).ok()).filter(|slot| *slot <= OTHER)
}

/// Where the bank of an owner on a CPU begins.
fn cpu_bank(cpu: usize, slot: u32) -> usize {
    (cpu * pitot_common::owner::BANKS as usize + slot as usize) * owner::WORDS
}

/// Adds up what the CPUs counted for an owner.
fn sum(view: &View, held: &[Held], slot: u32, waits: &mut Histogram) -> (u64, [u64; 2]) {
    let (mut ran, mut switches) = (0, [0; 2]);
    for (bank, held) in PLACE.of(view, slot).zip(held) {
        ran += if held.holder == u64::from(slot) + 1 {
            held.ran
        } else {
            bank[owner::RUN].load(Ordering::Relaxed)
        };
        for (sum, reason) in switches.iter_mut().zip(REASONS) {
            *sum += bank[owner::SWITCHES + reason.index()].load(Ordering::Relaxed);
        }
        waits.merge(&bank[owner::WAIT..owner::WAIT + words(OCTAVE_SLOTS)]);
    }
    (ran, switches)
}

fn deliver(
    acc: &mut dyn Accumulator,
    name: &[u8],
    cgroup: u64,
    shown: &mut Shown,
    ran: u64,
    switches: [u64; 2],
    waits: &Histogram,
) {
    if shown.cgroup != cgroup {
        *shown = Shown { cgroup, ran: 0 };
    }
    shown.ran = ran.max(shown.ran);
    acc.put(&CPU_SECONDS, &[name], seconds(shown.ran));
    for (reason, count) in REASONS.iter().zip(switches) {
        acc.put(&SWITCHES_TOTAL, &[name, reason.label().as_bytes()], count);
    }
    acc.put(&WAIT_SECONDS, &[name], waits);
}

fn deliver_usage(acc: &mut dyn Accumulator, usage: Usage) {
    let free = (SLOTS as usize).saturating_sub(usage.live + usage.gone);
    for (state, slots) in [(&b"live"[..], usage.live), (b"gone", usage.gone), (b"free", free)] {
        acc.put(&SLOTS_USED, &[state], slots as f64);
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
