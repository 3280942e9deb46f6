//! Hosts that lack something: what can run runs, and what cannot says what it needs.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use nix::sys::signal::Signal;

use crate::{
    agent::{Agent, BINARY, COUNTING, Place, counting_and},
    host::can_run,
    pins,
};

fn has_no_kernel_objects(agent: &Agent) {
    let files = agent.open_files();
    assert!(!files.is_empty());
    assert!(files.iter().all(|file| !file.contains("bpf")), "{files:?}");
}

#[test]
fn without_root_the_host_is_served_and_the_kernel_says_what_it_needs() {
    // The helper says why when this is not root, who alone can become nobody.
    if !can_run() {
        return;
    }
    let place = Place::new("nobody");
    // Nobody may not enter the folders of the build.
    let binary = place.path().join("pitot");
    fs::copy(BINARY, &binary).unwrap();
    for path in [place.path(), &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let inputs = counting_and("loadavg");
    let arguments = ["--input", &inputs, "--listen", "127.0.0.1:0"];
    let mut command = place.command_of(&binary, "", &arguments);
    command.uid(65534).gid(65534);
    let agent = place.serve(command);

    assert_eq!(agent.state("loadavg")[0], "running");
    assert!(agent.scrape().contains_key("node_load1"));
    for input in COUNTING {
        let [state, _, reason] = agent.state(input);
        assert_eq!(state, "unsupported", "{input}: {reason}");
        assert!(reason.contains("needs root, or the capabilities CAP_BPF and CAP_PERFMON"), "{reason}");
    }
    has_no_kernel_objects(&agent);
    assert!(!place.pins.exists());

    // It may not look where pins would be, and does not say that there are none.
    let mut clean = place.command_of(&binary, "", &["clean"]);
    let output = clean.uid(65534).gid(65534).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("Permission denied"), "{said}");
}

#[test]
fn without_ebpf_nothing_is_loaded_and_nothing_pinned() {
    let place = Place::new("off");
    let agent = place.start("", &["--no-ebpf"]);
    assert!(agent.scrape().contains_key("node_load1"));
    for input in COUNTING {
        let [state, _, reason] = agent.state(input);
        assert!(state == "unsupported" || state == "off", "{state}: {reason}");
        assert!(reason.contains("switched off"), "{reason}");
    }
    has_no_kernel_objects(&agent);
    assert!(!place.pins.exists());
    agent.signal(Signal::SIGTERM);
    let (_, _, log) = agent.end();
    assert!(log.contains("stopping") && !log.contains("stay attached"), "{log}");
}

/// An agent in a mount namespace of its own, after commands of a shell.
fn in_namespace(place: &Place, commands: &str) -> Agent {
    let inputs = counting_and("loadavg");
    let inner = place.command("", &["--input", &inputs, "--listen", "127.0.0.1:0"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{commands} && exec \"$0\" \"$@\"")]);
    command.arg(inner.get_program()).args(inner.get_args());
    place.serve(command)
}

#[test]
fn a_missing_bpf_file_system_is_mounted() {
    if !can_run() {
        return;
    }
    let place = Place::new("unmounted");
    let agent = in_namespace(&place, "mount -t tmpfs none /sys/fs/bpf");
    for input in COUNTING {
        assert_eq!(agent.state(input), ["running", "tp_btf", ""]);
    }
    // In its own namespace; the host's has none of it.
    assert!(!place.pins.exists());
    let inside = format!("/proc/{}/root{}", agent.pid(), place.pins.display());
    pins::assert_whole(Path::new(&inside));
}

#[test]
fn a_read_only_bpf_file_system_costs_the_pins_alone() {
    if !can_run() {
        return;
    }
    let place = Place::new("readonly");
    let agent = in_namespace(&place, "mount -t bpf none /sys/fs/bpf && mount -o remount,ro /sys/fs/bpf");
    for input in COUNTING {
        let [state, variant, reason] = agent.state(input);
        assert_eq!([state.as_str(), &variant], ["degraded", "tp_btf"]);
        assert!(reason.contains("not pinned, so counters restart with the agent"), "{reason}");
        assert!(reason.contains("Read-only file system"), "{reason}");
    }
    assert!(agent.scrape()["pitot_sched_switches_total{reason=\"blocked\"}"] > 0.0);
    agent.signal(Signal::SIGTERM);
    let (_, _, log) = agent.end();
    assert!(log.contains("stopping") && !log.contains("stay attached"), "{log}");
}

#[test]
fn pins_that_cannot_be_written_cost_the_pins_alone() {
    if !can_run() {
        return;
    }
    let place = Place::new("frozen");
    let pins = place.pins.display();
    let mount = "mount -t bpf none /sys/fs/bpf";
    let agent = in_namespace(&place, &format!("{mount} && mkdir {pins} && mount -o remount,ro /sys/fs/bpf"));
    let [state, variant, reason] = agent.state("sched");
    assert_eq!([state.as_str(), &variant], ["degraded", "tp_btf"]);
    assert!(reason.contains("not pinned") && reason.contains("Read-only file system"), "{reason}");
}

#[test]
fn nothing_is_mounted_over_a_folder_that_is_no_place_for_pins() {
    if !can_run() {
        return;
    }
    let mut place = Place::new("elsewhere");
    place.pins = place.path().join("pins");
    let agent = place.start("", &[]);
    let [state, variant, reason] = agent.state("sched");
    assert_eq!([state.as_str(), &variant], ["degraded", "tp_btf"]);
    assert!(reason.contains("not pinned") && reason.contains("mount -t bpf"), "{reason}");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&place.path().display().to_string()), "{mounts}");
    assert!(!place.pins.exists());
}

#[test]
fn a_low_limit_of_descriptors_is_raised() {
    let place = Place::new("few");
    let inner = place.command("", &["--no-ebpf", "--listen", "127.0.0.1:0"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 16 && exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args());
    let agent = place.serve(command);
    assert_eq!(agent.state("loadavg")[0], "running");
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|at| line.split_whitespace().nth(at).unwrap());
    assert!(soft == hard && soft != "16", "{line}");
}

/// The entries of a folder but one, as links in another.
fn mirror(from: &Path, to: &Path, but: &str) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != but {
            symlink(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn without_types_of_the_kernel_what_needs_no_field_is_counted() {
    if !can_run() {
        return;
    }
    let place = Place::new("untyped");
    let sysfs = place.path().join("sys");
    mirror(Path::new("/sys"), &sysfs, "kernel");
    mirror(Path::new("/sys/kernel"), &sysfs.join("kernel"), "btf");
    let agent = place.start("", &["--sysfs", &sysfs.display().to_string()]);

    let [state, variant, reason] = agent.state("sched");
    assert_eq!([state.as_str(), &variant], ["degraded", "raw_tp"]);
    assert!(reason.contains("no run-queue wait, cgroups (no kernel BTF"), "{reason}");
    assert_eq!(reason.matches("run-queue wait").count(), 1, "{reason}");
    let [state, variant, reason] = agent.state("syscall");
    assert_eq!([state.as_str(), &variant], ["degraded", "raw_tp"]);
    assert!(reason.contains("32-bit"), "{reason}");
    assert_eq!(agent.state("irq"), ["running", "raw_tp", ""]);
    let [state, variant, reason] = agent.state("process");
    assert_eq!([state.as_str(), &variant], ["degraded", "raw_tp"]);
    assert!(reason.contains("exits of processes") && reason.contains("states and use"), "{reason}");
    let [state, variant, reason] = agent.state("net");
    assert_eq!([state.as_str(), &variant], ["degraded", "raw_tp"]);
    assert!(reason.contains("traffic of devices") && reason.contains("reasons of drops"), "{reason}");
    let [state, variant, reason] = agent.state("memory");
    assert_eq!([state.as_str(), &variant], ["degraded", "raw_tp"]);
    for lost in
        ["reclaim for the limits of cgroups", "compaction stalls", "user page faults", "kernel page faults"]
    {
        assert!(reason.contains(lost), "{reason}");
    }
    for input in ["block", "tcp"] {
        let [state, _, reason] = agent.state(input);
        assert_eq!(state, "unsupported", "{input}");
        assert!(reason.contains("BTF") || reason.contains("btf"), "{input}: {reason}");
    }

    let series = agent.scrape();
    assert!(series["pitot_sched_switches_total{reason=\"blocked\"}"] > 0.0);
    assert!(!series.contains_key("pitot_sched_wait_seconds_count"));
    let net = series.keys().filter(|key| key.starts_with("pitot_net_"));
    assert!(net.eq(["pitot_net_drops_total{reason=\"not_specified\"}"]));
}
