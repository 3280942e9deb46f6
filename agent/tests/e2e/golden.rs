//! What is printed for recorded hosts. `BLESS=1` accepts a change.

use std::{collections::BTreeSet, env, fs};

use pitot::{catalogue::Kind, input::INPUTS};

use crate::agent::{pitot, trees, workspace};

/// Compares with a file below `tests/golden`, or writes it.
fn compare(file: &str, actual: &str) {
    let path = workspace().join("tests/golden").join(file);
    if env::var("BLESS").is_ok_and(|bless| bless == "1") {
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let known: BTreeSet<&str> = expected.lines().collect();
    let now: BTreeSet<&str> = actual.lines().collect();
    let mut differences: Vec<String> = known.difference(&now).map(|line| format!("- {line}")).collect();
    differences.extend(now.difference(&known).map(|line| format!("+ {line}")));
    assert!(
        expected == actual,
        "{file} differs (BLESS=1 accepts):\n{}\n(nothing listed: only the order differs)",
        differences.join("\n")
    );
}

/// Inputs whose values come from the tree alone; the others ask the running kernel.
const RECORDED: &str = "cpu,stat,loadavg,pressure,meminfo,vmstat,diskstats,filesystem,netdev,netstat,sockstat,\
    conntrack,filefd,entropy";

/// The series of a host, and which inputs do not run and why. Types and help are in `names.txt` and in the
/// generated documents; beside the series they would hide what matters.
fn printed(host: &str) -> String {
    let inputs = format!("{RECORDED},agent");
    let output = pitot(&["once", "--no-ebpf", "--input", &inputs]).args(trees(host)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = String::from_utf8(output.stdout).unwrap();
    let folder = workspace().join("tests/fixtures").join(host);
    let folder = folder.to_str().unwrap();
    let mut lines = String::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let is_state = line.starts_with("pitot_agent_input_info") && !line.contains("state=\"running\"");
        if line.starts_with("pitot_agent") && (!is_state || line.contains("state=\"off\"")) {
            continue;
        }
        // How full the file system of the fixtures is depends on the machine.
        let (series, value) = line.rsplit_once(' ').unwrap();
        let live = ["size", "free", "avail", "files"]
            .iter()
            .any(|w| line.starts_with(&format!("node_filesystem_{w}")));
        let value = if live { "(live)" } else { value };
        lines.extend([series.replace(folder, "(host)").as_str(), " ", value, "\n"]);
    }
    lines
}

#[test]
fn a_small_virtual_machine_is_printed_as_ever() {
    compare("small.prom", &printed("small"));
}

#[test]
fn an_odd_host_is_printed_as_ever() {
    compare("odd.prom", &printed("odd"));
}

#[test]
fn no_metric_is_renamed_unnoticed() {
    let mut names: Vec<String> = INPUTS
        .iter()
        .flat_map(|input| input.metrics.iter().map(|metric| (input.prefix, metric)))
        .map(|(prefix, metric)| {
            let kind = match metric.kind {
                Kind::Histogram(_) => "Histogram".to_owned(),
                kind => format!("{kind:?}"),
            };
            let labels: Vec<&str> = metric.labels.iter().map(|label| label.name).collect();
            format!("{prefix}{} {} {}", metric.name, kind.to_lowercase(), labels.join(","))
        })
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    names.sort();
    compare("names.txt", &names.concat());
}
