//! Counters outlive the agent, however it ends.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

use nix::sys::signal::Signal;

use crate::{
    agent::{COUNTING, Place, calls},
    host::can_run,
    pins, raw,
};

const CALLS: u64 = 5_000;

fn make(number: i64) {
    (0..CALLS).for_each(|_| raw::call(number));
}

/// That no counter of the kernel's side went back.
fn assert_monotonic(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) {
    for (series, value) in before {
        let family = series.split('{').next().unwrap_or_default();
        let counts = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| family.ends_with(end));
        if counts && COUNTING.iter().any(|f| family.starts_with(&format!("pitot_{f}_"))) {
            let later = after.get(series).unwrap_or_else(|| panic!("{series} is gone"));
            assert!(later >= value, "{series} went from {value} to {later}");
        }
    }
}

#[test]
fn a_restart_loses_nothing_that_happens_meanwhile() {
    if !can_run() {
        return;
    }
    let place = Place::new("restart");
    let agent = place.start("", &[]);
    let before = agent.scrape();
    pins::assert_whole(&place.pins);
    make(libc::SYS_sched_get_priority_min);

    agent.signal(Signal::SIGTERM);
    let (status, took, log) = agent.end();
    assert!(status.success(), "{status}: {log}");
    assert!(took < Duration::from_secs(1), "{took:?}");

    make(libc::SYS_sched_get_priority_min);
    let agent = place.start("", &[]);
    let after = agent.scrape();
    let name = "sched_get_priority_min";
    assert_eq!(calls(&after, name) - calls(&before, name), 2 * CALLS);
    assert_monotonic(&before, &after);
    pins::assert_whole(&place.pins);
    for object in COUNTING {
        let since = format!("pitot_agent_ebpf_counting_since_seconds{{object=\"{object}\"}}");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(before[&since] < now && before[&since] > now - 60.0, "{object}: {}", before[&since]);
        assert_eq!(before[&since].to_bits(), after[&since].to_bits(), "{object}");
    }
    for input in COUNTING {
        assert_eq!(agent.state(input), ["running", "tp_btf", ""]);
    }
}

#[test]
fn a_kill_loses_nothing_either() {
    if !can_run() {
        return;
    }
    let place = Place::new("kill");
    let agent = place.start("", &[]);
    let before = agent.scrape();
    agent.signal(Signal::SIGKILL);
    agent.end();
    make(libc::SYS_sched_get_priority_max);
    let after = place.start("", &[]).scrape();
    let name = "sched_get_priority_max";
    assert_eq!(calls(&after, name) - calls(&before, name), CALLS);
    assert_monotonic(&before, &after);
}

#[test]
fn a_kill_at_any_moment_of_the_start_does_no_harm() {
    const MOMENTS: u32 = 24;
    if !can_run() {
        return;
    }
    let place = Place::new("moments");
    let start = Instant::now();
    drop(place.start("", &[]));
    let whole = start.elapsed().min(Duration::from_secs(2));
    for moment in 0..MOMENTS {
        // Both kinds of start: one that finds pins, and one that makes them.
        if moment % 2 == 0 {
            pins::remove(&place.pins);
        }
        let agent = place.spawn(place.command("", &["--listen", "127.0.0.1:0"]));
        thread::sleep(whole * moment / MOMENTS);
        agent.signal(Signal::SIGKILL);
        agent.end();
        if moment % 4 == 3 {
            let agent = place.start("", &[]);
            assert_eq!(agent.state("block"), ["running", "tp_btf", ""]);
            pins::assert_whole(&place.pins);
        }
    }
    let agent = place.start("", &[]);
    for input in COUNTING {
        assert_eq!(agent.state(input), ["running", "tp_btf", ""]);
    }
    pins::assert_whole(&place.pins);
}

/// The unified tree of cgroups.
fn cgroups() -> Option<PathBuf> {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    places.into_iter().find(|place| place.join("cgroup.controllers").exists())
}

#[test]
fn a_cgroup_that_went_while_no_agent_ran_is_not_shown_again_as_another() {
    let Some(tree) = can_run().then(cgroups).flatten() else { return };
    let place = Place::new("departed");
    let agent = place.start("", &[]);
    let cgroup = tree.join(format!("pitot-departed-{}", std::process::id()));
    fs::create_dir(&cgroup).unwrap();
    let spin = r#"echo $$ > "$0/cgroup.procs"; timeout 0.5 sh -c 'while :; do :; done'"#;
    Command::new("sh").args(["-c", spin]).arg(&cgroup).status().unwrap();
    let seconds = |page: &BTreeMap<String, f64>, name: &str| {
        page.get(&format!("pitot_sched_cgroup_cpu_seconds_total{{cgroup=\"{name}\"}}")).copied()
    };
    let name = format!("/{}", cgroup.file_name().unwrap().to_string_lossy());
    let before = agent.scrape();
    let charged = seconds(&before, &name).unwrap();
    assert!(charged > 0.1, "{charged}");

    agent.signal(Signal::SIGTERM);
    agent.end();
    fs::remove_dir(&cgroup).unwrap();
    let after = place.start("", &[]).scrape();
    assert_eq!(seconds(&after, &name), None);
    let others = [&before, &after].map(|page| seconds(page, "other").unwrap_or(0.0));
    assert!(others[1] - others[0] < charged / 2.0, "{others:?}, {charged} of it were shown by name");
}

#[test]
fn pins_that_are_not_whole_are_replaced() {
    if !can_run() {
        return;
    }
    let place = Place::new("damaged");
    drop(place.start("", &[]));
    let sched = pins::objects(&place.pins).remove("sched").unwrap();
    fs::remove_file(pins::link(&sched, "sched_switch")).unwrap();
    let agent = place.start("", &[]);
    assert_eq!(agent.state("sched"), ["running", "tp_btf", ""]);
    pins::assert_whole(&place.pins);
}

#[test]
fn other_settings_get_programs_of_their_own_and_the_old_ones_go() {
    if !can_run() {
        return;
    }
    let place = Place::new("settings");
    drop(place.start("", &[]));
    let before = pins::objects(&place.pins);
    let agent = place.start("[input.syscall]\nlatency = true\n", &[]);
    assert_eq!(agent.state("syscall"), ["running", "tp_btf", ""]);
    let after = pins::objects(&place.pins);
    assert_eq!(before["sched"], after["sched"]);
    assert_ne!(before["syscall"], after["syscall"]);
    assert_eq!(after.len(), COUNTING.len() + 1);
}
