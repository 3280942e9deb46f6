#![expect(clippy::disallowed_methods, reason = "a real machine is started")]

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    process::{Child, Command, Stdio},
    time::Instant,
};

use proptest::prelude::*;

use super::{
    perfdata::{Value, tests::file},
    *,
};
use crate::{
    accumulator::MemoryAccumulator,
    input::{
        check::execute_here,
        testing::{Tree, few},
    },
};

/// A tree in which process 7 runs since boot.
fn tree() -> Tree {
    Tree::new(&[("proc/7/stat", "7 (java) S 1 1 1 0 -1 0 0 0 0 0 3 4 0 0 20 0 9 0 1 0 25 0\n")])
}

fn inside(tree: &Tree) -> Inside {
    let dir = |path: &str| Dir::open(&tree.path().join(path)).unwrap();
    Inside {
        deadline: Instant::now() + Duration::from_secs(20),
        root: dir("."),
        process: dir("."),
        procfs: Some(dir("proc")),
    }
}

fn check(tree: &Tree) -> Result<MemoryAccumulator, InputError> {
    let mut acc = MemoryAccumulator::new();
    execute_here(&mut Jvm::default(), &inside(tree), &mut acc).map(|()| acc)
}

fn left_out(acc: &MemoryAccumulator, reason: &str) -> Option<f64> {
    acc.number("left_out", &[reason])
}

const SMALL: &[(&str, Value<'_>)] = &[
    ("sun.os.hrt.frequency", Value::Number(1000)),
    ("sun.os.hrt.ticks", Value::Number(500)),
    ("sun.rt.javaCommand", Value::Text(b"org.example.Main -x")),
    ("java.threads.live", Value::Number(9)),
    ("java.cls.loadedClasses", Value::Number(100)),
    ("java.cls.sharedLoadedClasses", Value::Number(20)),
    ("java.threads.daemon", Value::Number(-1)),
];

const MAIN: [&str; 2] = ["7", "org.example.Main"];

#[test]
fn a_target_without_machines_is_a_result() {
    let tree = tree();
    for expected in ["no /tmp", "nothing in it"] {
        let acc = check(&tree).unwrap();
        assert_eq!(acc.number("machines", &[]), Some(0.0), "{expected}");
        fs::create_dir_all(tree.path().join("tmp/hsperfdata_app")).unwrap();
    }
}

#[test]
fn a_machine_is_reported_with_what_it_says() {
    let tree = tree();
    tree.write("tmp/hsperfdata_app/7", &file(true, SMALL));
    let acc = check(&tree).unwrap();
    assert_eq!(acc.number("threads", &MAIN), Some(9.0));
    assert_eq!(acc.number("uptime_seconds", &MAIN), Some(0.5));
    assert_eq!(acc.number("classes_loaded_total", &MAIN), Some(120.0));
    assert_eq!(acc.number("threads_daemon", &MAIN), None, "below zero is nonsense");
    assert_eq!(acc.number("threads_peak", &MAIN), None, "what the file does not have is not delivered");
    assert_eq!((acc.number("machines", &[]), acc.number("executed", &[])), (Some(1.0), Some(1.0)));
}

#[test]
fn files_that_were_left_behind_are_not_reported() {
    let tree = tree();
    // The first one's process is gone, the second file is older than its process, the third is one of a zombie.
    tree.write("tmp/hsperfdata_app/6", &file(true, SMALL));
    let old = [SMALL, &[("sun.os.hrt.ticks", Value::Number(i64::MAX / 4096))]].concat();
    tree.write("tmp/hsperfdata_app/7", &file(true, &old));
    tree.write("proc/8/stat", b"8 (java) Z 1 1 1 0 -1 0 0 0 0 0 3 4 0 0 20 0 9 0 1 0 25 0\n");
    tree.write("tmp/hsperfdata_app/8", &file(true, SMALL));
    let acc = check(&tree).unwrap();
    assert_eq!((left_out(&acc, "ended"), acc.number("machines", &[])), (Some(3.0), Some(0.0)));
    // One that only says when it began, long before this host was started.
    let old = [("sun.rt.createVmBeginTime", Value::Number(1)), ("sun.rt.javaCommand", Value::Text(b"x"))];
    tree.write("tmp/hsperfdata_app/7", &file(true, &old));
    assert_eq!(left_out(&check(&tree).unwrap(), "ended"), Some(3.0));
    // Of two files for one process, one is left behind.
    tree.write("tmp/hsperfdata_app/7", &file(true, SMALL));
    tree.write("tmp/hsperfdata_root/7", &file(true, SMALL));
    let acc = check(&tree).unwrap();
    assert_eq!((left_out(&acc, "ended"), acc.number("machines", &[])), (Some(3.0), Some(1.0)));
}

#[test]
fn a_name_is_waited_for_but_not_for_ever() {
    let tree = tree();
    let mut counters =
        [("sun.os.hrt.frequency", Value::Number(1000)), ("sun.os.hrt.ticks", Value::Number(500))];
    tree.write("tmp/hsperfdata_app/7", &file(true, &counters));
    assert_eq!(left_out(&check(&tree).unwrap(), "starting"), Some(1.0));
    counters[1].1 = Value::Number(6000);
    tree.write("tmp/hsperfdata_app/7", &file(true, &counters));
    assert_eq!(check(&tree).unwrap().number("uptime_seconds", &["7", ""]), Some(6.0));
}

#[test]
fn hostile_files_cost_themselves() {
    let tree = tree();
    tree.write("tmp/hsperfdata_good/7", &file(true, SMALL));
    let path = |name: &str| tree.path().join("tmp/hsperfdata_bad").join(name);
    for (pid, kind) in (10..).zip(["garbage", "long", "starting", "fifo", "loop", "folder", "sparse"]) {
        let name = pid.to_string();
        tree.write(&format!("proc/{pid}/stat"), b"1 (x) S 1 1 1 0 -1 0 0 0 0 0 3 4 0 0 20 0 9 0 1 0 25 0\n");
        tree.write(&format!("tmp/hsperfdata_bad/{pid}"), b"\xca\xfe\xc0\xc0");
        match kind {
            "garbage" => {}
            "long" => tree.write(&format!("tmp/hsperfdata_bad/{pid}"), &vec![0; 2 << 20]),
            "starting" => {
                let mut starting = file(true, SMALL);
                starting[7] = 0;
                tree.write(&format!("tmp/hsperfdata_bad/{pid}"), &starting);
            }
            "sparse" => fs::File::create(path(&name)).unwrap().set_len(1 << 40).unwrap(),
            _ => {
                fs::remove_file(path(&name)).unwrap();
                match kind {
                    "fifo" => nix::unistd::mkfifo(&path(&name), nix::sys::stat::Mode::S_IRWXU).unwrap(),
                    "loop" => std::os::unix::fs::symlink(&name, path(&name)).unwrap(),
                    _ => fs::create_dir(path(&name)).unwrap(),
                }
            }
        }
    }
    // Leads out of the target, and finds nothing there.
    std::os::unix::fs::symlink("/etc", tree.path().join("tmp/hsperfdata_out")).unwrap();
    let acc = check(&tree).unwrap();
    assert_eq!(acc.number("machines", &[]), Some(1.0));
    let counts = ["format", "starting", "other", "ended"].map(|reason| left_out(&acc, reason));
    assert_eq!(counts, [5.0, 1.0, 1.0, 0.0].map(Some), "{:?}", acc.samples());
}

#[test]
fn more_machines_than_can_be_reported_are_counted() {
    let tree = tree();
    let small = file(true, SMALL);
    for pid in 100..130 {
        tree.write(&format!("proc/{pid}/stat"), b"1 (x) S 1 1 1 0 -1 0 0 0 0 0 3 4 0 0 20 0 9 0 1 0 25 0\n");
        tree.write(&format!("tmp/hsperfdata_app/{pid}"), &small);
    }
    let acc = check(&tree).unwrap();
    assert_eq!((acc.number("machines", &[]), left_out(&acc, "past_bound")), (Some(20.0), Some(10.0)));
}

#[test]
fn the_largest_response_fits() {
    // Every text as long as it may be, and every part there is.
    let long = |number: usize| format!("{number}{}", "x".repeat(200));
    let mut counters: Vec<(String, Option<String>)> = vec![
        ("sun.rt.javaCommand".into(), Some(long(0))),
        ("java.property.java.version".into(), Some(long(0))),
        ("sun.gc.policy.name".into(), Some(long(0))),
        ("sun.os.hrt.frequency".into(), None),
    ];
    counters.extend(metrics::PLAIN.iter().map(|plain| (plain.counter.to_owned(), None)));
    for generation in 0..4 {
        counters.push((format!("sun.gc.generation.{generation}.name"), Some(long(generation))));
        for space in 0..6 {
            let part = format!("sun.gc.generation.{generation}.space.{space}");
            counters.push((format!("{part}.name"), Some(long(space))));
            counters.extend(["used", "capacity", "maxCapacity"].map(|what| (format!("{part}.{what}"), None)));
        }
    }
    for collector in 0..8 {
        let part = format!("sun.gc.collector.{collector}");
        counters.push((format!("{part}.name"), Some(long(collector))));
        counters.extend(["invocations", "time"].map(|what| (format!("{part}.{what}"), None)));
    }
    let counters: Vec<(&str, Value<'_>)> = counters
        .iter()
        .map(|(name, text)| {
            (name.as_str(), text.as_ref().map_or(Value::Number(1), |text| Value::Text(text.as_bytes())))
        })
        .collect();
    let (tree, large) = (tree(), file(true, &counters));
    for pid in 100..100 + MOST {
        tree.write(&format!("proc/{pid}/stat"), b"1 (x) S 1 1 1 0 -1 0 0 0 0 0 3 4 0 0 20 0 9 0 1 0 25 0\n");
        tree.write(&format!("tmp/hsperfdata_app/{pid}"), &large);
    }
    let acc = check(&tree).unwrap();
    assert_eq!((acc.number("machines", &[]), acc.number("parts_left_out", &[])), (Some(20.0), Some(280.0)));
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn any_file_is_reported_or_left_out(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0_usize..600) {
        let tree = tree();
        let mut mixed = file(true, SMALL);
        let from = at.min(mixed.len());
        mixed.truncate(from);
        mixed.extend(&bytes);
        tree.write("tmp/hsperfdata_a/7", &mixed);
        let acc = check(&tree).unwrap();
        let left: f64 = metrics::REASONS.iter().filter_map(|reason| left_out(&acc, reason)).sum();
        prop_assert_eq!(acc.number("machines", &[]).map(|machines| machines + left), Some(1.0));
    }
}

/// A machine of this host, which ends with the test.
struct Java(Child);

impl Java {
    fn start(options: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("Sleepy.java");
        let text = "public class Sleepy { public static void main(String[] a) throws Exception { \
            for (int i = 0; i < 100; i++) { byte[] b = new byte[1 << 20]; } System.gc(); \
            System.out.println(\"ready\"); System.in.read(); } }";
        fs::write(&source, text).unwrap();
        let mut command = Command::new("java");
        command
            .arg("-XX:TieredStopAtLevel=1")
            .args(options)
            .arg(source)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut java = Self(command.spawn().ok()?);
        let mut ready = [0; 5];
        java.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Some(java)
    }

    /// What the tool of the machine's makers reads.
    fn counters(&self) -> Option<BTreeMap<String, String>> {
        let pid = self.0.id().to_string();
        let printed = Command::new("jcmd").args([&pid, "PerfCounter.print"]).output().ok()?;
        let text = String::from_utf8_lossy(&printed.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Some(pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect())
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
        let _ = fs::remove_file(self.file());
    }
}

impl Java {
    fn file(&self) -> std::path::PathBuf {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
        format!("/tmp/hsperfdata_{}/{}", user.unwrap_or_default(), self.0.id()).into()
    }
}

#[test]
fn a_real_machine_says_the_same_to_its_own_tool() {
    for options in [&["-XX:+UseG1GC"][..], &["-XX:+UseSerialGC"], &["-XX:+UseParallelGC"], &["-XX:+UseZGC"]] {
        let Some(java) = Java::start(options) else {
            eprintln!("there is no java here: nothing was compared");
            return;
        };
        let mut acc = MemoryAccumulator::new();
        Jvm::default().collect(&CollectContext::new(Duration::from_secs(20)), &mut acc).unwrap();
        let Some(tool) = java.counters().filter(|counters| !counters.is_empty()) else {
            eprintln!("there is no jcmd here: nothing was compared");
            return;
        };
        compare(&acc, &java.0.id().to_string(), &tool);
    }
}

fn compare(acc: &MemoryAccumulator, pid: &str, tool: &BTreeMap<String, String>) {
    // What compiles and starts a source has another name in newer machines.
    let main = tool["sun.rt.javaCommand"].split([' ', '/']).nth(1).unwrap();
    assert!(main.starts_with("com.sun.tools.javac.launcher."), "{main}");
    let of = [pid, main];
    let number = |name: &str| tool[name].parse::<f64>().unwrap();
    let frequency = number("sun.os.hrt.frequency");
    let mut compared = 0;
    for collector in 0..8 {
        let part = format!("sun.gc.collector.{collector}");
        let Some(name) = tool.get(&format!("{part}.name")) else { continue };
        let labels = [of[0], of[1], name];
        assert_eq!(acc.number("gc_collections_total", &labels), Some(number(&format!("{part}.invocations"))));
        assert_eq!(
            acc.number("gc_seconds_total", &labels),
            Some(number(&format!("{part}.time")) / frequency)
        );
        compared += 1;
    }
    for (generation, space) in (0..4).flat_map(|generation| (0..6).map(move |space| (generation, space))) {
        let generation = format!("sun.gc.generation.{generation}");
        let part = format!("{generation}.space.{space}");
        let Some(name) = tool.get(&format!("{part}.name")) else { continue };
        let labels = [of[0], of[1], "heap", &tool[&format!("{generation}.name")], name];
        assert_eq!(acc.number("memory_max_bytes", &labels), Some(number(&format!("{part}.maxCapacity"))));
        assert!(acc.number("memory_used_bytes", &labels).is_some());
        compared += 1;
    }
    assert!(compared >= 2, "{tool:?}");
    let most = number("sun.gc.metaspace.maxCapacity");
    let labels = [of[0], of[1], "nonheap", "metaspace", "metaspace"];
    assert_eq!(acc.number("memory_max_bytes", &labels), Some(most));
    // The tool starts a thread or two to answer.
    let threads = acc.number("threads", &of).unwrap();
    assert!(threads >= 2.0 && threads <= number("java.threads.started"), "{threads}");
    assert!(acc.number("threads_started_total", &of).unwrap() <= number("java.threads.started"));
    assert!(acc.number("classes_loaded_total", &of).unwrap() > 300.0);
    // Machines from version 25 on do not say for how long they run.
    let ticks = tool.get("sun.os.hrt.ticks").map(|ticks| ticks.parse::<f64>().unwrap() / frequency);
    let uptime = acc.number("uptime_seconds", &of);
    assert_eq!(uptime.is_some(), ticks.is_some());
    assert!(uptime.is_none_or(|uptime| uptime > 0.0) && uptime <= ticks);
    let info =
        acc.samples().iter().find(|sample| sample.name == "info" && sample.labels[0].1 == pid).unwrap();
    assert_eq!(info.labels[2].1, tool["java.property.java.version"]);
}
