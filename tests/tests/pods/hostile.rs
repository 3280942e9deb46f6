//! Pods that do what they can to those who check them.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use xtask::pods::{ContainerSpec, Lab, PodSpec};

use crate::{
    agent::Agent,
    checks::{config, pipeline, space, web},
    runtimes::namespace,
};

/// Every file that a check could read is something else than that.
const TRAPS: &str = "
mv /etc /etc.old; mkdir /etc
mkfifo /etc/resolv.conf; ln -s hosts /etc/hosts
truncate -s 1G /etc/passwd
ln -s /proc/self/root /etc/nsswitch.conf; ln -s ../../../../../../../../etc /etc/group
mkdir -p /tmp/hsperfdata_root /www
mkfifo /tmp/hsperfdata_root/1; ln -s /dev/zero /tmp/hsperfdata_root/2; ln -s 3 /tmp/hsperfdata_root/3
truncate -s 1G /tmp/hsperfdata_root/4
for name in sh ls httpd; do rm /bin/$name && printf '#!/bin/busybox false\n' > /bin/$name; done
/bin/busybox echo ready > /www/ready
exec /bin/busybox httpd -f -p 8080 -h /www";

pub(crate) fn a_pod_sets_traps(lab: &Lab) {
    let trapped =
        lab.pod(&PodSpec::new(&space(), "web-traps").with(ContainerSpec::shell("server", TRAPS))).unwrap();
    let beside = web(lab, "web-beside");
    let checks = [
        ("dns", "names = [\"web.example\"]"),
        ("httpcheck", "url = \"http://web.example:8080/\""),
        ("processes", ""),
        ("disk", ""),
        ("jvm", ""),
        ("sockets", ""),
    ];
    let mut lines = String::new();
    for (check, options) in checks {
        lines += &pipeline(
            &format!("of_{check}"),
            check,
            "300ms",
            "pod = \"web-traps\", container = \"server\"",
            &options,
        );
    }
    for (name, pod, path) in [("ready", "web-traps", "ready"), ("beside", "web-beside", "web-beside")] {
        let options = format!("prefix = \"{name}_\"\nurl = \"http://127.0.0.1:8080/{path}\"");
        lines += &pipeline(name, "httpcheck", "200ms", &format!("pod = \"{pod}\""), &options);
    }
    let agent = Agent::start(&config(lab, &lines));
    let target = [("pod", "web-traps")];
    agent.wait("its server is up, which needs none of its files", |page| {
        page.value("ready_up", &target) == Some(1.0)
    });
    for (check, _) in checks {
        let executed = format!("pitot_{check}_executed");
        agent.wait(&format!("{check} has found out what it can, or that it cannot"), |page| {
            page.value(&executed, &target).is_some()
        });
    }
    let page = agent.scrape();
    // There is no such name, whatever is in the way of finding that out.
    assert_ne!(page.value("pitot_httpcheck_up", &target), Some(1.0));
    assert_eq!(page.value("pitot_processes_executed", &target), Some(1.0), "{}", agent.log());
    assert_eq!(page.value("pitot_sockets_executed", &target), Some(1.0), "{}", agent.log());
    let (up, before) = ("beside_checks_total", page.sum("beside_checks_total", &[("result", "up")]));
    let page = agent.wait("others are checked on", |page| page.sum(up, &[("result", "up")]) >= before + 10.0);
    assert_eq!(page.sum(up, &[]), page.sum(up, &[("result", "up")]), "{}", page.beginning(up));
    trapped.delete().unwrap();
    beside.delete().unwrap();
}

/// A program of the attacker's that is called like what keeps containers, and is told to keep one of its victim's.
fn impostor(folder: &Path, uid: &str) -> ContainerSpec {
    let name = format!("k8s_server_web-victim_{}_{uid}_0", space());
    let words =
        ["/evil/conmon", "-c", "trap exit TERM; while :; do sleep 0.1; done", "-n", &name, "-b", "/evil"];
    let host = ["/usr", "/lib", "/lib64"].map(|path| (path.into(), path.to_owned()));
    ContainerSpec {
        command: words.map(str::to_owned).to_vec(),
        mounts: [vec![(folder.to_owned(), "/evil".to_owned())], host.to_vec()].concat(),
        ..ContainerSpec::shell("own", "")
    }
}

pub(crate) fn a_pod_poses_as_another(lab: &Lab) {
    let folder = tempfile::tempdir().unwrap();
    fs::copy("/bin/bash", folder.path().join("conmon")).unwrap();
    let victim = web(lab, "web-victim");
    let attacker = [("attacker-a", "deadbeef"), ("attacker-b", &*victim.uid)];
    let attackers = attacker.map(|(name, uid)| {
        lab.pod(&PodSpec::new(&space(), name).with(impostor(folder.path(), uid))).unwrap()
    });
    let lines = pipeline("all", "processes", "200ms", "pod = \"*\", container = \"*\"", "");
    let agent = Agent::start_with(&config(lab, &lines), &["cgroup"]);
    let page = agent.wait("all are known", |page| {
        let is_there = |(pod, container)| {
            page.value("pitot_processes_present", &[("pod", pod), ("container", container)]).is_some()
        };
        [("web-victim", "server"), ("attacker-a", "own"), ("attacker-b", "own")].into_iter().all(is_there)
    });
    let started = |pod| page.value("pitot_processes_oldest_start_time_seconds", &[("pod", pod)]).unwrap();
    assert!(started("web-victim") < started("attacker-a"), "{}", page.beginning("pitot_processes_oldest"));
    let memory = page.beginning("pitot_cgroup_memory_usage_bytes");
    for attacker in &attackers {
        let own = memory.lines().filter(|line| line.contains(&attacker.uid));
        let lies =
            own.filter(|line| !line.contains(&format!("\"pod\": {:?}", attacker.name))).collect::<Vec<_>>();
        assert_eq!(lies, [""; 0], "{memory}");
    }
    attackers.into_iter().chain([victim]).for_each(|pod| pod.delete().unwrap());
}

pub(crate) fn a_helper_has_nothing_to_take(lab: &Lab) {
    let pod = web(lab, "web-locked");
    let network = namespace(pod.sandbox.pid, "net");
    let lines = pipeline(
        "web",
        "httpcheck",
        "100ms",
        "pod = \"web-locked\"",
        "url = \"http://127.0.0.1:8080/{pod}\"",
    );
    let agent = Agent::start(&config(lab, &lines));
    let inside = || {
        let helpers = agent.helpers().into_iter();
        let is_inside = |pid: &u32| {
            fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|namespace| namespace.ino() == network)
        };
        helpers.filter(is_inside).collect::<Vec<_>>()
    };
    agent.wait("a helper is inside", |page| {
        page.value("pitot_httpcheck_up", &[("pod", "web-locked")]) == Some(1.0) && inside().len() == 1
    });
    let pid = inside()[0];
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let says = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(says(set), "0000000000000000", "{set}");
    }
    assert_eq!((says("Seccomp"), says("NoNewPrivs"), says("Threads")), ("2".into(), "1".into(), "1".into()));
    assert!(!says("Uid").split_whitespace().any(|user| user == "0"), "{}", says("Uid"));
    // Whose `/proc` files belong to root although it is not: it cannot be read or traced by its own user.
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
    // It is where the pod's processes cannot see it, and sees nothing itself.
    assert_eq!(namespace(pid, "pid"), namespace(std::process::id(), "pid"));
    assert_eq!(fs::read_dir(format!("/proc/{pid}/root")).unwrap().count(), 0);
    pod.delete().unwrap();
}
