//! Outputs beside the pages of scrapers.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::{
    agent::{Agent, LONG, trees},
    exposition::Exposition,
};

fn start(config: &str) -> Agent {
    let trees = trees("small");
    Agent::start(config, &trees.iter().map(String::as_str).collect::<Vec<_>>())
}

fn count(agent: &Agent, what: &str) -> f64 {
    let name = format!("pitot_agent_output_{what}_total");
    Exposition::read(&agent.page()).value(&name, &[("output", "log")]).unwrap_or_default()
}

fn wait(agent: &Agent, what: &str, least: f64) {
    let start = Instant::now();
    while count(agent, what) < least {
        assert!(start.elapsed() < LONG, "{what} stays below {least}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_file_is_appended_to_and_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let agent = start(&format!(
        "[output.log]\nkind = \"file\"\npath = \"{}\"\nmax_bytes = \"2KiB\"\nkeep = 2\n\
         [input.loadavg]\ninterval = \"20ms\"\noutputs = [\"log\"]\n",
        path.display()
    ));
    wait(&agent, "written", 40.0);
    // What goes elsewhere is not on the page.
    assert!(!agent.page().contains("node_load1"));
    let files = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    };
    // They move one after the other, perhaps just now.
    let begun = Instant::now();
    let text = loop {
        let (listed, text) = (files(), fs::read_to_string(folder.path().join("log.1")));
        assert!(listed.len() <= 3, "{listed:?}");
        match text {
            Ok(text) if listed == ["log", "log.1", "log.2"] => break text,
            _ => assert!(begun.elapsed() < Duration::from_secs(10), "{listed:?}"),
        }
    };
    assert!(text.len() <= 2048 && text.starts_with("# loadavg at 20"), "{text}");
    assert!(text.contains("\nnode_load1 "), "{text}");
    assert_eq!((count(&agent, "dropped"), count(&agent, "errors")), (0.0, 0.0));
    // Another program takes the file away.
    fs::rename(&path, folder.path().join("taken")).unwrap();
    wait(&agent, "written", count(&agent, "written") + 2.0);
    assert!(path.exists());
}

#[test]
fn a_full_disk_drops_and_counts_and_nothing_else_notices() {
    let agent = start(
        "[output.log]\nkind = \"file\"\npath = \"/dev/full\"\nformat = \"json\"\n\
         [input.loadavg]\ninterval = \"20ms\"\noutputs = [\"log\", \"prometheus\"]\n",
    );
    wait(&agent, "dropped", 5.0);
    assert!(count(&agent, "errors") >= 5.0 && count(&agent, "written") == 0.0);
    let status: serde_json::Value = serde_json::from_slice(&agent.get("/status").body).unwrap();
    assert!(
        status["outputs"][0]["error"].as_str().unwrap().contains("No space left"),
        "{:#}",
        status["outputs"]
    );
    assert!(agent.page().contains("node_load1"));
}
