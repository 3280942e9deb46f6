//! Checks in pods, by the agent's own program.

use std::{fs, net::TcpListener, path::Path, process};

use xtask::pods::{ContainerSpec, Lab, Pod, PodSpec};

use crate::agent::Agent;

/// The namespace of the pods of these tests: others may run containers on the same machine.
pub(crate) fn space() -> String {
    format!("pitot-tests-{}", process::id())
}

/// A configuration that knows the lab's containerd, and more lines, in which `SPACE` is the namespace.
pub(crate) fn config(lab: &Lab, more: &str) -> String {
    sockets(&lab.cri_socket(), more)
}

/// The same with the socket of somebody else.
pub(crate) fn sockets(socket: &Path, more: &str) -> String {
    let socket = socket.display();
    format!("[pods]\nsockets = [\"{socket}\"]\n{more}").replace("SPACE", &space())
}

/// A pipeline of a check that is made so often.
pub(crate) fn pipeline(name: &str, input: &str, interval: &str, target: &str, options: &str) -> String {
    format!(
        "[pipeline.{name}]\ninput = \"{input}\"\ninterval = \"{interval}\"\ntarget = {{ namespace = \"SPACE\", {target} }}\n{options}\n"
    )
}

/// A pod with a server on port 8080 that knows nothing but its own name, both in its root and as a path.
pub(crate) fn web(lab: &Lab, name: &str) -> Pod {
    let line = format!(
        "mkdir -p /www && echo {name} | tee /www/index.html > /www/{name} && exec httpd -f -p 8080 -h /www"
    );
    lab.pod(&PodSpec::new(&space(), name).label("app", "web").with(ContainerSpec::shell("server", &line)))
        .unwrap()
}

pub(crate) fn each_pod_answers_for_itself(lab: &Lab) {
    let pods = ["web-a", "web-b"].map(|name| web(lab, name));
    let agent = Agent::start(&config(
        lab,
        r#"
[pipeline.own]
input = "httpcheck"
interval = "200ms"
url = "http://127.0.0.1:8080/{pod}"
target = { namespace = "SPACE", pod = "web-*" }
[pipeline.other]
input = "httpcheck"
prefix = "other_"
interval = "200ms"
url = "http://127.0.0.1:8080/web-a"
target = { namespace = "SPACE", labels = { app = "web" } }
[pipeline.dial]
input = "dialcheck"
interval = "200ms"
ports = ["8080"]
target = { namespace = "SPACE", pod = "web-*", container = "server" }
"#,
    ));
    let space = space();
    let (a, b) = ([("namespace", &*space), ("pod", "web-a")], [("namespace", &*space), ("pod", "web-b")]);
    let page = agent.wait("both pods answer", |page| {
        page.value("pitot_httpcheck_up", &a) == Some(1.0)
            && page.value("pitot_httpcheck_up", &b) == Some(1.0)
            && page.value("other_up", &a).is_some()
            && page.value("other_up", &b).is_some()
            && page.all("pitot_dialcheck_up", &[]).len() == 2
    });
    // The answer of one is not that of the other.
    assert_eq!(page.value("other_up", &a), Some(1.0));
    assert_eq!(page.value("other_up", &b), Some(0.0));
    assert_eq!(page.value("other_status_code", &b), Some(404.0));
    assert_eq!(page.sum("pitot_httpcheck_executed", &[]), 2.0, "no target but these");
    assert_eq!(page.value("pitot_dialcheck_up", &[("pod", "web-b"), ("container", "server")]), Some(1.0));
    for pod in pods {
        pod.delete().unwrap();
    }
}

pub(crate) fn every_check_runs_in_a_pod(lab: &Lab) {
    // Without, nobody in there may ping without privileges.
    let spec = PodSpec::new(&space(), "every").sysctl("net.ipv4.ping_group_range", "0 2147483647");
    let pod = lab.pod(&spec.with(ContainerSpec::web("server", 8080, "every"))).unwrap();
    // With a metric whose value is known.
    let checks = [
        ("dialcheck", "ports = [\"8080\"]", Some(("up", 1.0))),
        ("ping", "hosts = [\"127.0.0.1\"]", Some(("up", 1.0))),
        // Its server, and nobody who looks at it.
        ("processes", "", Some(("present", 1.0))),
        ("sockets", "", None),
        ("disk", "", None),
        ("jvm", "", None),
        ("dns", "names = [\"localhost\"]", None),
    ];
    let mut more = String::new();
    for (check, options, _) in checks {
        more += &pipeline(
            &format!("of_{check}"),
            check,
            "500ms",
            "pod = \"every\", container = \"server\"",
            options,
        );
    }
    let agent = Agent::start(&config(lab, &more));
    let target = [("pod", "every")];
    for (check, _, known) in checks {
        let name = |metric: &str| format!("pitot_{check}_{metric}");
        let page = agent.wait(check, |page| page.value(&name("executed"), &target).is_some());
        let said = page.beginning(&name(""));
        assert_eq!(page.value(&name("executed"), &target), Some(1.0), "{said}\n{}", agent.log());
        if let Some((metric, value)) = known {
            assert_eq!(page.sum(&name(metric), &target), value, "{check} {metric}: {said}");
        }
    }
    pod.delete().unwrap();
}

pub(crate) fn nothing_is_needed_of_an_image(lab: &Lab) {
    let served = lab.folder().join("distroless");
    fs::create_dir_all(&served).unwrap();
    fs::write(served.join("index.html"), "little").unwrap();
    let container = ContainerSpec { user: Some(65_532), ..ContainerSpec::distroless("server", 8080, served) };
    let pod = lab.pod(&PodSpec::new(&space(), "little").with(container)).unwrap();
    let agent = Agent::start(&config(
        lab,
        r#"
[pipeline.web]
input = "httpcheck"
interval = "200ms"
url = "http://127.0.0.1:8080/"
body_regex = "little"
target = { namespace = "SPACE", pod = "little" }
[pipeline.inside]
input = "processes"
interval = "200ms"
target = { namespace = "SPACE", pod = "little", container = "server" }
"#,
    ));
    let pod_label = [("pod", "little")];
    agent.wait("it answers", |page| {
        page.value("pitot_httpcheck_up", &pod_label) == Some(1.0)
            && page.value("pitot_processes_executed", &pod_label) == Some(1.0)
    });
    pod.delete().unwrap();
}

pub(crate) fn a_pod_with_the_hosts_network(lab: &Lab) {
    // One that nobody listens on now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let spec = PodSpec { host_network: true, ..PodSpec::new(&space(), "proxy") };
    let pod = lab.pod(&spec.with(ContainerSpec::web("server", port, "proxy"))).unwrap();
    let options = format!("url = \"http://127.0.0.1:{port}/\"\nbody_regex = \"proxy\"");
    let agent =
        Agent::start(&config(lab, &pipeline("web", "httpcheck", "200ms", "pod = \"proxy\"", &options)));
    agent.wait("it answers", |page| page.value("pitot_httpcheck_up", &[("pod", "proxy")]) == Some(1.0));
    pod.delete().unwrap();
}

pub(crate) fn a_pod_that_is_down_delays_nobody(lab: &Lab) {
    // A script that answers, and one that never does, so that each check takes its whole timeout.
    let server = |name: &str, script: &str| {
        let page = "/www/cgi-bin/x";
        let line = format!(
            "mkdir -p /www/cgi-bin; printf '{script}' > {page}; chmod +x {page}; exec httpd -f -p 8080 -h /www"
        );
        lab.pod(&PodSpec::new(&space(), name).with(ContainerSpec::shell("server", &line))).unwrap()
    };
    let dead = server("slow-dead", "#!/bin/sh\\nexec sleep 1000\\n");
    let alive = server("slow-alive", "#!/bin/sh\\necho Content-Type: text/plain; echo; echo ok\\n");
    let agent = Agent::start(&config(
        lab,
        r#"
[pipeline.web]
input = "httpcheck"
interval = "200ms"
timeout = "2s"
url = "http://127.0.0.1:8080/cgi-bin/x"
target = { namespace = "SPACE", pod = "slow-*" }
"#,
    ));
    let (up, checks) = ("pitot_httpcheck_up", "pitot_httpcheck_checks_total");
    let (dead_label, alive_label) = ([("pod", "slow-dead")], [("pod", "slow-alive")]);
    let page = agent.wait("one is up, and the other is not", |page| {
        page.value(up, &alive_label) == Some(1.0) && page.value(up, &dead_label) == Some(0.0)
    });
    assert_eq!(page.value("pitot_httpcheck_down", &[dead_label[0], ("reason", "timeout")]), Some(1.0));
    let before = (page.sum(checks, &alive_label), page.sum(checks, &dead_label));
    let page =
        agent.wait("the one that is up goes on", |page| page.sum(checks, &alive_label) >= before.0 + 10.0);
    // Ten of the one fit into two seconds, and at most one or two of the other.
    assert!(page.sum(checks, &dead_label) - before.1 < 5.0, "{}", page.beginning(checks));
    dead.delete().unwrap();
    alive.delete().unwrap();
}
