//! The containers themselves, without an agent: what the other tests take for granted.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use xtask::pods::{ContainerSpec, Lab, PodSpec};

use crate::{built, checks::space, left};

const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// The identity of a namespace of a process.
pub(crate) fn namespace(pid: u32, kind: &str) -> u64 {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino()
}

/// Asks whoever listens on a port of the loopback device that a process has, as soon as somebody does.
pub(crate) fn ask(pid: u32, port: u16) -> String {
    let network = fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let inside = thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).unwrap();
        let began = Instant::now();
        loop {
            let answer =
                TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).and_then(|mut stream| {
                    write!(stream, "GET / HTTP/1.0\r\n\r\n")?;
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).map(|_| answer)
                });
            match answer {
                Ok(answer) if answer.contains(" 200 ") => {
                    return answer.split_once("\r\n\r\n").unwrap().1.trim().to_owned();
                }
                // The server may not be there yet, or not what it serves.
                answer => assert!(began.elapsed() < PATIENCE, "{answer:?}"),
            }
            thread::sleep(POLL);
        }
    });
    inside.join().unwrap()
}

pub(crate) fn pods_have_what_they_should(lab: &Lab) {
    let spec = |name: &str| {
        PodSpec::new(&space(), name)
            .label("app", "web")
            .with(ContainerSpec::web("server", 8080, name))
            .with(ContainerSpec::shell("beside", "exec sleep 1000"))
    };
    let plain = lab.pod(&spec("lab-plain")).unwrap();
    let systemd = lab.pod(&PodSpec { systemd_cgroup: true, ..spec("lab-systemd") }).unwrap();
    let shared = lab.pod(&PodSpec { share_pid: true, ..spec("lab-shared") }).unwrap();

    // Each has its own 127.0.0.1, which its containers share.
    for pod in [&plain, &systemd, &shared] {
        assert_eq!(ask(pod.containers[1].pid, 8080), pod.name);
        assert_eq!(pod.containers[0].name, "server");
        assert!(pod.address.starts_with("10.244."), "{}", pod.address);
        assert_eq!(pod.uid.len(), 36, "{}", pod.uid);
        for container in &pod.containers {
            assert_eq!(namespace(container.pid, "net"), namespace(pod.sandbox.pid, "net"));
            let same_processes = namespace(container.pid, "pid") == namespace(pod.sandbox.pid, "pid");
            assert_eq!(same_processes, pod.name == "lab-shared");
        }
    }
    let networks: BTreeSet<u64> =
        [plain.sandbox.pid, systemd.sandbox.pid, std::process::id()].map(|pid| namespace(pid, "net")).into();
    assert_eq!(networks.len(), 3);

    let id = &plain.containers[0].id;
    assert_eq!(plain.containers[0].cgroup, format!("kubepods/besteffort/pod{}/{id}", plain.uid));
    let (id, uid) = (&systemd.containers[0].id, systemd.uid.replace('-', "_"));
    let slice = format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid}.slice");
    assert_eq!(systemd.containers[0].cgroup, format!("{slice}/cri-containerd-{id}.scope"));
    assert!(left::has_cgroup(&plain.containers[0].cgroup) && left::has_cgroup(&systemd.containers[0].cgroup));
    for pod in [plain, systemd, shared] {
        pod.delete().unwrap();
    }
}

pub(crate) fn a_pod_with_the_hosts_network(lab: &Lab) {
    let spec = PodSpec { host_network: true, ..PodSpec::new(&space(), "lab-host") };
    let pod = lab.pod(&spec.with(ContainerSpec::shell("idle", "exec sleep 1000"))).unwrap();
    for pid in [pod.sandbox.pid, pod.containers[0].pid] {
        assert_eq!(namespace(pid, "net"), namespace(std::process::id(), "net"));
    }
    pod.delete().unwrap();
}

pub(crate) fn nothing_is_left_of_a_deleted_pod(lab: &Lab) {
    let served = lab.folder().join("served");
    fs::create_dir_all(&served).unwrap();
    fs::write(served.join("index.html"), "little").unwrap();
    let spec = PodSpec::new(&space(), "lab-little");
    let pod = lab.pod(&spec.with(ContainerSpec::distroless("server", 8080, served))).unwrap();
    assert_eq!(ask(pod.containers[0].pid, 8080), "little");
    let root = format!("/proc/{}/root", pod.containers[0].pid);
    assert!(fs::metadata(format!("{root}/bin/sh")).is_err(), "an image without a shell has one");
    assert!(fs::write(format!("{root}/new"), "").is_err(), "its file system can be written to");

    let (cgroup, all) = (pod.cgroup.clone(), [vec![pod.sandbox.clone()], pod.containers.clone()].concat());
    assert!(all.iter().all(xtask::pods::Running::is_running) && left::has_cgroup(&cgroup));
    pod.delete().unwrap();
    assert!(!all.iter().any(xtask::pods::Running::is_running), "processes are left");
    assert!(!left::has_cgroup(&cgroup), "a control group is left");
}

pub(crate) fn pods_survive_their_runtime(lab: &Lab) {
    let spec = PodSpec::new(&space(), "lab-survivor");
    let pod = lab.pod(&spec.with(ContainerSpec::web("server", 8080, "still here"))).unwrap();
    let before = lab.containerd_pid();
    lab.containerd_stop();
    assert_eq!(lab.containerd_pid(), None);
    assert_eq!(ask(pod.containers[0].pid, 8080), "still here");
    lab.containerd_start().unwrap();
    assert_ne!(lab.containerd_pid(), before);
    pod.delete().unwrap();
}

pub(crate) fn a_killed_lab_is_cleaned_up_by_the_next(_lab: &Lab) {
    let lab = || {
        let mut command = Command::new(built::program("xtask"));
        command.args(["pods", "--only", "containerd"]).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let mut first = lab().arg("--web").spawn().unwrap();
    let (mut folder, mut cgroups) = (String::new(), Vec::new());
    for line in BufReader::new(first.stdout.take().unwrap()).lines().map(Result::unwrap) {
        if let Some(socket) = line.strip_prefix("PITOT_CRI=") {
            socket.strip_suffix("/containerd.sock").unwrap().clone_into(&mut folder);
        }
        if let Some((_, cgroup)) = line.split_once(": ") {
            cgroups.push(cgroup.to_owned());
        }
        if line.starts_with("up after") {
            break;
        }
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(cgroups.len(), 2);
    assert!(cgroups.iter().all(|cgroup| left::has_cgroup(cgroup)), "its pods go on without it");
    assert!(!left::processes(&folder).is_empty());

    let second = lab().args(["--", "true"]).output().unwrap();
    assert!(second.status.success(), "{second:?}");
    assert_eq!(left::processes(&folder), [""; 0]);
    assert!(!cgroups.iter().any(|cgroup| left::has_cgroup(cgroup)));
    assert!(!Path::new(&folder).exists());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&folder), "{mounts}");
}

pub(crate) fn docker_and_podman_run_containers(lab: &Lab) {
    for (engine, group) in
        [(lab.docker().unwrap(), "docker/"), (lab.podman().unwrap(), "libpod_parent/libpod-")]
    {
        let line = "mkdir /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www";
        let container = engine.run("lab-alone", line, &[("app", "alone")]).unwrap();
        assert_eq!(container.cgroup, format!("{group}{}", container.id));
        assert!(container.id.starts_with(&ask(container.pid, 8080)));
        engine.remove(&container).unwrap();
        assert!(!container.is_running() && !left::has_cgroup(&container.cgroup));
    }
}
