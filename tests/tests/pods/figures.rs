//! What it costs. Nothing here fails for being slow: times belong to the machine that they were taken on.

use std::{fs, thread, time::Duration};

use xtask::pods::{ContainerSpec, Lab, Pod, PodSpec};

use crate::{
    agent::Agent,
    checks::{config, pipeline, space, web},
};

const UP: &str = "pitot_httpcheck_up";

/// Milliseconds of CPU that an agent has had, and its helpers.
fn taken(agent: &Agent) -> [f64; 2] {
    let of = |pid: u32| -> u64 {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let times = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
        times.filter_map(|times| times.split(' ').next()?.parse::<u64>().ok()).sum()
    };
    [of(agent.pid()), agent.helpers().into_iter().map(of).sum()].map(|nanos| nanos as f64 / 1e6)
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn print(lab: &Lab, pods: usize, pipelines: &str, per_pod: usize, measured: Duration) {
    let agent = Agent::start(&config(lab, pipelines));
    agent.wait("all are up", |page| page.all(UP, &[]).iter().filter(|up| up.value == 1.0).count() == pods);
    // Every helper has been made, and every library touched.
    thread::sleep(measured / 4);
    let checks = |page: &crate::page::Page| page.sum("pitot_agent_helper_requests_total", &[]);
    let (before, began) = (taken(&agent), checks(&agent.scrape()));
    thread::sleep(measured);
    let (after, done) = (taken(&agent), checks(&agent.scrape()) - began);
    let [agents, helpers] = [0, 1].map(|of| after[of] - before[of]);
    let cpu = agents + helpers;
    let seconds = measured.as_secs_f64();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{pods} pods, {per_pod} checks each: {:.2} % of a CPU", cpu / 10.0 / seconds);
    println!("{done} checks were executed, {:.3} ms of CPU each:", cpu / done);
    println!("{:.3} ms in the agent and {:.3} ms in helpers", agents / done, helpers / done);
    let helpers = agent.helpers();
    println!("the agent has {:.1} MiB", mebibytes(resident(agent.pid())));
    println!(
        "{} other processes have {:.1} MiB",
        helpers.len(),
        mebibytes(helpers.iter().copied().map(resident).sum())
    );
}

pub(crate) fn a_warm_check(lab: &Lab) {
    let pod = web(lab, "warm");
    let lines =
        pipeline("web", "httpcheck", "20ms", "pod = \"warm\"", "url = \"http://127.0.0.1:8080/{pod}\"");
    print(lab, 1, &lines, 1, Duration::from_secs(4));
    pod.delete().unwrap();
}

/// Takes two minutes, and is made only when it is asked for by name.
pub(crate) fn a_hundred_pods(lab: &Lab) {
    let pods: Vec<Pod> = (0..100).map(|number| web(lab, &format!("many-{number}"))).collect();
    let web = ("web", "httpcheck", "url = \"http://127.0.0.1:8080/{pod}\"");
    let ready = ("ready", "httpcheck", "prefix = \"ready_\"\nurl = \"http://127.0.0.1:8080/\"");
    let dial = ("dial", "dialcheck", "ports = [\"8080\"]");
    let queues = ("queues", "sockets", "");
    for three in [[web, ready, dial], [web, dial, queues]] {
        println!("{}", three.map(|(_, input, _)| input).join(", "));
        let lines =
            three.map(|(name, input, options)| pipeline(name, input, "5s", "pod = \"many-*\"", options));
        print(lab, pods.len(), &lines.concat(), 3, Duration::from_secs(20));
    }
    for pod in pods {
        pod.delete().unwrap();
    }
}

/// Takes some minutes, and is made only when it is asked for by name.
pub(crate) fn five_hundred_containers(lab: &Lab) {
    const PODS: usize = 50;
    const CONTAINERS: usize = 10;
    let agent = Agent::start(&config(lab, ""));
    let known = |page: &crate::page::Page| page.sum("pitot_agent_containers", &[]);
    let settled = |what: &str, least: usize| {
        agent.wait(what, |page| known(page) >= least as f64);
        thread::sleep(Duration::from_secs(3));
        agent.scrape();
        (known(&agent.scrape()), resident(agent.pid()))
    };
    let (before, empty) = settled("nothing runs yet", 0);
    let pods: Vec<Pod> = (0..PODS)
        .map(|pod| {
            let spec = PodSpec::new(&space(), &format!("crowd-{pod}")).label("app", "crowd");
            let with = |spec: PodSpec, number| {
                spec.with(ContainerSpec::shell(&format!("sleeper-{number}"), "exec sleep 1000000"))
            };
            lab.pod(&(0..CONTAINERS).fold(spec, with)).unwrap()
        })
        .collect();
    let (after, full) = settled("all are known", PODS * CONTAINERS);
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{before} containers: {:.1} MiB, {after}: {:.1} MiB", mebibytes(empty), mebibytes(full));
    for pod in pods {
        pod.delete().unwrap();
    }
}
