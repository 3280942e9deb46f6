//! Several block devices at once: each one's requests are its own.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
    thread,
    time::Duration,
};

use tempfile::NamedTempFile;

use crate::{
    host::{can_run, skip},
    raw,
    settle::settle,
    watched::Watched,
};

const PAGE: usize = 4096;
/// Reads of the devices; different, so that a mix-up cannot look right.
const READS: [u64; 3] = [11, 23, 47];

/// Memory as direct I/O wants it.
#[repr(align(4096))]
struct Page([u8; PAGE]);

/// A loop device over a file, given back at the end.
struct Loop {
    number: i32,
    _file: NamedTempFile,
}

impl Loop {
    fn new() -> Option<Self> {
        // The first folder is not there where the tests have been carried to another machine.
        let folders = [env!("CARGO_TARGET_TMPDIR"), "/tmp"];
        let file = folders.iter().find_map(|folder| NamedTempFile::new_in(folder).ok())?;
        file.as_file().set_len(1 << 20).ok()?;
        let number = raw::attach_loop(file.as_file()).ok()?;
        Some(Self { number, _file: file })
    }

    fn name(&self) -> String {
        format!("loop{}", self.number)
    }

    fn open(&self) -> File {
        let path = format!("/dev/{}", self.name());
        OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // One that stays behind is freed with its file.
        let _freed = raw::detach_loop(self.number);
    }
}

#[test]
fn every_device_has_its_own_requests() {
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
            assert_eq!((counted.count, counted.sum), (reads, reads * PAGE as u64), "{}", device.name());
        }
        assert_eq!(after.count("block_folded_requests_total", &[]), 0);
    });
}
