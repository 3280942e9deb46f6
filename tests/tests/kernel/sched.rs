//! Switches, waits and migrations against the kernel's accounts of tasks.

use std::{
    io::{Read, Write, pipe},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    host::{can_run, note, skip},
    proc::{self, Tasks, Turns},
    raw,
    sandwich::{Growths, Sandwich},
    settle::settle,
    watched::{Reading, Watched},
};

const ROUNDS: u64 = 1_000;

/// CPUs that this process may use.
pub(crate) fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect()
}

/// Moves the calling thread to a CPU; it runs there when this returns.
pub(crate) fn pin_to(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// Switches that a CPU has counted and the program not yet: at most one on each CPU.
fn half_counted() -> u64 {
    u64::try_from(thread::available_parallelism().unwrap().get()).unwrap()
}

fn switches(reading: &Reading, reason: &str) -> u64 {
    reading.count("sched_switches_total", &[reason])
}

/// Passes a byte to and fro between two threads on one CPU; returns what the kernel says of each.
fn ping_pong() -> (Turns, Turns, bool) {
    let ((mut serve, mut server), (mut reply, mut replier)) = (pipe().unwrap(), pipe().unwrap());
    let cpu = cpus()[0];
    let start = Barrier::new(2);
    let player = |play: &mut dyn FnMut()| {
        pin_to(cpu);
        let fifo = raw::become_fifo().is_ok();
        start.wait();
        let before = Turns::mine();
        (0..ROUNDS).for_each(|_| play());
        (Turns::mine().since(before), fifo)
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            player(&mut || {
                server.write_all(b"x").unwrap();
                reply.read_exact(&mut [0]).unwrap();
            })
        });
        let second = scope.spawn(|| {
            player(&mut || {
                serve.read_exact(&mut [0]).unwrap();
                replier.write_all(b"x").unwrap();
            })
        });
        let ((first, fifo), (second, _)) = (first.join().unwrap(), second.join().unwrap());
        (first, second, fifo)
    })
}

/// Keeps two threads busy on one CPU, so that each waits while the other runs.
fn compete(time: Duration) -> Vec<Turns> {
    let cpu = *cpus().last().unwrap();
    let busy = || {
        pin_to(cpu);
        let (before, start) = (Turns::mine(), Instant::now());
        while start.elapsed() < time {}
        Turns::mine().since(before)
    };
    thread::scope(|scope| {
        let threads = [scope.spawn(busy), scope.spawn(busy)];
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn all_switches_together_are_the_kernels_context_switches() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut sched = Watched::open("sched", &[]);
        let mut switches = 0;
        for _ in 0..5 {
            let sandwich = Sandwich::around(
                &mut sched,
                || proc::stat("ctxt"),
                Watched::read,
                || {
                    (0..100).for_each(|_| thread::sleep(Duration::from_micros(200)));
                },
            );
            let growths = sandwich.growths(|ctxt| *ctxt, |reading| reading.total("sched_switches_total"));
            growths.assert_between("context switches", half_counted());
            switches += growths.mine;
        }
        assert!(switches >= 500, "every sleep is a switch, but there were {switches}");
    });
}

#[test]
fn every_blocking_read_is_a_blocked_switch() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut sched = Watched::open("sched", &[]);
        let before = switches(&sched.read(), "blocked");
        let (first, second, fifo) = ping_pong();
        let counted = switches(&sched.read(), "blocked") - before;

        let made = first.voluntary + second.voluntary;
        assert!(counted >= made, "counted {counted}, the kernel {made}");
        if fifo {
            // Neither takes the CPU from the other, so each read but perhaps the very first finds nothing.
            assert_eq!(first.voluntary, ROUNDS);
            assert!((ROUNDS - 1..=ROUNDS).contains(&second.voluntary), "{second:?}");
        } else {
            note("without real-time priority, reads may find their byte there: the bound is half as sharp");
            assert!(made >= ROUNDS, "{first:?} {second:?}");
        }
    });
}

#[test]
fn tasks_that_share_a_cpu_are_preempted_and_wait_as_long_as_the_kernel_says() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut sched = Watched::open("sched", &[]);
        let before = sched.read();
        let turns = compete(Duration::from_millis(500));
        let after = sched.read();

        let sum = |field: fn(&Turns) -> u64| turns.iter().map(field).sum::<u64>();
        let (taken, waited, waits) = (sum(|t| t.involuntary), sum(|t| t.wait_ns), sum(|t| t.waits));
        let preempted = switches(&after, "preempted") - switches(&before, "preempted");
        assert!(taken > 0 && preempted >= taken, "counted {preempted}, the kernel {taken}");

        if !proc::keeps_waits() {
            skip("needs a kernel with CONFIG_SCHED_INFO");
            return;
        }
        let wait = |reading: &Reading| reading.histogram("sched_wait_seconds", &[]);
        let (before, after) = (wait(&before), wait(&after));
        // Two tasks on one CPU: whatever the rest of the machine does, one waits while the other runs.
        assert!(waited >= 300_000_000, "{turns:?}");
        assert!(after.sum - before.sum >= waited, "{} ns counted: {turns:?}", after.sum - before.sum);
        assert!(after.count - before.count >= waits, "{} counted: {turns:?}", after.count - before.count);
    });
}

#[test]
fn the_waits_of_all_tasks_together_are_the_histogram() {
    settle(|| {
        if !can_run() {
            return;
        }
        if !proc::keeps_waits() {
            skip("needs a kernel with CONFIG_SCHED_INFO");
            return;
        }
        let mut sched = Watched::open("sched", &[]);
        let wait = |reading: &Reading| reading.histogram("sched_wait_seconds", &[]);
        for _ in 0..40 {
            let sandwich = Sandwich::around(&mut sched, Tasks::all, Watched::read, || {
                thread::sleep(Duration::from_millis(20));
            });
            let [outer_first, inner_first, inner_last, outer_last] = &sandwich.kernel;
            let (inner, outer) = (inner_last.growth_since(inner_first), outer_last.growth_since(outer_first));
            let [before, after] = sandwich.mine.each_ref().map(wait);
            let count = Growths { inner: inner.1, outer: outer.1, mine: after.count - before.count };
            // A moved task's wait on its old CPU is in the kernel's sum and not in the histogram.
            assert!(count.inner <= count.mine + half_counted(), "{count:?}");
            if outer_last.same_as(outer_first) {
                let sum = Growths { inner: inner.0, outer: outer.0, mine: after.sum - before.sum };
                count.assert_between("waits", half_counted());
                assert!(sum.mine <= sum.outer + 1_000_000, "nanoseconds: {sum:?}");
                return;
            }
        }
        note("tasks came and went all the time: only the lower bound was checked");
    });
}

#[test]
fn every_move_to_another_cpu_is_a_migration() {
    settle(|| {
        if !can_run() {
            return;
        }
        let cpus = cpus();
        if cpus.len() < 2 {
            skip("needs two CPUs");
            return;
        }
        let mut sched = Watched::open("sched", &[]);
        let migrations = |reading: &Reading| reading.count("sched_migrations_total", &[]);
        let before = migrations(&sched.read());
        let kernel = thread::spawn(move || {
            pin_to(cpus[0]);
            let before = proc::my_migrations();
            for turn in 0..ROUNDS {
                pin_to(cpus[usize::from(turn % 2 == 0)]);
            }
            Some(proc::my_migrations()? - before?)
        });
        let kernel = kernel.join().unwrap();
        let counted = migrations(&sched.read()) - before;
        assert!(counted >= ROUNDS, "{ROUNDS} made, {counted} counted");
        match kernel {
            Some(kernel) => assert_eq!(kernel, ROUNDS, "the kernel's own account of this thread"),
            None => note("the kernel keeps no account of migrations per task"),
        }
    });
}
