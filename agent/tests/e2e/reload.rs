//! A configuration that changes under a running agent.

use std::{fs, os::unix::fs::symlink, path::Path, thread, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    agent::{Agent, LONG, trees},
    client::request,
    exposition::Exposition,
};

const ONE: &str =
    "[input.loadavg]\ninterval = \"100ms\"\n[pipeline.second]\ninput = \"loadavg\"\nprefix = \"second_\"\n";

fn start(config: &str) -> Agent {
    let trees = trees("small");
    Agent::start(config, &trees.iter().map(String::as_str).collect::<Vec<_>>())
}

fn status(agent: &Agent) -> Value {
    serde_json::from_slice(&agent.get("/status").body).unwrap()
}

/// Asks again and again until the status is as wanted.
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

fn names(of: &Value) -> Vec<String> {
    of.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Ticks that a pipeline has taken.
fn ticks(agent: &Agent, input: &str) -> f64 {
    let read = Exposition::read(&agent.page());
    read.value("pitot_agent_input_ticks_total", &[("input", input)]).unwrap()
}

#[test]
fn a_signal_adds_changes_and_removes_without_touching_the_others() {
    let agent = start(&format!("{ONE}[reload]\nwatch = false\n"));
    agent.wait_for("ticks", |page| {
        Exposition::read(page).value("pitot_agent_input_ticks_total", &[("input", "loadavg")]) > Some(3.0)
    });
    let before = ticks(&agent, "loadavg");
    let third = ONE.replace("second", "third").replace("[input.loadavg]\ninterval = \"100ms\"\n", "");
    agent.configure(&format!("{ONE}{third}[input.uname]\nprefix = \"other_\"\n[reload]\nwatch = false\n"));
    agent.signal(Signal::SIGHUP);
    let status = wait(&agent, "the third", |status| {
        status["config"]["changes"]["added"] == serde_json::json!(["third"])
    });
    let changes = &status["config"]["changes"];
    assert_eq!(changes["changed"][0]["pipeline"], "uname");
    assert_eq!(changes["changed"][0]["keys"], serde_json::json!(["prefix"]));
    let page = agent.page();
    let read = Exposition::read(&page);
    assert!(read.has("third_load1") && read.has("second_load1") && read.has("other_uname_info"), "{page}");
    assert!(!read.has("node_uname_info"));
    assert!(ticks(&agent, "loadavg") >= before, "its counters go on");

    agent.configure("[input.loadavg]\ninterval = \"100ms\"\n[reload]\nwatch = false\n");
    agent.signal(Signal::SIGHUP);
    let status = wait(&agent, "two are gone", |status| {
        !status["config"]["changes"]["removed"].as_array().unwrap().is_empty()
    });
    assert_eq!(names(&status["config"]["changes"]["removed"]), ["second", "third"]);
    let read = Exposition::read(&agent.page());
    assert!(!read.has("third_load1") && !read.has("second_load1") && read.has("node_load1"));
    assert!(ticks(&agent, "loadavg") >= before);
}

#[test]
fn a_changed_file_is_noticed_and_a_broken_one_changes_nothing() {
    let agent = start(ONE);
    assert!(Exposition::read(&agent.page()).has("second_load1"));
    agent.configure("[pipeline.second]\ninput = \"loadavgg\"\n");
    let broken = wait(&agent, "it is said", |status| status["config"]["is_current"] == false);
    let problem = broken["config"]["problems"][0].as_str().unwrap();
    assert!(
        problem.ends_with("pitot.toml:2:9: unknown input `loadavgg`: did you mean `loadavg`?"),
        "{problem}"
    );
    let page = agent.page();
    let read = Exposition::read(&page);
    assert!(read.has("second_load1") && read.has("node_load1"));
    assert_eq!(read.value("pitot_agent_config_current", &[]), Some(0.0));
    assert!(read.value("pitot_agent_reloads_total", &[("result", "refused")]) >= Some(1.0));

    agent.configure(&ONE.replace("second", "fourth"));
    wait(&agent, "it is current", |status| status["config"]["is_current"] == true);
    let read = Exposition::read(&agent.page());
    assert!(read.has("fourth_load1") && !read.has("second_load1"));
}

#[test]
fn what_cannot_change_says_so_and_the_rest_does() {
    let agent = start(ONE);
    agent.configure(&format!("scrape.budget = \"2s\"\n{}", ONE.replace("second", "other")));
    let status = wait(&agent, "the other", |status| {
        status["config"]["changes"]["added"] == serde_json::json!(["other"])
    });
    assert_eq!(names(&status["config"]["changes"]["needs_restart"]), ["scrape.budget"]);
}

#[test]
fn a_request_reloads_where_it_is_allowed_to() {
    let agent = start(ONE);
    let post = |agent: &Agent| request(agent.address, "POST", "/-/reload", &[]).unwrap();
    assert_eq!(post(&agent).status, 403);
    assert_eq!(agent.get("/-/reload").status, 405);

    let open = "[reload]\nendpoint = true\nwatch = false\n";
    let agent = start(&format!("{ONE}{open}"));
    let answer = post(&agent);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let changes: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(changes["changes"]["added"], serde_json::json!([]));
    agent.configure(&format!("{}{open}", ONE.replace("second", "other")));
    let changes: Value = serde_json::from_slice(&post(&agent).body).unwrap();
    assert_eq!(changes["changes"]["added"], serde_json::json!(["other"]));
    agent.configure(&format!("{ONE}{open}intervall = 1\n"));
    let answer = post(&agent);
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("unknown key `intervall`"), "{}", answer.text());
}

fn task(key: &str, prefix: &str) -> String {
    format!(r#"{{"key":"{key}","config":{{"input":"loadavg","transform":{{"metricPrefix":"{prefix}"}}}}}}"#)
}

/// Puts a file in place as an orchestrator or an editor does: whole, by a rename.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn tasks_come_change_break_and_go_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = folder.path().join("tasks.d");
    let agent = start(&format!("[tasks]\ndirectory = \"{}\"\n", tasks.display()));
    let state = |status: &Value, key: &str| {
        let tasks = status["config"]["tasks"].as_array().unwrap().clone();
        tasks.iter().find(|task| task["task"] == key).map(|task| task["state"].as_str().unwrap().to_owned())
    };
    // The directory is made later.
    fs::create_dir(&tasks).unwrap();
    replace(&tasks.join("a.json"), &task("a", "a_"));
    replace(
        &tasks.join("b.toml"),
        "key = \"b\"\n[config]\ninput = \"loadavg\"\n[config.transform]\nprefix = \"b_\"\n",
    );
    agent.wait_for("both run", |page| page.contains("\na_load1 ") && page.contains("\nb_load1 "));

    replace(&tasks.join("a.json"), &task("a", "a_").replace("input", "inptu"));
    wait(&agent, "a is stale", |status| state(status, "a").as_deref() == Some("stale"));
    let page = agent.page();
    assert!(page.contains("\na_load1 ") && page.contains("\nb_load1 "), "{page}");
    let read = Exposition::read(&page);
    assert_eq!(read.value("pitot_agent_tasks", &[("state", "stale")]), Some(1.0));
    let why = status(&agent)["config"]["tasks"][0]["reason"].as_str().unwrap().to_owned();
    assert!(why.starts_with("1:28: unknown field `inptu`"), "{why}");

    replace(&tasks.join("a.json"), &task("a", "c_"));
    agent.wait_for("a has changed", |page| page.contains("\nc_load1 ") && !page.contains("\na_load1 "));
    fs::remove_file(tasks.join("b.toml")).unwrap();
    agent.wait_for("b is gone", |page| !page.contains("\nb_load1 "));
}

#[test]
fn links_that_are_swapped_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let version = |name: &str, text: &str| {
        let dir = folder.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("a.json"), text).unwrap();
    };
    // As Kubernetes lays out a ConfigMap.
    version("..1", &task("a", "one_"));
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/a.json", folder.path().join("a.json")).unwrap();
    let agent = start(&format!("[tasks]\ndirectory = \"{}\"\n", folder.path().display()));
    agent.wait_for("the first", |page| page.contains("\none_load1 "));
    version("..2", &task("a", "two_"));
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    agent.wait_for("the second", |page| page.contains("\ntwo_load1 ") && !page.contains("\none_load1 "));
}
