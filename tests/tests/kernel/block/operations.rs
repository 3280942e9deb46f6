//! Discards and flushes, one by one.

use super::{
    PAGE,
    loops::{Loop, alone},
};
use crate::{
    host::{can_run, skip},
    raw,
    settle::settle,
    watched::Watched,
};

const DISCARDS: u64 = 13;
const FLUSHES: u64 = 17;

#[test]
fn discards_and_flushes_are_counted_as_such() {
    let _alone = alone();
    settle(|| {
        if !can_run() {
            return;
        }
        let Some(device) = Loop::new() else {
            skip("needs loop devices (/dev/loop-control)");
            return;
        };
        let file = device.open();
        // The file below must be able to have holes.
        if raw::discard(&file, 0, PAGE as u64).is_err() {
            skip("needs a file system that makes holes");
            return;
        }
        let mut block = Watched::open("block", &[]);
        for number in 0..DISCARDS {
            raw::discard(&file, number * PAGE as u64, PAGE as u64).unwrap();
        }
        for _ in 0..FLUSHES {
            file.sync_all().unwrap();
        }
        let reading = block.read();
        let counted = |operation| {
            let bytes = reading.histogram("block_io_bytes", &[&device.name(), operation]);
            (bytes.count, bytes.sum)
        };
        assert_eq!(counted("discard"), (DISCARDS, DISCARDS * PAGE as u64));
        assert_eq!(counted("flush"), (FLUSHES, 0));
        assert_eq!(counted("write"), (0, 0));
        assert_eq!(reading.count("block_in_flight", &[&device.name()]), 0);
    });
}
