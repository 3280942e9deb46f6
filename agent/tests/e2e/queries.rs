//! Queries in the configuration and in tasks.

use std::{fs, thread, time::Duration};

use serde_json::Value;

use crate::{
    agent::{Agent, LONG, pitot},
    exposition::Exposition,
};

const SQL: &str = "SELECT sum(rate(cpu_seconds_total)) AS cpu_busy_ratio FROM cpu WHERE mode != 'idle' GROUP BY cpu WINDOW 1s";

/// The same as SQL and as data, and something computed of the first.
fn config(sql: &str) -> String {
    format!(
        r#"
[pipeline.busy]
input = "cpu"
interval = "100ms"
sql = "{sql}"

[pipeline.data]
input = "cpu"
interval = "100ms"
prefix = "data_"
select = [{{ metric = "cpu_seconds_total", as = "cpu_busy_ratio", agg = "sum", of = "rate" }}]
where = {{ not = {{ equals = {{ label = "mode", to = "idle" }} }} }}
group_by = ["cpu"]
window = "1s"

[pipeline.busiest]
from = "busy"
sql = "SELECT max(node_cpu_busy_ratio) AS cpu_busiest_ratio, count(node_cpu_busy_ratio) AS cpus FROM busy"
tags = {{ site = "a" }}
"#
    )
}

fn labels(read: &Exposition, name: &str) -> Vec<String> {
    let mut all: Vec<_> = read
        .series
        .iter()
        .filter(|series| series.name == name)
        .map(|series| series.labels["cpu"].clone())
        .collect();
    all.sort();
    all
}

fn status(agent: &Agent) -> Value {
    serde_json::from_slice(&agent.get("/status").body).unwrap()
}

/// Collections of a pipeline.
fn ticks(agent: &Agent, pipeline: &str) -> f64 {
    let read = Exposition::read(&agent.page());
    read.value("pitot_agent_input_ticks_total", &[("input", pipeline)]).unwrap()
}

fn wait(agent: &Agent, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = std::time::Instant::now();
    loop {
        let status = status(agent);
        if wanted(&status) {
            return status;
        }
        assert!(start.elapsed() < LONG, "still not: {what}: {:#}", status["config"]);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sql_data_and_frames_deliver_their_results() {
    let agent = Agent::start(&config(SQL), &[]);
    let page = agent.wait_for("the first window of all", |page| {
        ["node_cpu_busy_ratio{", "data_cpu_busy_ratio{", "cpu_busiest_ratio{"]
            .iter()
            .all(|name| page.contains(name))
    });
    let read = Exposition::read(&page);
    let cpus = labels(&read, "node_cpu_busy_ratio");
    assert!(!cpus.is_empty());
    assert_eq!(labels(&read, "data_cpu_busy_ratio"), cpus);
    for cpu in &cpus {
        for name in ["node_cpu_busy_ratio", "data_cpu_busy_ratio"] {
            let busy = read.value(name, &[("cpu", cpu)]).unwrap();
            // The kernel counts in ticks, so that a window may have one too many.
            assert!((0.0..=1.3).contains(&busy), "{name} of {cpu}: {busy}");
        }
    }
    assert_eq!(read.value("cpus", &[("site", "a")]), Some(cpus.len() as f64));
    let busiest = read.value("cpu_busiest_ratio", &[("site", "a")]).unwrap();
    assert!((0.0..=1.3).contains(&busiest), "{busiest}");
    // What the input itself delivers is as it was.
    assert!(read.has("node_cpu_seconds_total"));
}

#[test]
fn a_reload_of_the_sql_rebuilds_that_pipeline_and_a_broken_one_nothing() {
    let agent = Agent::start(&config(SQL), &[]);
    agent.wait_for("results", |page| page.contains("node_cpu_busy_ratio{"));
    let before = ticks(&agent, "data");
    agent.configure(&config(&SQL.replace("WINDOW 1s", "WINDOW 500ms")));
    let now = wait(&agent, "it is changed", |status| {
        !status["config"]["changes"]["changed"].as_array().unwrap().is_empty()
    });
    let pipelines = now["config"]["pipelines"].as_array().unwrap();
    let busiest = pipelines.iter().find(|pipeline| pipeline["pipeline"] == "busiest").unwrap();
    assert_eq!(busiest["from"], "busy");
    assert_eq!(busiest["settings"]["tags"], "{ \"site\" = \"a\" }");
    let busy = pipelines.iter().find(|pipeline| pipeline["pipeline"] == "busy").unwrap();
    assert_eq!(busy["queries"][0], SQL.replace("WINDOW 1s", "WINDOW 500ms"));
    let changes = &now["config"]["changes"];
    assert_eq!(changes["changed"], serde_json::json!([{ "pipeline": "busy", "keys": ["sql"] }]));
    assert_eq!(
        (changes["added"].clone(), changes["removed"].clone()),
        (Value::from(Vec::<Value>::new()), changes["added"].clone())
    );
    assert!(ticks(&agent, "data") >= before);
    agent.wait_for("it goes on", |page| {
        page.contains("node_cpu_busy_ratio{") && page.contains("cpu_busiest_ratio{")
    });

    agent.configure(&config(&SQL.replace("WHERE", "WERE")));
    let broken = wait(&agent, "it is refused", |status| status["config"]["is_current"] == false);
    let problem = broken["config"]["problems"][0].as_str().unwrap();
    let column = format!("sql = \"{SQL}").find("WHERE").unwrap() + 1;
    assert!(
        problem.contains(&format!("pitot.toml:5:{column}: ")) && problem.contains("did you mean WHERE?"),
        "{problem}"
    );
    let ticked = ticks(&agent, "busy");
    agent.wait_for("all goes on", |page| {
        let read = Exposition::read(page);
        read.value("pitot_agent_input_ticks_total", &[("input", "busy")]) > Some(ticked)
            && read.has("node_cpu_busy_ratio")
            && read.has("cpu_busiest_ratio")
    });
}

#[test]
fn tasks_have_queries_on_inputs_and_on_pipelines() {
    let folder = tempfile::tempdir().unwrap();
    let busy = r#"{"key":"shop-busy","config":{"input":"cpu","executeRule":{"type":"fixedRate","fixedRate":"100ms"},
        "select":[{"metric":"cpu_seconds_total","as":"busy","agg":"sum","of":"rate"}],
        "where":{"not":{"equals":{"label":"mode","to":"idle"}}},"groupBy":["cpu"],"transform":{"prefix":"shop_"}}}"#;
    let load = "key = \"load\"\n[config]\nfrom = \"loadavg\"\nsql = \"SELECT max(node_load1) AS highest_load FROM loadavg\"\n";
    fs::write(folder.path().join("a.json"), busy).unwrap();
    fs::write(folder.path().join("b.toml"), load).unwrap();
    let agent = Agent::start(&format!("[tasks]\ndirectory = \"{}\"\n", folder.path().display()), &[]);
    agent.wait_for("both", |page| page.contains("shop_busy{") && page.contains("\nhighest_load "));

    fs::write(folder.path().join("b.toml"), load.replace("max(", "maxx(")).unwrap();
    let stale = wait(&agent, "it is stale", |status| status["config"]["tasks"][1]["state"] == "stale");
    let reason = stale["config"]["tasks"][1]["reason"].as_str().unwrap();
    assert!(reason.starts_with("4:7: in the SQL, line 1, column 8: there is no function `maxx`"), "{reason}");
    assert!(agent.page().contains("\nhighest_load "));
}

#[test]
fn a_check_shows_queries_as_they_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pitot.toml");
    fs::write(&file, config(&SQL.to_ascii_lowercase())).unwrap();
    let run = |more: &[&str]| {
        let args = [&["check", "--no-ebpf", "--config", file.to_str().unwrap()], more].concat();
        let output = pitot(&args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("    sql = \"SELECT sum(rate(cpu_seconds_total)) AS cpu_busy_ratio FROM cpu"),
        "{text}"
    );
    assert!(text.lines().any(|line| line.starts_with("busiest ") && line.contains("from busy, ")), "{text}");
    let (_, json) = run(&["--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let of = |key: &str| {
        let pipelines = json["pipelines"].as_array().unwrap();
        pipelines.iter().find(|pipeline| pipeline["pipeline"] == key).unwrap().clone()
    };
    assert_eq!(of("busiest")["from"], "busy");
    assert_eq!(of("busy")["transform"], serde_json::json!([["sql", format!("\"{SQL}\"")]]));
    assert_eq!(of("data")["transform"][1], of("busy")["transform"][0]);
}
