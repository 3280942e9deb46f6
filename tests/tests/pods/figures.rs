//! What it costs. Nothing here fails for being slow: times belong to the machine that they were taken on.

use std::{fs, thread, time::Duration};

use xtask::pods::{Lab, Pod};

use crate::{
    agent::Agent,
    checks::{config, pipeline, web},
};

const UP: &str = "pitot_httpcheck_up";

/// Nanoseconds of CPU that an agent and its helpers have had.
fn taken(agent: &Agent) -> u64 {
    let of = |pid: u32| -> u64 {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let times = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
        times.filter_map(|times| times.split(' ').next()?.parse::<u64>().ok()).sum()
    };
    agent.helpers().into_iter().chain([agent.pid()]).map(of).sum()
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
    let checks = |page: &crate::page::Page| {
        page.sum("pitot_httpcheck_checks_total", &[]) + page.sum("pitot_dialcheck_checks_total", &[])
    };
    let (before, began) = (taken(&agent), checks(&agent.scrape()));
    thread::sleep(measured);
    let (cpu, done) = (taken(&agent) - before, checks(&agent.scrape()) - began);
    let seconds = measured.as_secs_f64();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let helpers = agent.helpers();
    println!("{pods} pods, {per_pod} checks each: {:.2} % of a CPU", cpu as f64 / 1e7 / seconds);
    println!("{done} checks were counted, which makes {:.3} ms of CPU for each", cpu as f64 / 1e6 / done);
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

/// Takes a minute, and is made only when it is asked for by name.
pub(crate) fn a_hundred_pods(lab: &Lab) {
    let pods: Vec<Pod> = (0..100).map(|number| web(lab, &format!("many-{number}"))).collect();
    let mut lines = String::new();
    for (name, input, options) in [
        ("web", "httpcheck", "url = \"http://127.0.0.1:8080/{pod}\""),
        ("dial", "dialcheck", "ports = [\"8080\"]"),
        ("queues", "sockets", ""),
    ] {
        lines += &pipeline(name, input, "5s", "pod = \"many-*\"", options);
    }
    print(lab, pods.len(), &lines, 3, Duration::from_secs(20));
    for pod in pods {
        pod.delete().unwrap();
    }
}
