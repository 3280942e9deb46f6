//! Checks of a running agent: executed by helpers, at a pace of their own.

use serde_json::Value;

use crate::{
    agent::{Agent, is_root, pitot},
    exposition::Exposition,
};

const CHECK: &str = "[pipeline.space]\ninput = \"disk\"\ninterval = \"1s\"\nprefix = \"own_\"\n";

#[test]
fn a_check_of_the_host_is_executed_and_shown() {
    let agent = Agent::start(CHECK, &[]);
    let page = agent.wait_for("the first result", |page| page.contains("own_executed"));
    let read = Exposition::read(&page);
    assert_eq!(read.value("own_executed", &[]), Some(1.0), "{page}");
    assert!(read.has("own_size_bytes"), "{page}");
    let status: Value = serde_json::from_slice(&agent.get("/status").body).unwrap();
    let inputs = status["inputs"].as_array().unwrap();
    let space = inputs.iter().find(|input| input["input"] == "space").unwrap();
    assert_eq!(space["debug"]["targets"][0]["outcome"], "executed");
}

#[test]
fn a_check_that_comes_later_than_the_helpers_says_so() {
    let agent = Agent::start("[reload]\nwatch = true\n", &[]);
    agent.configure(CHECK);
    let page = agent.wait_for("the state of the check", |page| page.contains("input=\"space\""));
    let read = Exposition::read(&page);
    assert!(!read.has("own_executed") && !read.has("own_size_bytes"), "{page}");
    let mut lines = page.lines().filter(|line| line.contains("input_info{input=\"space\""));
    assert!(lines.all(|line| line.contains("unsupported") && line.contains("restart")), "{page}");
}

#[test]
fn a_configuration_with_targets_is_explained() {
    if !is_root() {
        eprintln!("not root: helpers enter nothing");
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("{CHECK}[pipeline.pods]\ninput = \"disk\"\ntarget = {{ pod = \"no-such-pod\" }}\n");
    std::fs::write(file.path(), text).unwrap();
    let output = pitot(&["--no-ebpf", "--config", file.path().to_str().unwrap(), "check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("target the host: executed"), "{said}");
    assert!(said.contains("input disk, when scraped, checked every 15s"), "{said}");
    assert!(said.contains("target = { pod = \"no-such-pod\" }"), "{said}");
}
