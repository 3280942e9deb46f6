//! Containers that are in no pod.

use xtask::pods::{Engine, Lab};

use crate::{agent::Agent, checks::sockets};

pub(crate) fn containers_of_docker(lab: &Lab) {
    answer(lab.docker().unwrap(), "docker");
}

pub(crate) fn containers_of_podman(lab: &Lab) {
    answer(lab.podman().unwrap(), "podman");
}

fn answer(engine: &Engine, runtime: &str) {
    let line =
        |name: &str| format!("mkdir /www && echo {name} > /www/{name} && exec httpd -f -p 8080 -h /www");
    // Others may have containers of such names as well.
    let [first, second] = [1, 2].map(|number| format!("alone-{}-{number}", std::process::id()));
    let start = |name: &str| engine.run(name, &line(name), &[("app", "alone")]).unwrap();
    let running = start(&first);
    let lines = format!(
        r#"
[pipeline.web]
input = "httpcheck"
interval = "200ms"
url = "http://127.0.0.1:8080/{{container}}"
target = {{ runtime = "{runtime}", container = "alone-{}-*", labels = {{ app = "alone" }} }}
"#,
        std::process::id()
    );
    let agent = Agent::start(&sockets(engine.socket(), &lines));
    let up = |name: &str| {
        agent.wait(name, |page| page.value("pitot_httpcheck_up", &[("container", name)]) == Some(1.0));
    };
    up(&first);
    let also = start(&second);
    up(&second);
    engine.remove(&running).unwrap();
    agent.wait("its end is seen", |page| page.all("pitot_httpcheck_up", &[("container", &first)]).is_empty());
    engine.remove(&also).unwrap();
}
