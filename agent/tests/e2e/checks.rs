//! Checks of a running agent: executed by helpers, at a pace of their own.

use std::net::TcpListener;

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
fn slow_targets_do_not_keep_others_from_being_tried_once() {
    // Connections are taken, and nothing is ever said.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let slow = |name: &str| {
        format!(
            "[pipeline.{name}]\ninput = \"httpcheck\"\nurl = \"http://127.0.0.1:{port}/\"\ntimeout = \"2s\"\n"
        )
    };
    let quick = format!("[pipeline.z]\ninput = \"dialcheck\"\nports = [\"{port}\"]\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [slow("a"), slow("b"), slow("c"), quick].concat()).unwrap();
    let of_file = ["--no-ebpf", "--config", file.path().to_str().unwrap()];
    let checked = pitot(&[&of_file[..], &["check"]].concat()).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(said.matches("target the host: executed").count(), 4, "{said}");
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
