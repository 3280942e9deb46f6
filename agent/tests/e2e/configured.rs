//! A configuration in which nothing is at its default.

use crate::{
    agent::{Agent, trees},
    exposition::Exposition,
};

const CONFIG: &str = r#"
[scrape]
budget = "2s"

[input.loadavg]
interval = "2s"
offset = "100ms"
deadline = "150ms"
prefix = "host_"
allow = ["load*"]
deny = ["load1?"]
tags = { site = 'a "b" \ c', zone = "ü" }

[input.netdev]
max_series = 2
device_exclude = "^ifb"

[input.vmstat]
fields = "^pgfault$"

[input.stat]
softirq = true

[input.meminfo]
enabled = false
"#;

fn start() -> Agent {
    let trees = trees("small");
    Agent::start(CONFIG, &trees.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn names_tags_filters_bounds_and_options_are_as_configured() {
    let agent = start();
    // Its first tick may be almost two seconds away.
    let page = agent.wait_for("the scheduled input delivers", |page| page.contains("host_load1"));
    let read = Exposition::read(&page);
    assert!(read.value("host_load1", &[("site", "a \"b\" \\ c"), ("zone", "ü")]).is_some(), "{page}");
    for absent in ["host_load15", "node_load1", "node_memory_MemTotal_bytes", "node_vmstat_pgmajfault"] {
        assert!(!read.has(absent), "{absent}");
    }
    assert!(read.has("node_vmstat_pgfault") && read.has("node_softirqs_total"), "{page}");
    let devices = read.series.iter().filter(|series| series.name == "node_network_receive_bytes_total");
    let devices: Vec<_> = devices.map(|series| series.labels["device"].clone()).collect();
    assert_eq!(devices, ["lo", "eth0"]);
    let state = [("input", "meminfo"), ("state", "off")];
    assert_eq!(read.value("pitot_agent_input_info", &state), Some(1.0));
}

#[test]
fn past_the_bound_series_fold_into_one_and_are_counted() {
    let trees = trees("small");
    let config = "[input.netdev]\nmax_series = 1\n";
    let agent = Agent::start(config, &trees.iter().map(String::as_str).collect::<Vec<_>>());
    let read = Exposition::read(&agent.page());
    let devices = read.series.iter().filter(|series| series.name == "node_network_receive_bytes_total");
    let devices: Vec<_> = devices.map(|series| series.labels["device"].clone()).collect();
    assert_eq!(devices, ["lo", "other"]);
    let folded = read.value("pitot_agent_input_folded_samples_total", &[("input", "netdev")]);
    assert!(folded > Some(0.0));
}

#[test]
fn a_scheduled_input_is_collected_by_its_clock_and_shown_at_every_scrape() {
    let agent = start();
    agent.wait_for("the scheduled input delivers", |page| page.contains("host_load1"));
    let age = || {
        let read = Exposition::read(&agent.page());
        assert!(read.has("host_load1"), "it is not shown between its ticks");
        read.value("pitot_agent_input_age_seconds", &[("input", "loadavg")]).unwrap()
    };
    // A scrape does not collect it: its age grows from one to the next, unless a tick lies in between.
    let grew = (0..5).any(|_| {
        let (first, second, third) = (age(), age(), age());
        first < second && second < third
    });
    assert!(grew);
    let status: serde_json::Value = serde_json::from_slice(&agent.get("/status").body).unwrap();
    let inputs = status["inputs"].as_array().unwrap();
    let loadavg = inputs.iter().find(|report| report["input"] == "loadavg").unwrap();
    assert_eq!(loadavg["interval_seconds"], 2.0);
    // And its clock goes on.
    let old = age();
    agent.wait_for("the next tick", |page| {
        let now = Exposition::read(page).value("pitot_agent_input_age_seconds", &[("input", "loadavg")]);
        now < Some(old)
    });
}
