//! A file of procfs that blocks whoever opens it, as a stuck driver does: here a pipe that nobody writes to.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use crate::{
    agent::{Agent, workspace},
    client::get,
    exposition::Exposition,
};

/// The small host, with a file that blocks.
fn tree(folder: &Path, file: &str) {
    let host = workspace().join("tests/fixtures/small/proc");
    for entry in fs::read_dir(&host).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != file {
            symlink(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    mkfifo(&folder.join(file), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
}

#[test]
fn a_file_that_blocks_costs_its_input_and_one_thread_and_neither_scrapes_nor_status_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), "loadavg");
    // The first collection, at the start, is already held up by it.
    let mut agent = Agent::start("", &["--procfs", folder.path().to_str().unwrap()]);
    let start = Instant::now();
    let status: serde_json::Value = serde_json::from_slice(&agent.get("/status").body).unwrap();
    assert!(status["inputs"].is_array());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());

    let mut threads = Vec::new();
    for scrape in 0..10 {
        let start = Instant::now();
        let read = Exposition::read(&agent.page());
        assert!(start.elapsed() < Duration::from_secs(1), "scrape {scrape} took {:?}", start.elapsed());
        assert!(!read.has("node_load1"));
        let up = |input| read.value("pitot_agent_input_up", &[("input", input)]);
        assert_eq!(up("loadavg"), Some(0.0));
        for input in ["cpu", "meminfo", "netdev", "entropy", "agent"] {
            assert_eq!(up(input), Some(1.0), "scrape {scrape}: {input}");
        }
        assert!(read.value("pitot_agent_input_timeouts_total", &[("input", "loadavg")]) > Some(0.0));
        assert!(read.has("node_memory_MemTotal_bytes") && read.has("node_entropy_available_bits"));
        threads.push(agent.threads());
    }
    assert_eq!(threads.first(), threads.last(), "{threads:?}");
    assert_eq!(agent.get("/healthz").status, 200);
    let (status, took) = agent.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_scraper_that_waits_for_less_than_the_budget_is_refused_before_it_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), "vmstat");
    let config = "[scrape]\nbudget = \"20s\"\n[input.vmstat]\ndeadline = \"20s\"\n";
    let mut agent = Agent::start(config, &["--procfs", folder.path().to_str().unwrap()]);
    let start = Instant::now();
    let header = ("X-Prometheus-Scrape-Timeout-Seconds", "2");
    // Giving up what is slow for its sake would take series away from those who wait for them.
    let refused = get(agent.address, "/metrics", &[header]).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(refused.status, 503, "{}", refused.text());
    // Neither does the end wait for what was promised to others.
    let (status, took) = agent.terminate();
    assert!(status.success() && took < Duration::from_secs(1), "{status} {took:?}");
}
