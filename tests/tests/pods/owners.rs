//! Metrics of control groups say whose they are, under the agent's names and under cAdvisor's.

use xtask::pods::{ContainerSpec, Lab, PodSpec};

use crate::{
    agent::Agent,
    checks::{config, space},
};

const TASKS: &str = "pitot_cgroup_pids";
const THREADS: &str = "container_threads";

pub(crate) fn control_groups_have_the_labels_of_their_pods(lab: &Lab) {
    let space = space();
    let pod = |name: &str, team: &str| {
        let spec = PodSpec::new(&space, name).label("team", team);
        lab.pod(&spec.with(ContainerSpec::web("server", 8080, name))).unwrap()
    };
    let first = pod("owned-a", "red");
    let lines = "labels = { team = \"label:team\" }\ncadvisor = true\n";
    let agent = Agent::start_with(&config(lab, lines), &["cgroup", "cadvisor"]);
    let server = |name: &'static str, team: &'static str| {
        [
            ("namespace", space.clone()),
            ("pod", name.into()),
            ("container", "server".into()),
            ("team", team.into()),
        ]
    };
    let says = |metric: &str, name: &'static str, team: &'static str| {
        let labels = server(name, team);
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        agent.wait(&format!("{metric} of {name}"), |page| page.value(metric, &labels).is_some());
        let page = agent.scrape();
        let series = page.all(metric, &labels)[0].clone();
        // A web server of one process, as that of the lab is.
        assert_eq!(series.value, 1.0, "{series:?}");
        series
    };
    let ours = says(TASKS, "owned-a", "red");
    let theirs = says(THREADS, "owned-a", "red");
    assert_eq!(ours.labels["cgroup"], theirs.labels["id"]);
    assert!(theirs.labels["id"].ends_with(&theirs.labels["name"]), "{theirs:?}");
    assert!(!theirs.labels["image"].is_empty(), "{theirs:?}");
    // One that comes while the agent runs gets its labels, and takes them along.
    let second = pod("owned-b", "blue");
    says(TASKS, "owned-b", "blue");
    says(THREADS, "owned-b", "blue");
    second.delete().unwrap();
    agent.wait("nothing is left of it", |page| page.all(TASKS, &[("pod", "owned-b")]).is_empty());
    first.delete().unwrap();
}
