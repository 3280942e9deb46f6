//! Interrupts against /proc/softirqs and /proc/interrupts.

use std::{net::UdpSocket, time::Instant};

use pitot_common::irq::Vector;

use crate::{
    block::{REQUESTS, direct_file, half_counted, read_all},
    host::{can_run, skip},
    proc,
    sandwich::Sandwich,
    settle::settle,
    watched::{Reading, Watched},
};

const PACKETS: u64 = 2_000;

fn runs(reading: &Reading, vector: Vector) -> u64 {
    reading.histogram("irq_softirq_seconds", &[vector.label()]).count
}

fn waits(reading: &Reading, vector: Vector) -> u64 {
    reading.histogram("irq_softirq_wait_seconds", &[vector.label()]).count
}

/// Sends packets to itself, each after the one before has arrived, so that each needs a run of its own.
fn talk_to_myself() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut buffer = [0; 8];
    for number in 0..PACKETS {
        socket.send_to(&number.to_ne_bytes(), address).unwrap();
        socket.recv(&mut buffer).unwrap();
        assert_eq!(u64::from_ne_bytes(buffer), number);
    }
}

#[test]
fn soft_interrupts_run_as_often_as_the_kernel_says() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut irq = Watched::open("irq", &[("softirqs", true)]);
        let begun = Instant::now();
        let sandwich = Sandwich::around(&mut irq, proc::softirqs, Watched::read, talk_to_myself);
        let elapsed = begun.elapsed();

        let cpus = half_counted();
        let mut ran_ns = 0;
        for &vector in Vector::ALL {
            // The kernel counts a run just before it begins, the program when it ends: one per CPU is between.
            let of_kernel = |counts: &Vec<u64>| counts[vector.index()];
            let growths = sandwich.growths(of_kernel, |reading| runs(reading, vector));
            growths.assert_between(vector.label(), cpus);
            let [before, after] = sandwich.mine.each_ref().map(|reading| waits(reading, vector));
            // A run that is raised in the moment in which the one before begins has no wait; none has two.
            assert!(
                after - before <= growths.mine + cpus,
                "{}: {} waits, {growths:?}",
                vector.label(),
                after - before
            );
            if vector == Vector::NetRx {
                assert!(growths.mine >= PACKETS / 2, "{growths:?}");
                assert!(after - before >= PACKETS / 2, "{} waits, {growths:?}", after - before);
            }
            let [before, after] = sandwich
                .mine
                .each_ref()
                .map(|reading| reading.histogram("irq_softirq_seconds", &[vector.label()]).sum);
            ran_ns += after - before;
        }
        let possible = u128::from(cpus) * elapsed.as_nanos();
        assert!(ran_ns > PACKETS / 2 * 100 && u128::from(ran_ns) < possible, "{ran_ns} of {possible} ns");
    });
}

#[test]
fn handlers_run_as_often_as_their_lines_interrupt() {
    settle(|| {
        if !can_run() {
            return;
        }
        let Some((_temp, file, _)) = direct_file() else {
            skip("needs a file system on a disk that does direct I/O");
            return;
        };
        let mut irq = Watched::open("irq", &[]);
        let sandwich = Sandwich::around(&mut irq, proc::interrupts, Watched::read, || read_all(&file));
        let mut most = 0;
        for name in sandwich.kernel[0].keys() {
            // Of a shared line every handler runs at each interrupt, whichever device it was.
            if name.contains(", ") {
                continue;
            }
            let growths = sandwich.growths(
                |lines| lines.get(name).copied().unwrap_or(0),
                |reading| reading.histogram("irq_hardirq_seconds", &[name]).count,
            );
            growths.assert_between(name, half_counted());
            most = most.max(growths.mine);
        }
        if most < REQUESTS / 2 {
            skip("needs a disk that interrupts at each request");
            return;
        }
        let last = &sandwich.mine[1];
        assert!(!last.has("irq_softirq_seconds"), "nobody asked for it");
        assert_eq!(last.count("irq_folded_runs_total", &[]), 0);
        assert!(last.count("irq_untimed_runs_total", &["hardirq"]) <= half_counted());
    });
}
