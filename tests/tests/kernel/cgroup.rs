//! Control groups: figures of groups that the test makes, against what is known of the processes in them, by
//! the iterator and by files alike.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write, stdin, stdout},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use pitot::{
    input::cgroup::{Cgroups, Choice},
    source::Roots,
};

use crate::{
    host::{can_run, note, skip},
    sched::{cpus, pin_to},
    watched::{Reading, Watched},
};

const MIB: usize = 64;
/// CPU time that a member uses before it says so.
const BURN: Duration = Duration::from_millis(500);

/// Where a controller's groups are made on this host, and whether by version 2.
fn place(controller: &str) -> Option<(PathBuf, bool)> {
    let top = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    if controllers.split_whitespace().any(|one| one == controller) {
        // Groups below the root have what the root hands down.
        let _refused = fs::write(top.join("cgroup.subtree_control"), format!("+{controller}"));
        return Some((top.to_owned(), true));
    }
    let first = top.join(controller);
    first.join("cgroup.procs").exists().then_some((first, false))
}

/// Root of the unified hierarchy.
fn unified() -> Option<PathBuf> {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    places.into_iter().find(|place| place.join("cgroup.controllers").exists())
}

/// A control group in every hierarchy that the tests look at; goes with its members.
struct Group {
    label: String,
    dirs: Vec<PathBuf>,
    members: Vec<Member>,
}

struct Member {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Group {
    fn make(name: &str) -> Self {
        let label = format!("/pitot-test-{name}-{}", std::process::id());
        let mut roots: Vec<PathBuf> = unified().into_iter().collect();
        for controller in ["cpu", "cpuacct", "memory", "pids"] {
            roots.extend(place(controller).map(|(root, _)| root));
        }
        roots.sort_unstable();
        roots.dedup();
        let dirs: Vec<_> = roots.iter().map(|root| root.join(label.trim_start_matches('/'))).collect();
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
        }
        Self { label, dirs, members: Vec::new() }
    }

    fn file(&self, controller: &str, first: &str, second: &str) -> Option<PathBuf> {
        let (root, is_second) = place(controller)?;
        Some(root.join(self.label.trim_start_matches('/')).join(if is_second { second } else { first }))
    }

    /// Starts a process that does its work in the group, at once.
    fn start(&mut self) {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "cgroup::work_in_a_group", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        for dir in &self.dirs {
            fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"go\n").unwrap();
        self.members.push(Member { child, stdin: Some(stdin) });
    }

    /// Waits until all have done their work, and says how much CPU time they took.
    fn wait(&mut self) -> f64 {
        let mut total = 0.0;
        for member in &mut self.members {
            let lines = BufReader::new(member.child.stdout.as_mut().unwrap()).lines();
            let said =
                lines.map(Result::unwrap).find_map(|line| line.split_once("DONE ").map(|l| l.1.to_owned()));
            total += said.unwrap().trim().parse::<f64>().unwrap();
        }
        total
    }

    fn threads(&self) -> usize {
        let of = |member: &Member| fs::read_dir(format!("/proc/{}/task", member.child.id())).unwrap().count();
        self.members.iter().map(of).sum()
    }

    fn get(&self, reading: &Reading, name: &str, labels: &[&str]) -> Option<f64> {
        let labels: Vec<&str> = [self.label.as_str()].into_iter().chain(labels.iter().copied()).collect();
        reading.number(name, &labels)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.stdin.take();
            let _ended = member.child.kill().and_then(|()| member.child.wait());
        }
        for dir in &self.dirs {
            // A member that has ended may be in it for a moment more.
            for _ in 0..100 {
                if fs::remove_dir(dir).is_ok() || !dir.exists() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
#[ignore = "the child of the other tests"]
fn work_in_a_group() {
    let mut line = [0; 3];
    stdin().read_exact(&mut line).unwrap();
    pin_to(cpus()[0]);
    let touched = vec![1u8; MIB << 20];
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    };
    let begun = used();
    let mut sum = 0u64;
    while used() - begun < BURN.as_secs_f64() {
        sum = touched.iter().step_by(4096).map(|&byte| u64::from(byte)).sum();
    }
    assert_eq!(sum, (MIB as u64) << 8);
    writeln!(stdout(), "DONE {}", used()).unwrap();
    stdout().flush().unwrap();
    // Until the other side closes it.
    let _ = stdin().read_to_end(&mut Vec::new());
}

/// The input as it runs by default here, and from files alone.
fn ways() -> [Watched; 2] {
    let choice = Choice { more_files: true, ..Choice::default() };
    let files = Cgroups::from_files(&Roots::default(), choice);
    [Watched::open("cgroup", &[("more_files", true), ("io", true)]), Watched::of(Box::new(files))]
}

fn close(a: f64, b: f64, share: f64) -> bool {
    (a - b).abs() <= share * b.abs()
}

#[test]
fn figures_of_a_group_are_those_of_its_members() {
    if !can_run() {
        return;
    }
    let mut ways = ways();
    note(&format!("by {}", ways[0].variant()));
    let mut group = Group::make("members");
    (0..2).for_each(|_| group.start());
    let used = group.wait();
    // The kernel averages pressure every two seconds.
    thread::sleep(Duration::from_millis(2600));
    let readings = [ways[0].read(), ways[1].read()];
    for reading in &readings {
        let get = |name, labels: &[&str]| group.get(reading, name, labels);
        let usage = get("cgroup_cpu_usage_seconds_total", &[]).unwrap();
        assert!(close(usage, used, 0.05), "{usage} s, but the members say {used} s");
        let modes = ["user", "system"].map(|mode| get("cgroup_cpu_seconds_total", &[mode]).unwrap());
        assert!((modes[0] + modes[1] - usage).abs() < 0.03, "{modes:?} of {usage}");
        match get("cgroup_pids", &[]) {
            Some(pids) => assert!((pids - group.threads() as f64).abs() < 0.5, "{pids}"),
            None => _ = skip("needs the controller pids"),
        }
        match get("cgroup_memory_usage_bytes", &[]) {
            Some(bytes) => {
                let touched = ((2 * MIB) << 20) as f64;
                assert!((touched..touched * 1.3).contains(&bytes), "{bytes} bytes, {touched} were touched");
                assert!(get("cgroup_memory_peak_bytes", &[]).is_none_or(|peak| peak >= touched));
            }
            None => _ = skip("needs the controller memory"),
        }
        // Both wanted the same CPU, all of the time.
        match get("cgroup_pressure_waiting_seconds_total", &["cpu"]) {
            Some(waited) => assert!(waited > 0.3 * BURN.as_secs_f64(), "{waited} s"),
            None => _ = skip("needs pressure stall information"),
        }
    }
    // The two ways give the same: nothing has happened in the group between the two readings.
    for (name, labels) in [
        ("cgroup_cpu_usage_seconds_total", &[][..]),
        ("cgroup_memory_usage_bytes", &[]),
        ("cgroup_memory_peak_bytes", &[]),
        ("cgroup_memory_events_total", &["max"]),
        ("cgroup_memory_events_total", &["oom_kill"]),
        ("cgroup_pids", &[]),
        ("cgroup_cpu_throttled_seconds_total", &[]),
        ("cgroup_pressure_waiting_seconds_total", &["cpu"]),
        ("cgroup_pressure_stalled_seconds_total", &["memory"]),
        ("cgroup_pressure_waiting_seconds_total", &["io"]),
    ] {
        let [one, other] = readings.each_ref().map(|reading| group.get(reading, name, labels));
        let is_same = match (one, other) {
            (Some(one), Some(other)) => close(one, other, 0.01) || (one - other).abs() < 2e-3,
            (one, other) => one == other,
        };
        assert!(is_same, "{name}{labels:?}: {one:?} and {other:?}");
    }
}

#[test]
fn throttling_and_limits_are_told() {
    if !can_run() {
        return;
    }
    let mut ways = ways();
    let mut group = Group::make("quota");
    let Some(quota) = group.file("cpu", "cpu.cfs_quota_us", "cpu.max") else {
        skip("needs the controller cpu");
        return;
    };
    // Seen before there is a limit, which must be noticed then.
    for way in &mut ways {
        assert_eq!(group.get(&way.read(), "cgroup_cpu_limit_cores", &[]), None);
    }
    let is_second = quota.ends_with("cpu.max");
    fs::write(&quota, if is_second { "20000 100000" } else { "20000" }).unwrap();
    let limit = group.file("memory", "memory.limit_in_bytes", "memory.max");
    if let Some(limit) = &limit {
        fs::write(limit, (256usize << 20).to_string()).unwrap();
    }
    let begun = Instant::now();
    group.start();
    group.wait();
    let periods = begun.elapsed().as_secs_f64() / 0.1;
    let readings = [ways[0].read(), ways[1].read()];
    for reading in &readings {
        let get = |name| group.get(reading, name, &[]);
        assert_eq!(get("cgroup_cpu_limit_cores"), Some(0.2));
        assert_eq!(get("cgroup_memory_limit_bytes"), limit.as_ref().map(|_| f64::from(256 << 20)));
        let throttled = get("cgroup_cpu_throttled_periods_total").unwrap();
        assert!(throttled > 0.5 * periods - 5.0 && throttled <= periods + 2.0, "{throttled} of {periods}");
        assert!(get("cgroup_cpu_periods_total").unwrap() >= throttled);
        let seconds = get("cgroup_cpu_throttled_seconds_total").unwrap();
        assert!(seconds > 0.5 && seconds < periods * 0.1 * 2.0, "{seconds} s in {periods} periods");
    }
}

#[test]
fn births_and_deaths_are_noticed_at_the_next_reading() {
    if !can_run() {
        return;
    }
    for mut way in ways() {
        let _first = way.read();
        let group = Group::make("life");
        let usage = |reading: &Reading, label: &str| {
            reading.number("cgroup_cpu_usage_seconds_total", &[label]).is_some()
        };
        assert!(usage(&way.read(), &group.label));
        let below = unified().map(|root| root.join(group.label.trim_start_matches('/')).join("a/b"));
        if let Some(below) = &below {
            fs::create_dir_all(below).unwrap();
            assert!(usage(&way.read(), &format!("{}/a/b", group.label)));
            fs::remove_dir(below).unwrap();
            let reading = way.read();
            assert!(!usage(&reading, &format!("{}/a/b", group.label)));
            assert!(usage(&reading, &format!("{}/a", group.label)));
            fs::remove_dir(below.parent().unwrap()).unwrap();
        }
        let label = group.label.clone();
        drop(group);
        assert!(!usage(&way.read(), &label));
    }
}

/// What a collection costs with a thousand groups: `cargo test -p pitot-tests --test kernel cgroup::cost -- --ignored`
#[test]
#[ignore = "a measurement"]
fn cost() {
    if !can_run() {
        return;
    }
    let group = Group::make("cost");
    let Some(root) = unified() else { return };
    let own = |root: &Path| root.join(group.label.trim_start_matches('/'));
    measure("version 2", &[own(&root)]);
    measure("version 2, right below the root", std::slice::from_ref(&root));
    let first = |controller| place(controller).filter(|(_, is_second)| !is_second).map(|(root, _)| root);
    let mut roots: Vec<_> = ["cpu", "cpuacct", "memory", "pids"].into_iter().filter_map(first).collect();
    roots.dedup();
    measure("version 1", &roots.iter().map(|root| own(root)).collect::<Vec<_>>());
    if let Some(disks) = first("blkio") {
        let disks = own(&disks);
        fs::create_dir(&disks).unwrap();
        measure("version 1, disks alone", std::slice::from_ref(&disks));
        fs::remove_dir(disks).unwrap();
    }
}

/// Makes a thousand groups in each of these places, and reads them in all ways.
fn measure(what: &str, places: &[PathBuf]) {
    const GROUPS: usize = 1000;
    const ROUNDS: u32 = 50;
    let dirs = || places.iter().flat_map(|place| (0..GROUPS).map(move |n| place.join(format!("cost-{n}"))));
    dirs().for_each(|dir| fs::create_dir(dir).unwrap());
    let files = |io, more_files| {
        let choice = Choice { io, more_files, ..Choice::default() };
        Watched::of(Box::new(Cgroups::from_files(&Roots::default(), choice)))
    };
    let ways = [
        ("default", Watched::open("cgroup", &[])),
        ("default without disks", Watched::open("cgroup", &[("io", false)])),
        ("files", files(true, false)),
        ("files without disks", files(false, false)),
        ("more files without disks", files(false, true)),
    ];
    for (name, mut way) in ways {
        let series = way.read().len();
        let cpu = || {
            let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
            let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
            [seconds(usage.user_time()), seconds(usage.system_time())]
        };
        let before = cpu();
        for _ in 0..ROUNDS {
            way.discard();
        }
        let after = cpu();
        let [user, system] = [0, 1].map(|at| (after[at] - before[at]) * 1e3 / f64::from(ROUNDS));
        note(&format!(
            "{what}, {name} ({}): {series} series, {user:.2} ms user, {system:.2} ms system",
            way.variant()
        ));
    }
    dirs().for_each(|dir| fs::remove_dir(dir).unwrap());
}
