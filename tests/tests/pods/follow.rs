//! Pods that come and go, and runtimes that do.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    thread,
    time::{Duration, Instant},
};

use xtask::pods::{ContainerSpec, Lab, PodSpec};

use crate::{
    agent::Agent,
    checks::{config, sockets, space, web},
    runtimes::namespace,
};

const UP: &str = "pitot_httpcheck_up";
const WEB: &str = r#"
[pipeline.web]
input = "httpcheck"
interval = "200ms"
url = "http://127.0.0.1:8080/{pod}"
target = { namespace = "SPACE", pod = "web-*" }
"#;
/// How long ago a runtime has said something.
const AGE: &str = "pitot_agent_containers_source_age_seconds";
const CALLS: &str = "pitot_agent_containers_source_calls_total";
/// How soon a start or a stop is to be seen; on a machine that others use, three times that.
const SOON: Duration = Duration::from_secs(1);

pub(crate) fn pods_are_seen_when_they_start_and_stop(lab: &Lab) {
    let agent = Agent::start(&config(lab, WEB));
    let before = agent.scrape().sum(CALLS, &[]);
    let mut slowest = Duration::ZERO;
    let names = ["web-1", "web-2", "web-3"];
    for name in names {
        let pod = web(lab, name);
        let began = Instant::now();
        agent.wait("it is seen", |page| page.value(UP, &[("pod", name)]) == Some(1.0));
        slowest = slowest.max(began.elapsed());
        pod.delete().unwrap();
        let began = Instant::now();
        agent.wait("its end is seen", |page| page.all(UP, &[("pod", name)]).is_empty());
        slowest = slowest.max(began.elapsed());
    }
    println!("the slowest took {} ms to be seen and checked", slowest.as_millis());
    assert!(slowest < 3 * SOON, "{slowest:?}");
    // Each time the sandbox and its container start, and both end.
    let (calls, changes) = (agent.scrape().sum(CALLS, &[]) - before, 4 * names.len());
    println!("{calls} calls to the runtime for {changes} changes");
    assert!(calls <= 2.0 * changes as f64, "{calls} calls for {changes} changes");
}

pub(crate) fn a_pod_is_deleted_under_a_check(lab: &Lab) {
    // Connections are taken by the kernel, and nobody ever answers.
    let spec = PodSpec::new(&space(), "web-stuck");
    let line = "mkfifo /tmp/never; exec nc -l -p 8080 < /tmp/never";
    let pod = lab.pod(&spec.with(ContainerSpec::shell("server", line))).unwrap();
    let network = namespace(pod.sandbox.pid, "net");
    let beside = web(lab, "web-beside");
    let agent = Agent::start(&config(lab, &format!("{WEB}timeout = \"20s\"\n")));
    let inside = |agent: &Agent| {
        let is_inside = |pid: &u32| {
            fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|namespace| namespace.ino() == network)
        };
        agent.helpers().into_iter().filter(is_inside).count()
    };
    agent.wait("the other is up and a helper waits in this one", |page| {
        page.value(UP, &[("pod", "web-beside")]) == Some(1.0) && inside(&agent) > 0
    });
    pod.delete().unwrap();
    // It is not held up by the check, and neither is a helper kept in namespaces that nobody else has.
    agent.wait("nothing is left of it", |page| {
        page.all(UP, &[("pod", "web-stuck")]).is_empty() && inside(&agent) == 0
    });
    assert_eq!(agent.scrape().value(UP, &[("pod", "web-beside")]), Some(1.0));
    beside.delete().unwrap();
}

pub(crate) fn a_runtime_restarts_under_the_agent(lab: &Lab) {
    let first = web(lab, "web-first");
    let agent = Agent::start(&config(lab, WEB));
    let up =
        |name: &'static str| agent.wait("it is up", |page| page.value(UP, &[("pod", name)]) == Some(1.0));
    up("web-first");
    let checks = |page: &crate::page::Page| page.sum("pitot_httpcheck_checks_total", &[("result", "up")]);
    lab.containerd_stop();
    // What is known stays, and is checked on.
    let before = checks(&agent.scrape());
    let page = agent.wait("it goes on without the runtime", |page| checks(page) > before + 10.0);
    assert_eq!(page.value(UP, &[("pod", "web-first")]), Some(1.0));
    agent.wait("how old its word is can be seen", |page| page.sum(AGE, &[]) > 1.0);
    lab.containerd_start().unwrap();
    let second = web(lab, "web-second");
    up("web-second");
    up("web-first");
    first.delete().unwrap();
    second.delete().unwrap();
}

pub(crate) fn there_is_no_runtime(lab: &Lab) {
    let missing = lab.folder().join("missing.sock");
    let agent = Agent::start(&sockets(&missing, WEB));
    // The agent says so, and otherwise runs.
    for _ in 0..3 {
        assert_eq!(agent.scrape().value("pitot_agent_input_up", &[("input", "agent")]), Some(1.0));
        thread::sleep(Duration::from_millis(200));
    }
    // A pod is found all the same: its runtime's own files say what it is called.
    let pod = web(lab, "web-quiet");
    agent.wait("it is up", |page| page.value(UP, &[("pod", "web-quiet")]) == Some(1.0));
    pod.delete().unwrap();
}
