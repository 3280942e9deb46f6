//! Processes as files tell of them, and this one.

use proptest::prelude::*;

use super::*;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// A procfs with processes: number, parent, start time, numbers in namespaces.
fn procfs(processes: &[(u32, u32, u64, &str)]) -> (tempfile::TempDir, Processes) {
    let dir = tempfile::tempdir().unwrap();
    let proc = dir.path().join("proc");
    for (pid, parent, started, numbers) in processes {
        let own = proc.join(pid.to_string());
        fs::create_dir_all(&own).unwrap();
        let before = "S";
        let between = "1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0";
        fs::write(own.join("stat"), format!("{pid} (a b) c) {before} {parent} {between} {started} 1 2\n"))
            .unwrap();
        fs::write(own.join("status"), format!("Name:\ta\nNSpid:\t{numbers}\n")).unwrap();
    }
    fs::create_dir_all(&proc).unwrap();
    fs::write(proc.join("stat"), "cpu 1\nbtime 1000\n").unwrap();
    let processes = Processes::new(&Roots::under(dir.path()));
    (dir, processes)
}

#[test]
fn the_first_is_the_first_of_its_namespace() {
    let (_dir, known) = procfs(&[(90, 7, 100, "90 31"), (91, 7, 200, "91 1"), (92, 91, 50, "92 2")]);
    let first = known.first(&mut vec![90, 92, 91]).unwrap();
    assert_eq!(first.process, Process { pid: 91, started: 200 });
    assert_eq!((first.parent, first.comm.as_str()), (7, "a b) c"));
    assert_eq!(known.time_of(first.process), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1002)));
    assert!(known.is_alive(first.process));
    assert!(!known.is_alive(Process { pid: 91, started: 201 }), "another one of its number");
}

#[test]
fn in_a_shared_namespace_it_is_the_oldest_from_outside() {
    let (_dir, known) = procfs(&[(90, 7, 300, "90"), (91, 7, 200, "91 12"), (92, 91, 50, "92 13")]);
    assert_eq!(known.first(&mut vec![90, 91, 92]).unwrap().process.pid, 91);
    assert_eq!(known.first(&mut vec![93]), None, "it has ended");
    assert_eq!(known.first(&mut Vec::new()), None);
}

#[test]
fn this_process_is_read_as_any() {
    let known = Processes::new(&Roots::default());
    let own = std::process::id();
    let first = known.first(&mut vec![own]).unwrap();
    assert_eq!(first.process.pid, own);
    assert!(known.is_alive(first.process));
    let started = known.time_of(first.process).unwrap();
    assert!(started <= SystemTime::now() + Duration::from_secs(1));
    assert!(!known.words(own)[0].is_empty());
    assert_eq!(known.is_in_host_network(1), Some(true));
}

#[test]
fn keepers_say_whom_they_keep() {
    let shim =
        "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id abc -address /run/containerd/containerd.sock";
    let shim = Keeper::of(&words(shim)).unwrap();
    assert_eq!((shim.handler.as_str(), shim.namespace.as_str(), shim.id.as_str()), ("runc", "k8s.io", "abc"));
    assert_eq!(shim.address, "/run/containerd/containerd.sock");
    let handler = |program: &str| Keeper::of(&words(program)).map(|keeper| keeper.handler);
    assert_eq!(handler("containerd-shim-kata-qemu-v2 -id a").as_deref(), Some("kata-qemu"));
    assert_eq!(handler("containerd-shim-runsc-v1").as_deref(), Some("runsc"));
    assert_eq!(handler("containerd-shim -namespace moby").as_deref(), Some(""));
    assert_eq!(handler("/bin/sh -c containerd-shim-runc-v2"), None);
    let conmon = "/usr/bin/conmon --api-version 1 -c abc -u abc -r /usr/bin/runc -b /var/x/userdata -n web";
    let conmon = Keeper::of(&words(conmon)).unwrap();
    assert!(conmon.is_conmon);
    assert_eq!((&*conmon.id, &*conmon.name, &*conmon.bundle), ("abc", "web", "/var/x/userdata"));
    assert_eq!(Keeper::of(&[]), None);
    assert_eq!(Keeper::of(&words("conmon -n")).unwrap().name, "");
}

#[test]
fn other_kernels_are_known_by_what_starts_them() {
    for sandboxed in
        ["runsc", "kata", "kata-qemu", "io.containerd.kata.v2", "gvisor", "rund", "aws.firecracker"]
    {
        assert!(is_sandboxed(sandboxed), "{sandboxed}");
    }
    for plain in ["", "runc", "crun", "io.containerd.runc.v2", "nvidia", "youki"] {
        assert!(!is_sandboxed(plain), "{plain}");
    }
    assert_eq!(own_kernel(&words("runsc-sandbox --root=/x")), Some("runsc"));
    assert_eq!(own_kernel(&words("/opt/kata/bin/qemu-system-x86_64 -name a")), Some("qemu-system"));
    assert_eq!(own_kernel(&words("nginx: master")), None);
}

#[test]
fn a_network_namespace_is_told_apart_without_permission() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: a network namespace takes root");
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "the test starts a process, the agent does not")]
    let child = std::process::Command::new("unshare").args(["-n", "sleep", "60"]).spawn();
    let Ok(mut child) = child else { return eprintln!("skipped: there is no unshare") };
    let known = Processes::new(&Roots::default());
    let until = std::time::Instant::now() + Duration::from_secs(10);
    let mut told = None;
    while told != Some(false) && std::time::Instant::now() < until {
        told = known.is_in_host_network(child.id());
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(told, Some(false));
}

proptest! {
    #[test]
    fn any_stat_is_fine(bytes: Vec<u8>, text in "[0-9() SZ]{0,80}") {
        let _ = (parse_stat(&bytes), parse_stat(text.as_bytes()));
    }

    #[test]
    fn any_command_line_is_fine(words in prop::collection::vec("(-c|-n|conmon|containerd-shim|-v|-)?\\PC{0,6}", 0..8)) {
        let _ = (Keeper::of(&words), own_kernel(&words));
        for word in &words {
            let _ = is_sandboxed(word);
        }
    }
}
