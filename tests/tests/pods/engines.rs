//! Containers that are in no pod.

use xtask::pods::{Engine, Lab};

use crate::agent::Agent;

pub(crate) fn containers_of_docker(lab: &Lab) {
    answer(lab, lab.docker().unwrap(), "docker");
}

pub(crate) fn containers_of_podman(lab: &Lab) {
    answer(lab, lab.podman().unwrap(), "podman");
}

fn answer(lab: &Lab, engine: &Engine, runtime: &str) {
    let line =
        |name: &str| format!("mkdir /www && echo {name} > /www/{name} && exec httpd -f -p 8080 -h /www");
    let start = |name: &str| engine.run(name, &line(name), &[("app", "alone")]).unwrap();
    let first = start("alone-1");
    let lines = format!(
        r#"
[pods]
sockets = ["{socket}"]
[pipeline.web]
input = "httpcheck"
interval = "200ms"
url = "http://127.0.0.1:8080/{{container}}"
target = {{ runtime = "{runtime}", container = "alone-*", labels = {{ app = "alone" }} }}
"#,
        socket = engine.socket().display()
    );
    let agent = Agent::start(lab, &lines);
    let up = |name: &str| {
        agent.wait(name, |page| page.value("pitot_httpcheck_up", &[("container", name)]) == Some(1.0));
    };
    up("alone-1");
    let second = start("alone-2");
    up("alone-2");
    engine.remove(&first).unwrap();
    agent.wait("its end is seen", |page| {
        page.all("pitot_httpcheck_up", &[("container", "alone-1")]).is_empty()
    });
    engine.remove(&second).unwrap();
}
