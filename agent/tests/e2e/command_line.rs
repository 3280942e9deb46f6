//! Exit codes, messages, and pipes that end early.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    process::{Output, Stdio},
};

use crate::agent::pitot;

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = pitot(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn everything_that_is_wrong_in_a_file_is_said_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    let text = "listn = []\n[scrape]\nbudget = 5\n[input.cpuu]\nenabled = true\n[input.cpu]\ninfo = \"yes\"\n\
        max_series = 0\n[input.vmstat]\nfields = \"(\"\n";
    fs::write(&file, text).unwrap();
    for command in ["run", "once", "check", "inputs", "clean"] {
        let (code, stdout, stderr) = run(&[command, "--no-ebpf", "--config", file.to_str().unwrap()]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command}: {stderr}");
        for (place, word) in [
            ("1:1", "did you mean `listen`"),
            ("3:10", "unit"),
            ("4:8", "did you mean `cpu`"),
            ("7:8", "`info`"),
            ("8:14", "`max_series`"),
            ("10:10", "regular expression"),
        ] {
            let start = format!("{}:{place}: ", file.display());
            let found = stderr.lines().any(|line| line.starts_with(&start) && line.contains(word));
            assert!(found, "{place} {word}:\n{stderr}");
        }
    }
    fs::write(&file, "listen = [\n").unwrap();
    let (code, _, stderr) = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{stderr}");
    assert_eq!(run(&["check", "--config", "/nowhere/pitot.toml"]).0, Some(2));
}

#[test]
fn an_unknown_option_or_input_is_refused() {
    for args in [&["--lissten", "x"][..], &["onec"], &["--listen", "9100"], &["generate", "nothing"]] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
    let (code, _, stderr) = run(&["once", "--input", "laodavg"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("did you mean `loadavg`?"), "{stderr}");
}

#[test]
fn a_port_in_use_is_said_and_ends_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(&["--no-ebpf", "--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
    assert!(stderr.contains("--listen"), "{stderr}");
}

#[test]
fn a_reader_that_goes_early_is_no_error() {
    let mut child =
        pitot(&["once", "--no-ebpf"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panic") && !stderr.contains("cannot write"), "{stderr}");

    // The same for tables and documents, whose reader is gone before they begin.
    for args in [&["inputs", "--no-ebpf"][..], &["check", "--no-ebpf"], &["generate", "metrics-md"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = pitot(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !stderr.contains("panic"), "{args:?}: {stderr}");
    }
}

#[test]
fn nobody_who_hears_its_messages_is_no_error() {
    let empty = tempfile::tempdir().unwrap();
    let procfs = empty.path().to_str().unwrap();
    for (args, code) in [
        // Inputs that fail are logged by the thread that collects.
        (&["once", "--no-ebpf", "--input", "cpu,agent", "--procfs", procfs][..], 0),
        (&["check", "--no-ebpf", "--input", "cpu", "--procfs", procfs], 1),
        (&["check", "--config", "/nowhere/pitot.toml"], 2),
    ] {
        let full = fs::File::create("/dev/full").unwrap();
        let output = pitot(args).stderr(full).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    }
}

#[test]
fn inputs_are_listed_as_json_too() {
    let (code, stdout, _) = run(&["inputs", "--json", "--no-ebpf", "--input", "loadavg"]);
    assert_eq!(code, Some(0));
    let reports: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let loadavg = reports.as_array().unwrap().iter().find(|report| report["input"] == "loadavg").unwrap();
    assert_eq!(loadavg["state"], "running");
}

#[test]
fn a_check_says_what_will_run_and_how() {
    let folder = tempfile::tempdir().unwrap();
    let (file, tasks) = (folder.path().join("pitot.toml"), folder.path().join("tasks.d"));
    fs::create_dir(&tasks).unwrap();
    let config = format!(
        "[tasks]\ndirectory = \"{}\"\n[output.log]\nkind = \"console\"\n[pipeline.fast]\ninput = \"loadavg\"\n\
         interval = \"10s\"\noffset = \"2s\"\ndeny = [\"load15\"]\noutputs = [\"log\"]\n[input.uname]\nenabled = false\n",
        tasks.display()
    );
    fs::write(&file, config).unwrap();
    fs::write(tasks.join("a.json"), r#"{"key":"a","config":{"input":"loadavg"}}"#).unwrap();
    let args = ["check", "--no-ebpf", "--config", file.to_str().unwrap()];
    let (code, stdout, stderr) = run(&args);
    assert_eq!(code, Some(0), "{stderr}");
    for words in [
        "input loadavg, every 10s at 2s, within 250ms, to log, at most 3 series",
        "    deny = [\"load15\"]",
        "off: uname",
        "output log: text to the standard output",
        "the configuration is valid",
    ] {
        assert!(stdout.contains(words), "{words}:\n{stdout}");
    }
    fs::write(tasks.join("b.json"), r#"{"key":"b","config":{"input":"laodavg"}}"#).unwrap();
    let (code, stdout, stderr) = run(&[&args[..], &["--json"]].concat());
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("1 tasks are not"), "{stderr}");
    let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let pipelines = plan["pipelines"].as_array().unwrap();
    let of = |name: &str| pipelines.iter().find(|pipeline| pipeline["pipeline"] == name).unwrap();
    assert_eq!((&of("fast")["interval_seconds"], &of("fast")["series"]), (&10.0.into(), &2.into()));
    assert_eq!(of("a")["state"], "running");
    let wrong = &plan["tasks"][1];
    assert_eq!((&wrong["task"], &wrong["state"]), (&"b".into(), &"refused".into()));
    assert!(wrong["reason"].as_str().unwrap().contains("did you mean `loadavg`?"), "{wrong}");
}
