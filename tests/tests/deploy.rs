//! What is deployed agrees with what the agent does by default.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;

use pitot::config::Config;
use xtask::sources;

fn read(name: &str) -> String {
    fs::read_to_string(sources::root().join("deploy").join(name)).unwrap()
}

/// The number between two pieces of text.
fn between(text: &str, before: &str, after: &str) -> f64 {
    let (_, rest) = text.split_once(before).unwrap();
    let (number, _) = rest.split_once(after).unwrap();
    number.parse().unwrap()
}

#[test]
fn the_agent_gives_inputs_up_before_it_is_killed() {
    let budget = Config::default().budget.memory_mib;
    assert!(between(&read("pitot.service"), "\nMemoryMax=", "M\n") > budget);
    assert!(between(&read("daemonset.yaml"), "limits: {memory: ", "Mi}") > budget);
}

#[test]
fn the_service_may_make_the_calls_that_are_not_usual() {
    let service = read("pitot.service");
    let filter = service.lines().find_map(|line| line.strip_prefix("SystemCallFilter=")).unwrap();
    for call in ["bpf", "open_by_handle_at"] {
        assert!(filter.split(' ').any(|allowed| allowed == call), "{filter}");
    }
}

#[test]
fn the_service_may_make_helpers_where_it_is_told_to() {
    let told = fs::read_to_string(sources::root().join("docs/pods.md")).unwrap();
    let service = read("pitot.service") + &read("pods.conf");
    let granted: Vec<&str> = service
        .lines()
        .filter_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .flat_map(|line| line.split(' '))
        .collect();
    let daemonset = read("daemonset.yaml");
    let needed: Vec<&str> = told.split('`').filter(|word| word.starts_with("CAP_")).collect();
    assert!(needed.len() >= 8, "{needed:?}");
    for capability in needed {
        assert!(granted.contains(&capability), "{capability} in {granted:?}");
        assert!(daemonset.contains(capability.trim_start_matches("CAP_")), "{capability}");
    }
}
