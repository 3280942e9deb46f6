//! A mount that hangs, seen from outside.

use std::time::{Duration, Instant};

use crate::{agent::Agent, exposition::Exposition, hung::Hung};

#[test]
fn a_hung_mount_costs_its_own_series_and_neither_scrapes_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let hung = match Hung::mount(&folder.path().join("hung")) {
        Ok(hung) => hung,
        Err(error) => return eprintln!("SKIPPED: no FUSE mount can be made here: {error}"),
    };
    let mut agent = Agent::start("[scrape]\nbudget = \"500ms\"\n", &[]);
    let point = hung.point.to_str().unwrap();
    let mut threads = Vec::new();
    for scrape in 0..10 {
        let start = Instant::now();
        let page = agent.page();
        // The budget, and as much again for a machine that is busy.
        assert!(start.elapsed() < Duration::from_secs(1), "scrape {scrape} took {:?}", start.elapsed());
        let read = Exposition::read(&page);
        assert_eq!(
            read.value("node_filesystem_device_error", &[("mountpoint", point)]),
            Some(1.0),
            "scrape {scrape}: {page}"
        );
        assert!(read.value("node_filesystem_size_bytes", &[("mountpoint", "/")]).is_some(), "{page}");
        for series in read.series.iter().filter(|series| series.name == "pitot_agent_input_info") {
            let state = series.labels["state"].as_str();
            // Some run only when they are asked for.
            let is_shed = state == "off" && series.labels["reason"] != "not enabled";
            assert!(state != "failed" && !is_shed, "scrape {scrape}: {series:?}");
        }
        threads.push(agent.threads());
    }
    assert!(threads.iter().max() <= Some(&(threads[1] + 1)), "{threads:?}");
    let (status, took) = agent.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}
