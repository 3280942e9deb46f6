//! Stalls, victims of the OOM killer and page faults, in a cgroup that is too small for its process.

mod group;
mod hungry;
mod victims;

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    time::Instant,
};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use pitot_common::memory::{Cause, Mode, Scope};
use tempfile::NamedTempFile;

use self::{
    group::Group,
    hungry::{Hungry, Job},
};
use crate::{
    host::{can_run, note, skip},
    proc,
    raw::Mapping,
    sandwich::Sandwich,
    settle::settle,
    watched::{Reading, Watched},
};

const PAGE: usize = 4096;
const PAGES: usize = 4_000;
/// Writes to every page.
fn touch(pages: &mut Mapping) {
    pages.bytes().iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
}

/// Room of the cgroups: enough to start in, less than what is asked for.
const LIMIT: u64 = 24 << 20;

fn faults(reading: &Reading) -> u64 {
    Mode::ALL.iter().map(|mode| reading.count("memory_page_faults_total", &[mode.label()])).sum()
}

fn kills(cause: Cause) -> impl Fn(&Reading) -> u64 {
    move |reading| reading.count("memory_oom_kills_total", &[cause.label()])
}

fn stalls(scope: Scope) -> impl Fn(&Reading) -> u64 {
    move |reading| reading.histogram("memory_reclaim_stall_seconds", &[scope.label()]).count
}

fn reclaimed(scope: Scope) -> impl Fn(&Reading) -> u64 {
    move |reading| reading.count("memory_reclaimed_bytes_total", &[scope.label()])
}

/// Direct reclaims, by the kernel's account of the host.
fn allocation_stalls() -> u64 {
    proc::vmstat(|name| name.starts_with("allocstall_"))
}

fn grown(sandwich: &Sandwich<u64, Reading>, mine: impl Fn(&Reading) -> u64) -> u64 {
    let [before, after] = &sandwich.mine;
    mine(after) - mine(before)
}

/// A cgroup of its own, unless this host cannot limit memory.
fn limited() -> Option<Group> {
    let group = Group::new(LIMIT);
    if group.is_none() {
        skip("needs a hierarchy of cgroups with the memory controller");
    }
    group
}

#[test]
fn every_touch_of_a_new_page_is_a_page_fault() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut memory = Watched::open_without("memory", &[], &["no names of victims' cgroups"]);
        let before = (memory.read(), proc::my_faults());
        touch(&mut Mapping::anonymous(PAGES * PAGE).unwrap());
        let own = proc::my_faults().minor - before.1.minor;
        let after = memory.read();
        assert!(own >= PAGES as u64, "the kernel's own account of this thread says {own}");
        let user = |reading: &Reading| reading.count("memory_page_faults_total", &["user"]);
        let counted = user(&after) - user(&before.0);
        assert!(counted >= PAGES as u64, "{counted}");
        // No bound above: what a full cgroup keeps from its page faults again, and is in no account of the
        // kernel's, and other tests fill cgroups.
        let all = faults(&after) - faults(&before.0);
        assert!(all >= own, "{all}, {own} of this thread");
    });
}

#[test]
fn the_kernel_faults_where_it_writes_for_a_program() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut memory = Watched::open_without("memory", &[], &["no names of victims' cgroups"]);
        let of_kernel = |reading: &Reading| reading.count("memory_page_faults_total", &["kernel"]);
        let mut pages = Mapping::anonymous(PAGES * PAGE).unwrap();
        let before = of_kernel(&memory.read());
        File::open("/dev/zero").unwrap().read_exact(pages.bytes()).unwrap();
        let counted = of_kernel(&memory.read()) - before;
        assert!(counted >= PAGES as u64, "{counted}");
    });
}

#[test]
fn page_faults_have_no_series_when_they_are_switched_off() {
    if !can_run() {
        return;
    }
    let reading =
        Watched::open_without("memory", &[("page_faults", false)], &["no names of victims' cgroups"]).read();
    assert!(!reading.has("memory_page_faults_total"));
}

/// The number that stands in for a counter of this input's own.
#[test]
fn faults_that_wait_for_a_disk_are_major_in_vmstat() {
    if !can_run() {
        return;
    }
    let folders = [env!("CARGO_TARGET_TMPDIR"), "/var/tmp", "/tmp"];
    let mut file = folders.iter().find_map(|folder| NamedTempFile::new_in(folder).ok()).unwrap();
    file.write_all(&vec![1; 64 * PAGE]).unwrap();
    file.as_file().sync_all().unwrap();
    let file = File::open(file.path()).unwrap();
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    let mut vmstat = Watched::open("vmstat", &[]);
    let before = vmstat.read().count("vmstat_pgmajfault", &[]);
    let own_before = proc::my_faults();
    let read: usize = Mapping::of_file(&file, 64 * PAGE)
        .unwrap()
        .bytes()
        .iter()
        .step_by(PAGE)
        .map(|&b| usize::from(b))
        .sum();
    let own = proc::my_faults().major - own_before.major;
    let counted = vmstat.read().count("vmstat_pgmajfault", &[]) - before;
    assert_eq!(read, 64);
    if own == 0 {
        skip("needs a file system whose pages can be forgotten");
        return;
    }
    assert!(counted >= own, "{counted}, {own} of this thread");
}

#[test]
fn a_cgroup_that_is_too_small_stalls_its_process_and_not_the_host() {
    settle(|| {
        if !can_run() {
            return;
        }
        let Some(group) = limited() else { return };
        let mut memory = Watched::open_without("memory", &[], &["no names of victims' cgroups"]);
        let start = Instant::now();
        let sandwich = Sandwich::around(&mut memory, allocation_stalls, Watched::read, || {
            let status = Hungry::start(Job::Reuse, &group).end();
            assert!(status.success(), "{status}");
        });
        let took = start.elapsed();

        let count = grown(&sandwich, stalls(Scope::Cgroup));
        let freed = grown(&sandwich, reclaimed(Scope::Cgroup));
        let least = hungry::REUSED - LIMIT;
        // The limit is a matter of batches of pages, and a few that were freed otherwise.
        assert!(freed >= least - least / 4, "{freed} of {least} bytes");
        assert!(count >= 10, "{count} stalls");
        let time = |reading: &Reading| {
            reading.histogram("memory_reclaim_stall_seconds", &[Scope::Cgroup.label()]).sum
        };
        let time = grown(&sandwich, time);
        // Two other tests may stall at the same time.
        assert!(time > count * 100 && u128::from(time) < 3 * took.as_nanos(), "{time} ns in {took:?}");
        // What the kernel calls a stall is one of the host.
        let host = sandwich.growths(|stalls| *stalls, stalls(Scope::Global));
        host.assert_between("stalls of the host", 0);
        assert_eq!(sandwich.mine[1].count("memory_untimed_stalls_total", &["table_full"]), 0);
    });
}

#[test]
fn a_stall_that_began_before_counting_is_untimed() {
    settle(|| {
        if !can_run() {
            return;
        }
        let Some(group) = limited() else { return };
        let hungry = Hungry::start(Job::ReuseForEver, &group);
        group.wait_until_full(LIMIT);
        // The ends are attached first: what ends until the starts are attached as well has none.
        let reading = Watched::open_without("memory", &[], &["no names of victims' cgroups"]).read();
        drop(hungry);
        let untimed = reading.count("memory_untimed_stalls_total", &["before_attach"]);
        assert!(untimed > 0, "none, but {} stalls", stalls(Scope::Cgroup)(&reading));
        assert_eq!(reading.count("memory_untimed_stalls_total", &["table_full"]), 0);
    });
}

#[test]
fn a_process_that_outgrows_its_cgroup_is_killed_once_for_the_cgroup() {
    settle(|| {
        if !can_run() {
            return;
        }
        let Some(group) = limited() else { return };
        let mut memory = Watched::open_without("memory", &[], &["no names of victims' cgroups"]);
        let killed = || proc::vmstat(|name| name == "oom_kill");
        let sandwich = Sandwich::around(&mut memory, killed, Watched::read, || {
            let status = Hungry::start(Job::Grow, &group).end();
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
        });
        assert_eq!(grown(&sandwich, kills(Cause::Cgroup)), 1);
        assert_eq!(grown(&sandwich, kills(Cause::Global)), 0);
        let all = |reading: &Reading| Cause::ALL.iter().map(|&cause| kills(cause)(reading)).sum();
        sandwich.growths(|kills| *kills, all).assert_between("kills", 0);
    });
}

/// Administrators and `kcompactd` compact as well, which nobody waits for.
#[test]
fn compaction_that_is_asked_for_in_advance_stalls_nobody() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut memory = Watched::open_without("memory", &[], &["no names of victims' cgroups"]);
        let stalls = |reading: &Reading| reading.histogram("memory_compaction_stall_seconds", &[]).count;
        let scanned = || proc::vmstat(|name| name == "compact_migrate_scanned");
        let before = (scanned(), proc::vmstat(|name| name == "compact_stall"), stalls(&memory.read()));
        if let Err(error) = std::fs::write("/proc/sys/vm/compact_memory", "1") {
            skip(&format!("needs a kernel that compacts on demand ({error})"));
            return;
        }
        let after = (scanned(), stalls(&memory.read()), proc::vmstat(|name| name == "compact_stall"));
        assert!(after.0 > before.0, "nothing was compacted");
        if after.2 != before.1 {
            note("somebody had to wait for a compaction, too");
            return;
        }
        assert_eq!(after.1 - before.2, 0);
    });
}
