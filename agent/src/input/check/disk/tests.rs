#![expect(clippy::disallowed_methods, reason = "mounts are made in a namespace of their own")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use super::*;
use crate::{
    accumulator::MemoryAccumulator,
    input::check::{Dir, execute_here},
};

/// A process with mounts of its own, made by a script; it ends with the test.
struct Namespace(Child);

impl Namespace {
    fn new(script: &str) -> Self {
        let script = format!("set -e; {script}; echo ready; exec sleep 60");
        let unshare = ["--mount", "--propagation", "private", "sh", "-c", &script];
        let mut command = Command::new("unshare");
        command.args(unshare).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = [0; 6];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        Self(child)
    }

    fn inside(&self) -> Inside {
        let process = PathBuf::from(format!("/proc/{}", self.0.id()));
        Inside {
            deadline: Instant::now() + TIMEOUT,
            root: Dir::open(&process.join("root")).unwrap(),
            process: Dir::open(&process).unwrap(),
            procfs: None,
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn check(disk: &mut Disk, inside: &Inside) -> MemoryAccumulator {
    let mut acc = MemoryAccumulator::new();
    execute_here(disk, inside, &mut acc).unwrap();
    acc
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("not root: nothing is mounted");
    }
    root
}

fn only(points: &str) -> Disk {
    // Everything else is excluded.
    Disk { types: Pattern::new(""), points: Pattern::new(points), ..Disk::default() }
}

#[test]
fn the_host_has_a_root() {
    let mut acc = MemoryAccumulator::new();
    let mut disk = Disk { types: Pattern::new("^(proc|sysfs)$"), ..Disk::default() };
    disk.collect(&CollectContext::new(TIMEOUT), &mut acc).unwrap();
    let size = acc.samples().iter().find(|s| s.name == "size_bytes" && s.labels[0].1 == "/");
    assert!(size.is_some(), "{:?}", acc.samples());
    assert_eq!(acc.number("executed", &[]), Some(1.0));
}

#[test]
fn mounts_are_those_of_the_target() {
    if !is_root() {
        return;
    }
    let target = Namespace::new(
        "mount -t tmpfs -o size=8m,nr_inodes=100 first /mnt; mkdir '/mnt/a b' /mnt/ro; \
         head -c 1048576 /dev/zero > /mnt/file; \
         mount -t tmpfs -o size=4m second '/mnt/a b'; mount -t tmpfs -o ro,size=1m third /mnt/ro",
    );
    let acc = check(&mut only("^/(proc|sys|dev)"), &target.inside());
    let first = ["/mnt", "first", "tmpfs"];
    assert_eq!(acc.number("size_bytes", &first), Some(8_388_608.0));
    assert_eq!(acc.number("free_bytes", &first), Some(7_340_032.0));
    assert_eq!(acc.number("avail_bytes", &first), Some(7_340_032.0));
    assert_eq!(acc.number("files", &first), Some(100.0));
    // The root, two directories and a file.
    assert_eq!(acc.number("files_free", &first), Some(96.0));
    assert_eq!(acc.number("readonly", &first), Some(0.0));
    assert_eq!(acc.number("size_bytes", &["/mnt/a b", "second", "tmpfs"]), Some(4_194_304.0));
    assert_eq!(acc.number("readonly", &["/mnt/ro", "third", "tmpfs"]), Some(1.0));
    // They are not seen by the host.
    assert!(!Path::new("/mnt/ro").exists());
}

#[test]
fn what_lies_under_another_mount_is_not_reported_with_its_numbers() {
    if !is_root() {
        return;
    }
    let target = Namespace::new(
        "mount -t tmpfs -o size=8m first /mnt; mkdir /mnt/below; mount -t tmpfs -o size=4m second /mnt/below; \
         mount -t tmpfs -o size=2m third /mnt; mkdir /mnt/below",
    );
    let acc = check(&mut only("^/(proc|sys|dev)"), &target.inside());
    assert_eq!(acc.number("size_bytes", &["/mnt", "third", "tmpfs"]), Some(2_097_152.0));
    assert_eq!(acc.number("size_bytes", &["/mnt", "first", "tmpfs"]), None);
    assert_eq!(
        acc.number("size_bytes", &["/mnt/below", "second", "tmpfs"]),
        None,
        "there is a directory of `third`"
    );
    assert_eq!(acc.number("left_out", &["hidden"]), Some(2.0));
}

#[test]
fn a_place_that_is_gone_is_counted() {
    let tree = crate::input::testing::Tree::new(&[(
        "process/mountinfo",
        "29 1 8:1 / /gone rw - ext4 /dev/sda1 rw\n30 1 8:2 / /file/x rw - ext4 /dev/sda1 rw\n",
    )]);
    tree.write("root/file", b"");
    let inside = Inside {
        deadline: Instant::now() + TIMEOUT,
        root: Dir::open(&tree.path().join("root")).unwrap(),
        process: Dir::open(&tree.path().join("process")).unwrap(),
        procfs: None,
    };
    let acc = check(&mut Disk::default(), &inside);
    assert_eq!(acc.number("left_out", &["missing"]), Some(2.0));
    assert_eq!(acc.samples().iter().filter(|s| s.name == "size_bytes").count(), 0);
}

#[test]
fn after_a_timeout_what_may_hang_rests_for_a_while() {
    let tree = crate::input::testing::Tree::new(&[("mountinfo", "29 1 8:1 / / rw - fuse.x x rw\n")]);
    let dir = || Dir::open(tree.path()).unwrap();
    let inside = Inside { deadline: Instant::now() + TIMEOUT, root: dir(), process: dir(), procfs: None };
    let mut disk = Disk::default();
    let hangs = |disk: &mut Disk| check(disk, &inside).number("left_out", &["hangs"]).unwrap() > 0.0;
    assert!(!hangs(&mut disk));
    for (error, rest) in [(HelperError::Timeout(TIMEOUT), FIRST_REST), (HelperError::Stuck, FIRST_REST * 2)] {
        disk.generate_error_metrics(&error, &mut MemoryAccumulator::new());
        for _ in 0..rest {
            assert!(hangs(&mut disk));
        }
    }
    assert!(!hangs(&mut disk));
    disk.generate_error_metrics(&HelperError::Enter("gone".into()), &mut MemoryAccumulator::new());
    assert!(!hangs(&mut disk), "only a timeout says that something may hang");
}

#[test]
fn kinds_of_errors_are_reasons() {
    let errors =
        [libc::EACCES, libc::ENOENT, libc::ESTALE, libc::ENOTCONN, libc::EIO, libc::ETIMEDOUT, libc::ELOOP];
    for error in errors {
        assert!(REASONS.contains(&kind(&io::Error::from_raw_os_error(error))));
    }
    assert_eq!(kind(&io::Error::from_raw_os_error(libc::EIO)), "io");
    assert_eq!(kind(&io::Error::from_raw_os_error(libc::ELOOP)), "other");
}
