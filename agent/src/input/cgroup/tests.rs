//! Trees of both versions and of both at once, as they may be found.

use std::fs;

use super::*;
use crate::{
    accumulator::MemoryAccumulator,
    input::testing::{Tree, collect, few, soup, survives},
};

use proptest::prelude::*;

const ALL: Choice = Choice { max_cgroups: MOST, depth: DEPTH, io: true, more_files: true };

const SECOND: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
const HYBRID: &str = "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 23 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      34 23 0:30 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n";

fn input(tree: &Tree) -> Cgroups {
    Cgroups::from_files(&tree.roots(), ALL)
}

fn second(groups: &[&str]) -> Tree {
    let tree = Tree::new(&[("proc/1/mountinfo", SECOND)]);
    for group in groups {
        tree.write(&format!("sys/fs/cgroup/{group}/cpu.stat"), b"usage_usec 2000000\n");
    }
    tree
}

fn usage(acc: &MemoryAccumulator, cgroup: &str) -> Option<f64> {
    acc.number("cgroup_cpu_usage_seconds_total", &[cgroup])
}

#[test]
fn a_tree_of_version_2() {
    let tree = second(&["system.slice/ssh.service"]);
    let ssh = "sys/fs/cgroup/system.slice/ssh.service";
    for (file, content) in [
        ("memory.current", "8192\n"),
        ("memory.max", "max\n"),
        ("memory.events", "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n"),
        ("pids.current", "3\n"),
        ("pids.max", "100\n"),
        ("cpu.max", "150000 100000\n"),
        ("memory.pressure", "some avg10=0 total=1500000\nfull avg10=0 total=500000\n"),
        ("io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
    ] {
        tree.write(&format!("{ssh}/{file}"), content.as_bytes());
    }
    fs::create_dir_all(tree.path().join("sys/dev/block")).unwrap();
    std::os::unix::fs::symlink("../../devices/virtual/block/vda", tree.path().join("sys/dev/block/254:0"))
        .unwrap();
    let acc = collect(&mut input(&tree)).unwrap();
    let own = &["/system.slice/ssh.service"];
    let label = |more: &'static str| [own[0], more];
    assert_eq!(usage(&acc, own[0]), Some(2.0));
    assert_eq!(acc.number("cgroup_memory_usage_bytes", own), Some(8192.0));
    assert_eq!(acc.number("cgroup_memory_limit_bytes", own), None);
    assert_eq!(acc.number("cgroup_memory_events_total", &label("max")), Some(5.0));
    assert_eq!(acc.number("cgroup_pids", own), Some(3.0));
    assert_eq!(acc.number("cgroup_pids_limit", own), Some(100.0));
    assert_eq!(acc.number("cgroup_cpu_limit_cores", own), Some(1.5));
    assert_eq!(acc.number("cgroup_pressure_waiting_seconds_total", &label("memory")), Some(1.5));
    assert_eq!(acc.number("cgroup_io_bytes_total", &[own[0], "vda", "write"]), Some(2.0));
    assert_eq!(usage(&acc, "/system.slice"), None, "it has no files");
    assert_eq!(acc.number("cgroup_untracked", &[]), Some(0.0));
}

#[test]
fn a_hybrid_tree_gives_one_group_by_path() {
    let tree = Tree::new(&[
        ("proc/1/mountinfo", HYBRID),
        ("sys/fs/cgroup/unified/a/cpu.stat", "usage_usec 1\nuser_usec 1\nsystem_usec 0\n"),
        ("sys/fs/cgroup/unified/a/cpu.pressure", "some total=2000000\nfull total=0\n"),
        ("sys/fs/cgroup/unified/b/cpu.stat", "usage_usec 4000000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/a/cpuacct.usage", "3000000000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/a/cpu.stat", "nr_periods 4\nnr_throttled 1\nthrottled_time 500000000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "4096\n"),
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("sys/fs/cgroup/pids/a/pids.current", "7\n"),
        ("sys/fs/cgroup/blkio/a/blkio.throttle.io_serviced_recursive", "8:0 Read 5\nTotal 5\n"),
    ]);
    let acc = collect(&mut input(&tree)).unwrap();
    assert_eq!(usage(&acc, "/a"), Some(3.0), "of the controller's own hierarchy");
    assert_eq!(usage(&acc, "/b"), Some(4.0));
    assert_eq!(acc.number("cgroup_cpu_throttled_seconds_total", &["/a"]), Some(0.5));
    assert_eq!(acc.number("cgroup_cpu_limit_cores", &["/a"]), Some(0.5));
    assert_eq!(acc.number("cgroup_memory_usage_bytes", &["/a"]), Some(4096.0));
    assert_eq!(acc.number("cgroup_memory_limit_bytes", &["/a"]), None);
    assert_eq!(acc.number("cgroup_memory_events_total", &["/a", "oom_kill"]), Some(2.0));
    assert_eq!(acc.number("cgroup_pids", &["/a"]), Some(7.0));
    assert_eq!(acc.number("cgroup_pressure_waiting_seconds_total", &["/a", "cpu"]), Some(2.0));
    assert_eq!(acc.number("cgroup_io_operations_total", &["/a", "8:0", "read"]), Some(5.0));
}

#[test]
fn groups_may_come_and_go_and_change_their_limits() {
    let tree = second(&["a", "b/c"]);
    let mut input = input(&tree);
    collect(&mut input).unwrap();
    tree.write("sys/fs/cgroup/b/d/cpu.stat", b"usage_usec 5\n");
    tree.write("sys/fs/cgroup/b/d/e/f/cpu.stat", b"usage_usec 6\n");
    fs::remove_dir_all(tree.path().join("sys/fs/cgroup/a")).unwrap();
    let acc = collect(&mut input).unwrap();
    assert_eq!((usage(&acc, "/a"), usage(&acc, "/b/c")), (None, Some(2.0)));
    assert_eq!(usage(&acc, "/b/d/e/f"), Some(6e-6));
    assert_eq!(acc.number("cgroup_pids_limit", &["/b/c"]), None);
    tree.write("sys/fs/cgroup/b/c/pids.max", b"12\n");
    assert_eq!(collect(&mut input).unwrap().number("cgroup_pids_limit", &["/b/c"]), Some(12.0));
    fs::rename(tree.path().join("sys/fs/cgroup/b"), tree.path().join("sys/fs/cgroup/x")).unwrap();
    let acc = collect(&mut input).unwrap();
    assert_eq!((usage(&acc, "/b/c"), usage(&acc, "/x/c")), (None, Some(2.0)));
}

#[test]
fn what_lies_deep_or_is_too_much_is_counted() {
    let tree = second(&["1/2/3/4/5/6/7", "other"]);
    let mut deep = input(&tree);
    let acc = collect(&mut deep).unwrap();
    assert_eq!((usage(&acc, "/other"), acc.number("cgroup_untracked", &[])), (Some(2.0), Some(2.0)));
    for n in 0..MOST + 10 {
        fs::create_dir_all(tree.path().join(format!("sys/fs/cgroup/m{n}"))).unwrap();
    }
    let acc = collect(&mut input(&tree)).unwrap();
    // Seven, one and 1010, of which 1000 are known.
    assert_eq!(acc.number("cgroup_untracked", &[]), Some(18.0));
    fs::remove_dir_all(tree.path().join("sys/fs/cgroup/1")).unwrap();
    assert_eq!(usage(&collect(&mut deep).unwrap(), "/other"), Some(2.0));
}

#[test]
fn no_tree_is_unsupported_and_nonsense_is_an_error() {
    let tree = Tree::new(&[("proc/1/mountinfo", "1 0 0:1 / / rw - ext4 x rw\n")]);
    assert!(matches!(collect(&mut input(&tree)), Err(InputError::Unsupported(_))));
    let tree = second(&["a"]);
    tree.write("sys/fs/cgroup/a/cpu.stat", b"usage_usec many\n");
    let error = collect(&mut input(&tree)).unwrap_err().to_string();
    assert!(error.contains("a/cpu.stat") && error.contains("many"), "{error}");
}

#[test]
fn without_a_descriptor_to_spare_files_are_opened_anew() {
    let tree = second(&["a", "b"]);
    let mut input = input(&tree);
    let mut followed = input.find().unwrap();
    followed.known = Known::new(hierarchies::find(&tree.roots()).unwrap(), rules(ALL, Vec::new()), 1);
    input.followed = Some(followed);
    for _ in 0..2 {
        let acc = collect(&mut input).unwrap();
        assert_eq!((usage(&acc, "/a"), usage(&acc, "/b")), (Some(2.0), Some(2.0)));
    }
}

proptest! {
    #![proptest_config(few())]
    #[test]
    fn any_content_is_fine(
        content in soup(&["usage_usec ", "nr_periods 1\n", "max\n"]),
        name in "[^/\u{0}]{1,20}",
    ) {
        prop_assume!(name != "." && name != "..");
        let tree = second(&[&name]);
        tree.write(&format!("sys/fs/cgroup/{name}/cpu.stat"), &content);
        survives(&mut input(&tree));
    }
}

#[test]
fn the_configuration_says_how_many_and_how_deep() {
    let tree = second(&["a", "a/b", "a/b/c", "d"]);
    let untracked = |choice| {
        let acc = collect(&mut Cgroups::from_files(&tree.roots(), choice)).unwrap();
        let names = ["/a", "/a/b", "/a/b/c", "/d"].map(|name| usage(&acc, name).is_some());
        (names, acc.number("cgroup_untracked", &[]))
    };
    assert_eq!(untracked(Choice { depth: 2, ..ALL }), ([true, true, false, true], Some(1.0)));
    let (names, left_out) = untracked(Choice { max_cgroups: 2, ..ALL });
    assert_eq!((names, left_out), ([true, false, false, true], Some(2.0)), "shallow ones first");
}

#[test]
fn devices_are_read_of_some_groups_at_a_time_and_of_all_in_turn() {
    const GROUPS: usize = 300;
    const AT_ONCE: usize = 128;
    let tree = Tree::new(&[("proc/1/mountinfo", SECOND)]);
    let write = |bytes: usize| {
        for group in 0..GROUPS {
            let line = format!("254:0 rbytes={bytes} wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n");
            tree.write(&format!("sys/fs/cgroup/{group}/io.stat"), line.as_bytes());
        }
    };
    write(1);
    let mut input = input(&tree);
    let mut with = |bytes: f64| {
        let acc = collect(&mut input).unwrap();
        let read =
            |group: usize| acc.number("cgroup_io_bytes_total", &[&format!("/{group}"), "254:0", "read"]);
        (0..GROUPS).filter(|&group| read(group) == Some(bytes)).count()
    };
    assert_eq!([with(1.0), with(1.0), with(1.0)], [AT_ONCE, 2 * AT_ONCE, GROUPS]);
    write(5);
    assert_eq!([with(5.0), with(5.0), with(5.0)], [AT_ONCE, 2 * AT_ONCE, GROUPS]);
    for metric in [&IO_BYTES, &IO_OPERATIONS] {
        assert!(metric.help.contains(&AT_ONCE.to_string()));
    }
}
