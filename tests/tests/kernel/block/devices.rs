//! Several block devices, at once and one after the other: each one's requests are its own.

use std::{fs::File, os::unix::fs::FileExt, thread, time::Duration};

use pitot_common::block::device::SLOTS;

use super::{
    PAGE, Page,
    loops::{Loop, alone},
};
use crate::{
    host::{can_run, skip},
    settle::settle,
    watched::{Reading, Watched},
};

/// Reads of the devices; different, so that a mix-up cannot look right.
const READS: [u64; 3] = [11, 23, 47];
/// Numbers that nobody else uses: the first ones of each test.
const FIRST: [i32; 3] = [700, 800, 900];
/// More devices than there are slots.
const MANY: i32 = SLOTS.cast_signed() + 10;

fn writes(reading: &Reading, device: &str) -> (u64, u64) {
    let counted = reading.histogram("block_io_bytes", &[device, "write"]);
    (counted.count, counted.sum)
}

fn pages(number: u64) -> (u64, u64) {
    (number, number * PAGE as u64)
}

#[test]
fn every_device_has_its_own_requests() {
    let _alone = alone();
    settle(|| {
        if !can_run() {
            return;
        }
        let devices: Vec<Loop> = READS.iter().map_while(|_| Loop::new()).collect();
        if devices.len() < READS.len() {
            skip("needs loop devices (/dev/loop-control)");
            return;
        }
        let files: Vec<File> = devices.iter().map(Loop::open).collect();
        // Whoever looks at new devices (udev) has looked by then.
        thread::sleep(Duration::from_millis(300));
        let mut block = Watched::open("block", &[]);
        // From several threads, so that CPUs compete for the slots.
        thread::scope(|scope| {
            for (file, reads) in files.iter().zip(READS) {
                scope.spawn(move || {
                    let mut page = Page([0; PAGE]);
                    for number in 0..reads {
                        file.read_exact_at(&mut page.0, number * PAGE as u64).unwrap();
                    }
                });
            }
        });
        let after = block.read();
        for (device, reads) in devices.iter().zip(READS) {
            let counted = after.histogram("block_io_bytes", &[&device.name(), "read"]);
            assert_eq!((counted.count, counted.sum), pages(reads), "{}", device.name());
        }
        assert_eq!(after.count("block_folded_requests_total", &[]), 0);
    });
}

#[test]
fn a_device_that_is_gone_leaves_its_slot_to_another() {
    let _alone = alone();
    settle(|| {
        if !can_run() {
            return;
        }
        let mut block = Watched::open("block", &[]);
        let mut now = Duration::ZERO;
        for (number, wrote) in (FIRST[0]..FIRST[0] + MANY).zip(1..) {
            let Some(device) = Loop::make(number) else {
                skip("needs loop devices (/dev/loop-control)");
                return;
            };
            device.write(wrote);
            let reading = block.read_after(now);
            assert_eq!(writes(&reading, &device.name()), pages(wrote), "{}", device.name());
            let name = device.name();
            drop(device);
            // Its last numbers stay for a while.
            assert_eq!(writes(&block.read_after(now + Duration::from_secs(11)), &name), pages(wrote));
            now += Duration::from_secs(75);
            assert_eq!(writes(&block.read_after(now), &name), (0, 0));
        }
        let reading = block.read_after(now);
        assert_eq!(reading.count("block_folded_requests_total", &[]), 0);
        assert!(!reading.label_values("block_io_bytes").contains("other"));
    });
}

#[test]
fn another_file_in_the_same_device_begins_anew() {
    let _alone = alone();
    settle(|| {
        if !can_run() {
            return;
        }
        let mut block = Watched::open("block", &[]);
        let mut names = Vec::new();
        for wrote in [5, 3, 8] {
            let Some(device) = Loop::make(FIRST[1]) else {
                skip("needs loop devices (/dev/loop-control)");
                return;
            };
            device.write(wrote);
            assert_eq!(writes(&block.read(), &device.name()), pages(wrote));
            names.push(device.name());
        }
        assert_eq!(names[0], names[2]);
    });
}

#[test]
fn devices_that_nobody_saw_are_counted_among_the_others() {
    let _alone = alone();
    settle(|| {
        if !can_run() {
            return;
        }
        let mut block = Watched::open("block", &[]);
        let mut all = 0;
        for (number, wrote) in (FIRST[2]..FIRST[2] + MANY).zip(1..) {
            let Some(device) = Loop::make(number) else {
                skip("needs loop devices (/dev/loop-control)");
                return;
            };
            device.write(wrote);
            all += wrote;
        }
        // Some found no slot, because none was given back in between.
        let reading = block.read();
        assert_eq!(writes(&reading, "other"), pages(all));
        assert!(reading.count("block_folded_requests_total", &[]) > 0);
        for seconds in [6, 80] {
            let later = block.read_after(Duration::from_secs(seconds));
            assert_eq!(writes(&later, "other"), pages(all), "after {seconds} s");
            assert_eq!(later.count("block_in_flight", &["other"]), 0);
        }
        // Their slots are free again.
        let Some(device) = Loop::make(FIRST[2]) else { return };
        device.write(4);
        assert_eq!(writes(&block.read_after(Duration::from_secs(80)), &device.name()), pages(4));
    });
}
