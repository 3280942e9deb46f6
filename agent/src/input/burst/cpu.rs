//! The time of CPUs, from the words that the kernel programs of `sched` keep.

use std::{sync::atomic::Ordering, time::Instant};

use pitot_common::{
    histogram::SUM,
    owner::cpu,
    sched::{BANK_WORDS, FIRST, IDLE, LAST, WAIT},
};

use super::clock::Clock;
use crate::{
    accumulator::Accumulator,
    bpf::{Loader, map::View},
    catalogue::{Label, Metric, Since, Unit, Unsupported},
    input::InputError,
};

pub(super) static BUSY_SECONDS: Metric =
    Metric::counter("cpu_busy_seconds_total", "Time in which a CPU had a task to run.", &[Label::cpu()])
        .unit(Unit::Seconds)
        .since(Since::Attach);

pub(super) static SHARED_SECONDS: Metric = Metric::counter(
    "cpus_busy_seconds_total",
    "Time in which CPUs had a task to run, shared out among all of them: it rises by a second per second when all are busy.",
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

pub(super) static WAIT_SECONDS: Metric = Metric::counter(
    "run_queue_wait_seconds_total",
    "Time that runnable tasks waited for a CPU, added when they got it.",
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

/// Looks at a switch that may come in between again; a CPU that switches all the time is not far behind.
const LOOKS: usize = 4;

pub(super) struct Cpus {
    sched: View,
    owners: View,
    known: Vec<Cpu>,
    clock: Clock,
    /// The newest switch at the last collection.
    newest: u64,
    /// Seconds that the CPUs were busy, shared out among them.
    shared: f64,
}

struct Cpu {
    label: String,
    /// What was delivered last. Time must not run backwards, whatever the clocks of two CPUs differ by.
    busy: u64,
    /// When it switched last, how long it had been idle by then, and whether it is since then.
    last: u64,
    idle: u64,
    is_idle: bool,
}

impl Cpus {
    pub(super) fn of(bpf: &Loader) -> Result<Self, Unsupported> {
        let sched = bpf.look_into("sched", "SCHED", BANK_WORDS)?;
        let owners = bpf.look_into("sched", "OWNER_CPU", cpu::WORDS)?;
        let cpu =
            |number: usize| Cpu { label: number.to_string(), busy: 0, last: 0, idle: 0, is_idle: false };
        let known = (0..sched.words().len() / BANK_WORDS).map(cpu).collect();
        Ok(Self { sched, owners, known, clock: Clock::default(), newest: 0, shared: 0.0 })
    }

    /// Delivers the time up to the start of the collection: if this thread is held up after it, what it finds is
    /// newer, and time that was idle since then can only make less of it, until the next collection.
    pub(super) fn collect(&mut self, started: Instant, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let banks = self.sched.words().chunks_exact(BANK_WORDS);
        let holders = self.owners.words().chunks_exact(cpu::WORDS).map(|words| &words[cpu::CURRENT]);
        for ((known, bank), holder) in self.known.iter_mut().zip(banks.clone()).zip(holders) {
            for _ in 0..LOOKS {
                let last = bank[LAST].load(Ordering::Acquire);
                let idle = bank[IDLE].load(Ordering::Acquire);
                let is_idle = holder.load(Ordering::Acquire) == cpu::IDLE;
                if last != 0 && bank[LAST].load(Ordering::Acquire) == last {
                    (known.last, known.idle, known.is_idle) = (last, idle, is_idle);
                    break;
                }
            }
        }
        let newest = self.known.iter().map(|known| known.last).max().unwrap_or(0);
        if newest == self.newest {
            return Err(InputError::Other("no CPU has switched tasks: `sched` does not count".to_owned()));
        }
        self.newest = newest;
        self.clock.compare(newest, Instant::now());
        let now = self.clock.at(started).unwrap_or(newest);
        let (mut waited, mut gained, mut count) = (0, 0, 0u32);
        for (known, bank) in self.known.iter_mut().zip(banks) {
            waited += bank[WAIT + SUM].load(Ordering::Relaxed);
            let first = bank[FIRST].load(Ordering::Relaxed);
            if first == 0 {
                continue;
            }
            let idle = known.idle + if known.is_idle { now.saturating_sub(known.last) } else { 0 };
            let busy = known.busy.max(now.saturating_sub(first).saturating_sub(idle));
            gained += busy - known.busy;
            count += 1;
            known.busy = busy;
            acc.put(&BUSY_SECONDS, &[known.label.as_bytes()], busy as f64 / 1e9);
        }
        // Added up here, because a mean of sums would jump when a CPU comes.
        self.shared += gained as f64 / 1e9 / f64::from(count.max(1));
        acc.put(&SHARED_SECONDS, &[], self.shared);
        acc.put(&WAIT_SECONDS, &[], waited as f64 / 1e9);
        Ok(())
    }
}
