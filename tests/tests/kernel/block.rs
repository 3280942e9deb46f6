//! Block requests against /proc/diskstats.

mod devices;
mod flight;
mod loops;
mod operations;
mod owner;

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
    thread,
    time::Duration,
};

use nix::sys::stat::{major, minor};
use pitot_common::histogram::Scale;
use tempfile::NamedTempFile;

use crate::{
    host::{can_run, skip},
    proc,
    sandwich::Sandwich,
    settle::settle,
    watched::{Reading, Watched},
};

/// Fields of /proc/diskstats, counted from the first number after the name.
mod field {
    pub(super) const READS: usize = 0;
    pub(super) const SECTORS_READ: usize = 2;
    pub(super) const READ_MS: usize = 3;
    pub(super) const WRITES: usize = 4;
    pub(super) const SECTORS_WRITTEN: usize = 6;
    pub(super) const FLUSHES: usize = 15;
}

pub(crate) const REQUESTS: u64 = 300;
const PAGE: usize = 4096;

/// Memory as direct I/O wants it.
#[repr(align(4096))]
struct Page([u8; PAGE]);

/// A file on a disk of which the kernel keeps statistics, opened for direct I/O, and the disk's name.
pub(crate) fn direct_file() -> Option<(NamedTempFile, File, String)> {
    [env!("CARGO_TARGET_TMPDIR"), "/var/tmp", "/home"].iter().find_map(|folder| {
        let temp = NamedTempFile::new_in(folder).ok()?;
        let disk = disk_of(temp.as_file())?;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(temp.path()).ok()?;
        let page = Page([7; PAGE]);
        for number in 0..REQUESTS {
            file.write_all_at(&page.0, number * PAGE as u64).ok()?;
        }
        file.sync_all().ok()?;
        Some((temp, file, disk))
    })
}

/// The whole disk below a file's file system, unless that has none or several.
fn disk_of(file: &File) -> Option<String> {
    let device = file.metadata().ok()?.dev();
    let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let folder = fs::canonicalize(link).ok()?;
    let disk = if folder.join("partition").exists() { folder.parent()? } else { Path::new(&folder) };
    // A mapped device passes requests on and issues none of its own.
    let stacked = fs::read_dir(disk.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some());
    (!stacked).then(|| disk.file_name().map(|name| name.to_string_lossy().replace('!', "/")))?
}

/// Reads a [`direct_file`], a request per page.
pub(crate) fn read_all(file: &File) {
    let mut page = Page([0; PAGE]);
    for number in 0..REQUESTS {
        file.read_exact_at(&mut page.0, number * PAGE as u64).unwrap();
        assert_eq!(page.0[0], 7);
    }
}

/// Events that are counted here and not yet by the kernel, or the reverse: one per CPU.
pub(crate) fn half_counted() -> u64 {
    u64::try_from(thread::available_parallelism().unwrap().get()).unwrap()
}

fn untimed(reading: &Reading) -> u64 {
    reading.total("block_untimed_requests_total")
}

#[test]
fn reads_agree_with_diskstats_in_number_size_and_time() {
    settle(|| {
        if !can_run() {
            return;
        }
        let Some((_temp, file, disk)) = direct_file() else {
            skip("needs a file system on a disk that does direct I/O");
            return;
        };
        let mut block = Watched::open("block", &[]);
        // Requests that were issued before the programs came are in no histogram: let them end.
        thread::sleep(Duration::from_millis(200));
        let sandwich = Sandwich::around(&mut block, || proc::disk(&disk), Watched::read, || read_all(&file));
        let labels: &[&str] = &[&disk, "read"];
        let [io, queue, bytes] = ["block_io_seconds", "block_queue_seconds", "block_io_bytes"]
            .map(|name| move |reading: &Reading| reading.histogram(name, labels));

        let reads = sandwich.growths(|disk| disk[field::READS], |r| io(r).count);
        let lost = untimed(&sandwich.mine[1]) - untimed(&sandwich.mine[0]);
        assert!(reads.mine >= REQUESTS, "{reads:?}, {lost} untimed");
        reads.assert_between("reads", half_counted());
        let size = sandwich.growths(|disk| disk[field::SECTORS_READ] * 512, |r| bytes(r).sum);
        size.assert_between("bytes", half_counted() << 20);

        let slot = Scale::Bytes.slot(PAGE as u64);
        let [before, after] = sandwich.mine.each_ref().map(|reading| bytes(reading).slot(slot));
        assert!(after - before >= REQUESTS, "{} requests of {PAGE} bytes", after - before);

        // Diskstats count whole milliseconds from the same start until a little after the same end.
        let time = sandwich.growths(|disk| disk[field::READ_MS], |r| (io(r).sum + queue(r).sum) / 1_000_000);
        time.assert_between("milliseconds", 5 + time.outer / 10);
        assert_eq!(untimed(&sandwich.mine[1]), untimed(&sandwich.mine[0]));
    });
}

#[test]
fn writes_and_flushes_agree_with_diskstats_and_nothing_is_left_over() {
    settle(|| {
        if !can_run() {
            return;
        }
        let Some((_temp, file, disk)) = direct_file() else {
            skip("needs a file system on a disk that does direct I/O");
            return;
        };
        let mut block = Watched::open("block", &[]);
        thread::sleep(Duration::from_millis(200));
        let sandwich = Sandwich::around(
            &mut block,
            || proc::disk(&disk),
            Watched::read,
            || {
                let page = Page([8; PAGE]);
                for number in 0..REQUESTS / 10 {
                    file.write_all_at(&page.0, number * PAGE as u64).unwrap();
                    file.sync_all().unwrap();
                }
            },
        );
        let count = |operation: &'static str| {
            let disk = &disk;
            move |reading: &Reading| reading.histogram("block_io_bytes", &[disk, operation]).count
        };
        // Diskstats count an empty request that only carries a flush as a write; here it is the flush.
        let writes = sandwich.growths(|disk| disk[field::WRITES], count("write"));
        assert!(writes.mine >= REQUESTS / 10 && writes.mine <= writes.outer + half_counted(), "{writes:?}");
        let flushes = sandwich.growths(|disk| disk[field::FLUSHES], count("flush"));
        flushes.assert_between("flushes", half_counted());
        let size = sandwich.growths(
            |disk_stats| disk_stats[field::SECTORS_WRITTEN] * 512,
            |reading| reading.histogram("block_io_bytes", &[&disk, "write"]).sum,
        );
        size.assert_between("bytes", half_counted() << 20);
        assert_eq!(untimed(&sandwich.mine[1]), untimed(&sandwich.mine[0]), "{flushes:?}");
    });
}
