//! The trees that node_exporter tests itself with, and what it prints for them.

use std::{fs, path::Path, process::Command};

use crate::{
    agent::{pitot, workspace},
    exposition::Exposition,
};

fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
}

/// Prints the page of node_exporter's trees into a file of the folder; none where they are not at hand.
fn page_in(folder: &Path) -> Option<String> {
    let data = workspace().join("../shared/conformance/node_exporter");
    if !data.is_dir() {
        eprintln!("SKIPPED: there is no {}", data.display());
        return None;
    }
    let archive = data.join("fixtures.tar.gz");
    let extracted = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder).status();
    assert!(extracted.unwrap().success());
    let output = pitot(&["once", "--no-ebpf", "--rootfs"]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::write(folder.join("out.prom"), &output.stdout).unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn what_node_exporter_prints_is_printed_with_the_same_names_labels_and_values() {
    let folder = tempfile::tempdir().unwrap();
    if page_in(folder.path()).is_none() {
        return;
    }
    if !runs("python3", "--version") {
        return eprintln!("SKIPPED: there is no python3 to compare with");
    }
    let data = workspace().join("../shared/conformance");
    let mut compared = 0;
    for expected in fs::read_dir(data.join("node_exporter/expected")).unwrap() {
        let expected = expected.unwrap().path();
        let result = Command::new("python3")
            .arg(data.join("compare.py"))
            .arg(&expected)
            .arg(folder.path().join("out.prom"))
            .arg("--extra")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&result.stdout);
        assert!(result.status.success(), "{}:\n{said}", expected.display());
        compared += 1;
    }
    assert!(compared >= 8, "only {compared} collectors were compared");
}

#[test]
fn no_series_is_there_twice_and_every_family_has_type_and_help() {
    let folder = tempfile::tempdir().unwrap();
    let Some(page) = page_in(folder.path()) else { return };
    // Reading panics at the first duplicate.
    let read = Exposition::read(&page);
    assert!(read.series.len() > 400, "{} series", read.series.len());
    assert_eq!(read.types.keys().collect::<Vec<_>>(), read.help.keys().collect::<Vec<_>>());
    for series in &read.series {
        assert!(read.types.contains_key(&series.name), "{} has no type", series.name);
    }
}

#[test]
fn promtool_has_nothing_to_say_about_names_of_our_own() {
    if !runs("promtool", "--version") {
        return eprintln!("SKIPPED: there is no promtool");
    }
    let folder = tempfile::tempdir().unwrap();
    // Root gets the histograms of the kernel programs too; without a pin of their own they end with it.
    let config = folder.path().join("pitot.toml");
    fs::write(&config, "[ebpf]\npin = \"/sys/fs/bpf/pitot-test-none\"\n").unwrap();
    let page = pitot(&["once", "--config"]).arg(&config).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    let ours =
        |line: &&str| line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").starts_with("pitot_");
    let ours: Vec<&str> = page.lines().filter(ours).collect();
    assert!(ours.len() > 100, "{page}");
    fs::write(folder.path().join("own.prom"), ours.join("\n") + "\n").unwrap();
    let stdin = fs::File::open(folder.path().join("own.prom")).unwrap();
    let checked = Command::new("promtool").args(["check", "metrics"]).stdin(stdin).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
}
