//! System calls: as many as were made, under their own name, for as long as they took.

use std::{env, fs, process::Command, thread, time::Duration};

use pitot::input::OptionSetting;

use crate::{
    host::can_run,
    raw,
    sched::{cpus, pin_to},
    settle::settle,
    watched::{Reading, Watched},
};

const CALLS: u64 = 100_000;
const SLEEPS: u64 = 50;
const FAILURES: u64 = 200;

fn calls(reading: &Reading, name: &str) -> u64 {
    reading.count("syscall_calls_total", &[name])
}

#[test]
fn calls_are_counted_exactly_on_every_cpu() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut syscall = Watched::open("syscall", &[]);
        let before = calls(&syscall.read(), "sched_rr_get_interval");
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..CALLS).for_each(|_| raw::call(libc::SYS_sched_rr_get_interval)));
            }
        });
        assert_eq!(calls(&syscall.read(), "sched_rr_get_interval") - before, 3 * CALLS);
    });
}

/// A counter that is read, raised and written back loses calls if a task is preempted in between.
#[test]
fn tasks_that_take_the_cpu_from_each_other_lose_no_call() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut syscall = Watched::open("syscall", &[]);
        let before = calls(&syscall.read(), "lookup_dcookie");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    pin_to(cpus()[0]);
                    (0..CALLS).for_each(|_| raw::call(libc::SYS_lookup_dcookie));
                });
            }
        });
        assert_eq!(calls(&syscall.read(), "lookup_dcookie") - before, 4 * CALLS);
    });
}

#[test]
fn latency_covers_every_call_and_all_of_its_time() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut syscall = Watched::open("syscall", &[("latency", true)]);
        let times = |reading: &Reading, name| reading.histogram("syscall_seconds", &[name]);
        let before = syscall.read();
        (0..SLEEPS).for_each(|_| thread::sleep(Duration::from_millis(2)));
        (0..CALLS).for_each(|_| raw::call(libc::SYS_ioprio_get));
        let after = syscall.read();

        let (slept, earlier) = (times(&after, "clock_nanosleep"), times(&before, "clock_nanosleep"));
        assert!(slept.count - earlier.count >= SLEEPS);
        assert!(slept.sum - earlier.sum >= SLEEPS * 2_000_000, "{} ns", slept.sum - earlier.sum);

        let (short, earlier) = (times(&after, "ioprio_get"), times(&before, "ioprio_get"));
        assert_eq!(short.count - earlier.count, CALLS);
        assert_eq!(calls(&after, "ioprio_get") - calls(&before, "ioprio_get"), CALLS);
        assert_eq!(after.count("syscall_untimed_calls_total", &[]), 0);
    });
}

#[test]
fn chosen_calls_that_fail_are_counted_by_their_error() {
    settle(|| {
        if !can_run() {
            return;
        }
        let chosen = OptionSetting::Regex("^(rmdir|execve|lookup_dcookie)$".to_owned());
        let mut syscall = Watched::open_beside("sched", "syscall", &[("errors".to_owned(), chosen)]);
        let errors = |reading: &Reading, call, error| reading.count("syscall_errors_total", &[call, error]);
        let before = syscall.read();
        for _ in 0..FAILURES {
            fs::remove_dir("/nowhere/at/all").unwrap_err();
            fs::remove_dir(env::current_exe().unwrap()).unwrap_err();
            Command::new("/nowhere/at/all").spawn().unwrap_err();
            fs::read("/nowhere/at/all").unwrap_err();
        }
        let after = syscall.read();
        let grown = |call, error| errors(&after, call, error) - errors(&before, call, error);
        assert_eq!((grown("rmdir", "ENOENT"), grown("rmdir", "ENOTDIR")), (FAILURES, FAILURES));
        // Others fail to execute something as well.
        assert!(grown("execve", "ENOENT") >= FAILURES);
        // What is not chosen is not counted.
        assert!(after.label_values("syscall_errors_total").iter().all(|call| call != "openat"));
    });
}

#[test]
fn more_calls_than_there_is_room_for_cost_the_errors_and_nothing_else() {
    if !can_run() {
        return;
    }
    let all = [("errors".to_owned(), OptionSetting::Regex(".".to_owned()))];
    let mut syscall = Watched::open_beside("sched", "syscall", &all);
    assert!(syscall.lacks("no errors"));
    raw::call(libc::SYS_sched_get_priority_min);
    assert!(calls(&syscall.read(), "sched_get_priority_min") > 0);
}

#[cfg(target_arch = "x86_64")]
mod compat {
    use super::*;
    use crate::host::skip;

    /// `getppid` of the 32-bit table; in the 64-bit one it is `semget`.
    const GETPPID: u32 = 64;

    #[test]
    #[ignore = "the child of the next test: it dies where the kernel runs no 32-bit calls"]
    fn make_32_bit_calls() {
        let parent = std::os::unix::process::parent_id();
        (0..CALLS).for_each(|_| assert_eq!(raw::call_32_bit(GETPPID), parent));
    }

    #[test]
    fn calls_of_32_bit_programs_go_by_no_64_bit_name() {
        if !can_run() {
            return;
        }
        let mut syscall = Watched::open("syscall", &[]);
        let before = syscall.read();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "syscall::compat::make_32_bit_calls", "--ignored"])
            .output()
            .unwrap();
        let after = syscall.read();
        if !child.status.success() {
            skip("needs a kernel that runs 32-bit calls (CONFIG_IA32_EMULATION)");
            return;
        }
        assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "{child:?}");
        assert_eq!(calls(&after, "compat") - calls(&before, "compat"), CALLS);
        assert_eq!(calls(&after, "semget") - calls(&before, "semget"), 0);
    }
}
