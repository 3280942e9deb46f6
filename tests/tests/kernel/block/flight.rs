//! Requests in flight: held by a loop device whose file lies on a frozen file system.

use std::{
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    PAGE, Page,
    loops::{Loop, alone},
};
use crate::{
    host::{can_run, skip},
    settle::settle,
    watched::Watched,
};

/// Requests that are held.
const HELD: u64 = 6;

fn succeeds(program: &str, arguments: &[&str], last: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(last).output();
    output.is_ok_and(|output| output.status.success())
}

/// A file system on a loop device.
struct Mounted {
    folder: TempDir,
    _device: Loop,
}

impl Mounted {
    fn new() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let device = Loop::over_file_in(&std::env::temp_dir(), 16 << 20)?;
        let path = device.path();
        let made = succeeds("mkfs.ext4", &["-q", "-F"], Path::new(&path));
        let mounted = made && succeeds("mount", &[&path], folder.path());
        mounted.then_some(Self { folder, _device: device })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        succeeds("umount", &[], self.folder.path());
    }
}

/// While this lives, nothing is written to a file system.
struct Frozen<'a>(&'a Mounted);

impl<'a> Frozen<'a> {
    fn new(mounted: &'a Mounted) -> Self {
        assert!(succeeds("fsfreeze", &["--freeze"], mounted.folder.path()));
        Self(mounted)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        succeeds("fsfreeze", &["--unfreeze"], self.0.folder.path());
    }
}

#[test]
fn requests_are_in_flight_until_they_are_done() {
    let _alone = alone();
    settle(|| {
        if !can_run() {
            return;
        }
        let Some(mounted) = Mounted::new() else {
            skip("needs loop devices, and mkfs.ext4, mount and fsfreeze");
            return;
        };
        let Some(device) = Loop::over_file_in(mounted.folder.path(), super::loops::SIZE) else {
            skip("needs two loop devices");
            return;
        };
        let file = device.open();
        let mut block = Watched::open("block", &[]);
        let mut in_flight = || block.read().number("block_in_flight", &[&device.name()]);
        thread::scope(|scope| {
            let frozen = Frozen::new(&mounted);
            for number in 0..HELD {
                let file = &file;
                scope.spawn(move || {
                    let page = Page([1; PAGE]);
                    // Not side by side: they would be made one request.
                    file.write_all_at(&page.0, 2 * number * PAGE as u64).unwrap();
                });
            }
            let started = Instant::now();
            while in_flight() != Some(HELD as f64) && started.elapsed() < Duration::from_secs(5) {
                thread::sleep(Duration::from_millis(10));
            }
            thread::sleep(Duration::from_millis(50));
            assert_eq!(in_flight(), Some(HELD as f64));
            drop(frozen);
        });
        assert_eq!(in_flight(), Some(0.0));
        let counted = block.read().histogram("block_io_bytes", &[&device.name(), "write"]);
        assert_eq!(counted.count, HELD);
    });
}
