//! What is counted by cgroup, against the kernel's own accounts of time and processes.

use std::{
    fs::{self, File},
    io::Write,
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
    wait::{WaitStatus, waitpid},
};
use pitot_common::owner::SLOTS;

use crate::{
    cgroups::{self, Cgroup},
    host::{can_run, note, skip},
    proc, raw,
    settle::{settle, windows},
    watched::{Reading, Watched},
};

/// CPU time that a child takes.
const SPIN: Duration = Duration::from_millis(400);
const CALLS: u64 = 50_000;
/// How often a child leaves the CPU of itself.
const NAPS: u32 = 200;

fn cpu_seconds(reading: &Reading, cgroup: &str) -> Option<f64> {
    reading.number("sched_cgroup_cpu_seconds_total", &[cgroup])
}

fn naps(reading: &Reading, cgroup: &str) -> u64 {
    reading.count("sched_cgroup_switches_total", &[cgroup, "blocked"])
}

/// The CPU time of this process.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap())
}

fn spin(until: Duration) {
    while used() < until {
        std::hint::black_box(());
    }
}

#[test]
#[ignore = "the child of the tests here"]
fn spin_and_nap() {
    let [cgroup] = cgroups::told().try_into().unwrap();
    cgroups::enter(&cgroup);
    let before = used();
    (0..NAPS).for_each(|_| thread::sleep(Duration::from_micros(200)));
    spin(before + SPIN);
    println!("used {}", used().saturating_sub(before).as_nanos());
}

#[test]
#[ignore = "the child of the tests here"]
fn visit_every_cgroup() {
    for cgroup in cgroups::told() {
        cgroups::enter(&cgroup);
        thread::sleep(Duration::from_millis(1));
        spin(used() + Duration::from_millis(1));
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a child in a cgroup; what it says that it used there.
fn child_in(cgroup: Cgroup) -> (Cgroup, f64) {
    let cgroups = [cgroup];
    let output = cgroups::run("owner::spin_and_nap", &cgroups);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let used: f64 = said.split("used ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let [cgroup] = cgroups;
    (cgroup, used / 1e9)
}

fn can_own() -> Option<std::path::PathBuf> {
    if !can_run() {
        return None;
    }
    let tree = cgroups::tree();
    if tree.is_none() {
        skip("needs a mounted cgroup2 tree");
    }
    tree
}

#[test]
fn a_cgroup_is_charged_what_its_tasks_used() {
    let Some(tree) = can_own() else { return };
    settle(|| {
        let mut sched = Watched::open("sched", &[]);
        sched.read();
        let (cgroup, used) = child_in(Cgroup::new(&tree));
        let reading = sched.read();
        let charged = cpu_seconds(&reading, &cgroup.name()).unwrap();
        // The child says less than it is charged: it still has to say it, and to end. Interrupts are charged
        // as well, and on a virtual machine the time in which the host runs something else.
        assert!(charged >= used * 0.99, "{charged} s charged, {used} s used");
        assert!(charged <= used * 1.25 + 0.05, "{charged} s charged, {used} s used");
        let naps = naps(&reading, &cgroup.name());
        assert!(naps >= u64::from(NAPS) && naps <= u64::from(NAPS) * 2, "{naps} of {NAPS} naps");
        let waits = reading.histogram("sched_cgroup_wait_seconds", &[&cgroup.name()]);
        assert!(waits.count >= u64::from(NAPS), "{} waits", waits.count);
    });
}

/// What the kernel says that a cgroup used.
fn kernel_seconds(cgroup: &Cgroup) -> f64 {
    let stat = fs::read_to_string(cgroup.path().join("cpu.stat")).unwrap();
    let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
    used.parse::<f64>().unwrap() / 1e6
}

#[test]
fn who_moves_itself_into_a_cgroup_is_charged_there() {
    const BURN: Duration = Duration::from_millis(4);
    let Some(tree) = can_own() else { return };
    settle(|| {
        let mut sched = Watched::open("sched", &[]);
        let cgroups: Vec<Cgroup> = (0..100).map(|_| Cgroup::new(&tree)).collect();
        for cgroup in &cgroups {
            let mut door = File::options().write(true).open(cgroup.path().join("cgroup.procs")).unwrap();
            let child = raw::child(|| {
                let entered = door.write_all(b"0");
                spin(used() + BURN);
                i32::from(entered.is_err())
            });
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
        }
        let reading = sched.read();
        let ratio = |cgroup: &Cgroup| {
            cpu_seconds(&reading, &cgroup.name()).unwrap_or(0.0) / kernel_seconds(cgroup).max(1e-9)
        };
        // The move itself is charged to both.
        let short = cgroups.iter().map(ratio).filter(|ratio| *ratio < 0.8).count();
        assert_eq!(
            short,
            0,
            "cgroups of {}: {:?}",
            cgroups.len(),
            cgroups.iter().map(ratio).collect::<Vec<_>>()
        );
    });
}

#[test]
fn the_waits_of_all_cgroups_are_the_waits_of_all_tasks() {
    let Some(_) = can_own() else { return };
    settle(|| {
        let mut sched = Watched::open("sched", &[]);
        let sums = |reading: &Reading| {
            let all = reading.histogram("sched_wait_seconds", &[]);
            let mut cgroups = (0, 0);
            for name in reading.label_values("sched_cgroup_wait_seconds") {
                let waits = reading.histogram("sched_cgroup_wait_seconds", &[&name]);
                cgroups = (cgroups.0 + waits.count, cgroups.1 + waits.sum);
            }
            ((all.count, all.sum), cgroups)
        };
        (0..NAPS).for_each(|_| thread::sleep(Duration::from_micros(200)));
        let (all, cgroups) = sums(&sched.read());
        // Waits end while a reading is taken.
        let near = |a: u64, b: u64, slack: u64| a.abs_diff(b) <= slack + a / 50;
        assert!(all.0 > 100 && near(all.0, cgroups.0, 20), "{all:?} {cgroups:?}");
        assert!(near(all.1, cgroups.1, 2_000_000), "{all:?} {cgroups:?}");
    });
}

/// A window that shows it; the long one is a minute, for those who ask for it.
fn window() -> Duration {
    let seconds = std::env::var("PITOT_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

#[test]
fn cpu_time_is_conserved() {
    let Some(tree) = can_own() else { return };
    settle(|| {
        let mut sched = Watched::open("sched", &[]);
        let all = |reading: &Reading| {
            let names = reading.label_values("sched_cgroup_cpu_seconds_total");
            let charged: f64 = names.iter().filter_map(|name| cpu_seconds(reading, name)).sum();
            charged + reading.number("sched_idle_seconds_total", &[]).unwrap()
        };
        thread::sleep(Duration::from_millis(100));
        // The kernel counts in ticks of a hundredth.
        let (kernel, mine, started) = (proc::cpu_ticks(), all(&sched.read()), Instant::now());
        let (_cgroup, _) = child_in(Cgroup::new(&tree));
        thread::sleep(window().saturating_sub(started.elapsed()));
        let (reading, kernel) = (sched.read(), proc::cpu_ticks() - kernel);
        let clock = started.elapsed().as_secs_f64() * proc::online_cpus() as f64;
        let mine = all(&reading) - mine;
        let kernel = kernel as f64 / 100.0;
        let rest = reading.number("sched_unaccounted_seconds", &[]).unwrap();
        let unseen = reading.count("sched_unseen_switches_total", &[]);
        let said = format!(
            "{mine:.3} s charged or idle, {rest:.6} s nobody's, {unseen} switches not seen, {kernel:.3} s to the \
             kernel, {clock:.3} s by the clock"
        );
        // A tick that the kernel's own count misses weighs little in a minute, but not in some seconds; and a
        // virtual machine that is not let run misses many. Then the clock says how much time there was.
        let is_near = |mine: f64, all: f64| (mine - all).abs() <= all * 0.01 + 0.2;
        let is_all = |mine| is_near(mine, kernel) || (kernel < clock && is_near(mine, clock));
        // Time is nobody's where the kernel does not report a switch, and nowhere else.
        assert!(is_all(if unseen == 0 { mine } else { mine + rest }), "{said}");
        assert!(unseen > 0 || rest.abs() < 0.001, "{said}");
        assert!(unseen == 0 || windows() > 1, "{said}");
        note(&said);
    });
}

#[test]
#[ignore = "the child of the next test"]
fn make_calls() {
    let [cgroup] = cgroups::told().try_into().unwrap();
    cgroups::enter(&cgroup);
    // Who runs is noted when tasks switch.
    thread::sleep(Duration::from_millis(1));
    (0..CALLS).for_each(|_| raw::call(libc::SYS_sched_get_priority_max));
}

#[test]
fn calls_are_counted_for_the_cgroup_of_their_caller() {
    let Some(tree) = can_own() else { return };
    settle(|| {
        let mut syscall = Watched::open_beside("sched", "syscall", &[]);
        let cgroups = [Cgroup::new(&tree)];
        cgroups::run("owner::make_calls", &cgroups);
        let reading = syscall.read();
        let calls = reading.count("syscall_cgroup_calls_total", &[&cgroups[0].name()]);
        // It makes others as well: it speaks, and ends.
        assert!((CALLS..=CALLS + 2_000).contains(&calls), "{calls} of {CALLS}");
    });
}

#[test]
fn the_last_numbers_of_a_cgroup_stay_for_a_while_and_its_slot_is_used_again() {
    let Some(tree) = can_own() else { return };
    settle(|| {
        let mut sched = Watched::open("sched", &[]);
        sched.read();
        let live = |reading: &Reading| reading.count("sched_cgroup_slots", &["live"]);
        let (cgroup, _) = child_in(Cgroup::new(&tree));
        let name = cgroup.name();
        let first = cpu_seconds(&sched.read(), &name).unwrap();
        drop(cgroup);
        let later = |sched: &mut Watched, seconds| sched.read_after(Duration::from_secs(seconds));
        let gone = later(&mut sched, 11);
        assert!(cpu_seconds(&gone, &name).unwrap() >= first);
        assert!(gone.count("sched_cgroup_slots", &["gone"]) >= 1);
        let total = |reading: &Reading| -> f64 {
            let names = reading.label_values("sched_cgroup_cpu_seconds_total");
            names.iter().filter_map(|name| cpu_seconds(reading, name)).sum()
        };
        let (before, after) = (total(&gone), later(&mut sched, 80));
        assert_eq!(cpu_seconds(&after, &name), None);
        assert_eq!(after.count("sched_cgroup_slots", &["gone"]), 0, "{} live", live(&after));
        // Nothing of it went elsewhere, neither to the others nor to who comes next.
        assert!(total(&after) < before + 0.5 && total(&after) > before - first - 0.01, "{before} {first}");
        let fresh = Cgroup::new(&tree);
        let (fresh, used) = child_in(fresh);
        let charged = cpu_seconds(&later(&mut sched, 81), &fresh.name()).unwrap();
        assert!(charged <= used * 1.25 + 0.05, "{charged} s charged, {used} s used");
        let reading = later(&mut sched, 81);
        let rest = reading.number("sched_unaccounted_seconds", &[]).unwrap();
        let unseen = reading.count("sched_unseen_switches_total", &[]);
        assert!(rest.abs() < if unseen == 0 { 0.001 } else { 0.2 }, "{rest} s, {unseen} switches not seen");
    });
}

#[test]
fn a_cgroup_that_nobody_saw_alive_is_counted_among_the_others() {
    let Some(tree) = can_own() else { return };
    settle(|| {
        let mut sched = Watched::open("sched", &[]);
        let before = cpu_seconds(&sched.read(), "other").unwrap_or(0.0);
        let (cgroup, used) = child_in(Cgroup::new(&tree));
        drop(cgroup);
        for seconds in [1, 80, 160] {
            let other =
                cpu_seconds(&sched.read_after(Duration::from_secs(seconds)), "other").unwrap() - before;
            assert!(
                other >= used * 0.99 && other <= used * 1.25 + 0.05,
                "{other} s after {seconds} s, {used} s used"
            );
        }
    });
}

#[test]
fn more_cgroups_than_slots_share_the_rest() {
    let Some(tree) = can_own() else { return };
    let mut sched = Watched::open("sched", &[]);
    let cgroups: Vec<Cgroup> = (0..SLOTS + 50).map(|_| Cgroup::new(&tree)).collect();
    cgroups::run("owner::visit_every_cgroup", &cgroups);
    let reading = sched.read();
    let own = cgroups.iter().filter_map(|cgroup| cpu_seconds(&reading, &cgroup.name())).count();
    assert!(own > SLOTS as usize * 3 / 5 && own < SLOTS as usize, "{own} have series of their own");
    // Each ran for a millisecond at least.
    let other = cpu_seconds(&reading, "other").unwrap();
    let shared = (cgroups.len() - own) as f64;
    assert!(other >= shared * 0.001, "{other} s for {shared}");
    assert!(reading.count("sched_cgroup_slots", &["free"]) < u64::from(SLOTS) / 4);
}
