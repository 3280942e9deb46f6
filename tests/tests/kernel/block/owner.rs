//! Requests by cgroup.

use std::os::unix::fs::FileExt;

use super::{
    PAGE, Page,
    loops::{Loop, alone},
};
use crate::{
    cgroups::{self, Cgroup},
    host::{can_run, note, skip},
    proc::release,
    settle::settle,
    watched::Watched,
};

const READS: u64 = 41;
const WRITES: u64 = 29;

#[test]
#[ignore = "the child of the test here"]
fn read_and_write() {
    let [cgroup] = cgroups::told().try_into().unwrap();
    let device = Loop::new().unwrap();
    let file = device.open();
    cgroups::enter(&cgroup);
    let mut page = Page([0; PAGE]);
    for number in 0..READS {
        file.read_exact_at(&mut page.0, number * PAGE as u64).unwrap();
    }
    for number in 0..WRITES {
        file.write_all_at(&page.0, number * PAGE as u64).unwrap();
    }
    // What is done to free the device is not the cgroup's.
    let root = cgroups::tree().unwrap();
    cgroups::enter(&root);
}

#[test]
fn a_cgroup_is_charged_what_its_tasks_read_and_write() {
    let Some(tree) = can_run().then(cgroups::tree).flatten() else { return };
    let _alone = alone();
    settle(|| {
        if Loop::new().is_none() {
            skip("needs loop devices (/dev/loop-control)");
            return;
        }
        let mut block = Watched::open("block", &[]);
        let cgroups = [Cgroup::new(&tree)];
        cgroups::run("block::owner::read_and_write", &cgroups);
        let reading = block.read();
        let [cgroup] = cgroups.map(|cgroup| cgroup.name());
        for (operation, requests) in [("read", READS), ("write", WRITES)] {
            let counted = ["block_cgroup_requests_total", "block_cgroup_bytes_total"]
                .map(|name| reading.count(name, &[&cgroup, operation]));
            // Linux 6.1 leaves writes to the worker of the queue, which asks for them as far as can be told where
            // the controller of I/O is off.
            if counted == [0, 0] && operation == "write" && release() < (6, 12) {
                note("writes are issued by a worker of this kernel: its cgroup was charged");
                continue;
            }
            assert_eq!(counted, [requests, requests * PAGE as u64], "{operation}");
        }
        // All that was done was done for somebody.
        let all: u64 = ["read", "write", "flush", "discard", "other"]
            .map(|operation| {
                let devices = reading.label_values("block_io_bytes");
                let count = |device: &String| reading.histogram("block_io_bytes", &[device, operation]).count;
                devices.iter().map(count).sum::<u64>()
            })
            .iter()
            .sum();
        let charged = reading.total("block_cgroup_requests_total");
        // Others may be reading and writing meanwhile.
        assert!(charged.abs_diff(all) <= 2 + all / 50, "{charged} of {all}");
    });
}
