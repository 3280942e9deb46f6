use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;
use crate::accumulator::MemoryAccumulator;

/// A check of a program that a test has written.
struct Program {
    dir: tempfile::TempDir,
    exec: Exec,
}

impl Program {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        // A test that forks while this file is open for writing would keep it from being executed.
        let written = dir.path().join("written");
        fs::write(&written, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&written, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(written, &path).unwrap();
        let interpreter = vec!["/bin/sh".to_owned(), path.to_str().unwrap().to_owned()];
        let settings =
            Settings { command: interpreter, timeout: Duration::from_secs(20), ..Settings::default() };
        Self { dir, exec: Exec { settings, in_place: false } }
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.exec.settings);
        self
    }

    /// What the script calls `$0.NAME`.
    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("program.{name}"))
    }

    fn check(&mut self) -> Result<MemoryAccumulator, InputError> {
        let mut acc = MemoryAccumulator::new();
        self.exec.collect(&CollectContext::new(Duration::from_secs(30)), &mut acc).map(|()| acc)
    }
}

fn outcome(acc: &MemoryAccumulator) -> &'static str {
    let is = |name: &&&str| acc.number("outcome", &[name]) == Some(1.0);
    let found: Vec<_> = Outcome::LABELS.iter().filter(is).collect();
    assert_eq!(found.len(), 1);
    found[0]
}

fn number(acc: &MemoryAccumulator, name: &str) -> Option<f64> {
    acc.number(name, &[])
}

fn values(acc: &MemoryAccumulator) -> usize {
    acc.samples().iter().filter(|sample| sample.name == "value").count()
}

/// Whether a process is there and no zombie; its number was written by a script.
fn is_alive(file: &PathBuf) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The kernel ends processes in its own time.
fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
}

#[test]
fn what_it_prints_is_delivered() {
    let acc = Program::new("printf 'queue{name=\"mail\"} 7\\n# c\\nidle 0.5\\nwhat\\n'").check().unwrap();
    assert_eq!(acc.number("value", &["queue", "name=mail"]), Some(7.0));
    assert_eq!(acc.number("value", &["idle", ""]), Some(0.5));
    assert_eq!((number(&acc, "up"), number(&acc, "exit_code"), outcome(&acc)), (Some(1.0), Some(0.0), "ok"));
    assert_eq!((number(&acc, "malformed"), number(&acc, "left_out")), (Some(1.0), Some(0.0)));
    assert_eq!((number(&acc, "executed"), number(&acc, "output_bytes")), (Some(1.0), Some(39.0)));
    let json =
        Program::new("echo '[{\"name\":\"a\",\"value\":3}]'").with(|it| it.format = Format::Json).check();
    assert_eq!(json.unwrap().number("value", &["a", ""]), Some(3.0));
}

#[test]
fn its_surroundings_are_bare() {
    let script = "env | cut -d= -f1 | grep -v -e PWD -e SHLVL -e ^_$ >&2; \
        echo \"variables $(env | grep -c -v -e ^PATH= -e ^PWD= -e ^SHLVL= -e ^_=)\"; \
        echo \"input $(wc -c)\"; echo \"arguments{all=\\\"$*\\\"} $#\"; \
        test \"$(pwd)\" = / && echo folder 1; \
        echo \"group $(cut -d' ' -f5 /proc/$$/stat)\"; echo \"self $$\"";
    let mut program =
        Program::new(script).with(|it| it.command.extend(["a b".to_owned(), "$HOME;*".to_owned()]));
    let acc = program.check().unwrap();
    let value = |name: &str, labels: &str| acc.number("value", &[name, labels]);
    assert_eq!(
        (value("variables", ""), value("input", ""), value("folder", "")),
        (Some(0.0), Some(0.0), Some(1.0))
    );
    assert_eq!(value("arguments", "all=a b $HOME;*"), Some(2.0), "no shell looks at them");
    assert!(value("self", "").is_some());
    assert_eq!(value("group", ""), value("self", ""), "a group of its own");
}

#[test]
fn its_status_is_a_result() {
    let acc = Program::new("echo a 1; exit 3").check().unwrap();
    assert_eq!(
        (number(&acc, "up"), number(&acc, "exit_code"), outcome(&acc)),
        (Some(0.0), Some(3.0), "exit_code")
    );
    assert_eq!(acc.number("value", &["a", ""]), Some(1.0));
    let acc = Program::new("echo a 1; kill -9 $$").check().unwrap();
    assert_eq!((number(&acc, "up"), number(&acc, "exit_code"), outcome(&acc)), (Some(0.0), None, "signal"));
    assert_eq!((values(&acc), number(&acc, "executed")), (0, Some(1.0)));
}

#[test]
fn garbage_is_counted() {
    let acc =
        Program::new("head -c 20000 /dev/urandom | tr '\\000#' 'xx'; echo; echo fine 1").check().unwrap();
    assert_eq!((outcome(&acc), acc.number("value", &["fine", ""])), ("ok", Some(1.0)));
    assert!(number(&acc, "malformed").unwrap() > 10.0);
}

#[test]
fn too_much_output_ends_it() {
    for script in ["echo $$ > $0.pid; yes 'a 1'", "echo $$ > $0.pid; yes >&2"] {
        let mut program = Program::new(script);
        let acc = program.check().unwrap();
        assert_eq!((number(&acc, "up"), outcome(&acc), values(&acc)), (Some(0.0), "output", 0));
        let printed = number(&acc, "output_bytes").unwrap();
        assert!(printed > f64::from(settings::OUTPUT) && printed < 2.0 * f64::from(settings::OUTPUT));
        assert!(!is_alive(&program.file("pid")));
    }
    let exact =
        Program::new("head -c 4095 /dev/zero | tr '\\000' '#'; echo").with(|it| it.output_limit = 4096);
    let mut exact = exact;
    let acc = exact.check().unwrap();
    assert_eq!((outcome(&acc), number(&acc, "output_bytes")), ("ok", Some(4096.0)));
}

#[test]
fn one_that_never_ends_is_ended_with_all_that_it_started() {
    let script = "trap '' TERM INT HUP; sleep 1000 & echo $! > $0.child; echo $$ > $0.pid; echo a 1; while :; do sleep 1000; done";
    let mut program = Program::new(script).with(|it| it.timeout = Duration::from_millis(500));
    let acc = program.check().unwrap();
    assert_eq!((number(&acc, "up"), outcome(&acc), number(&acc, "exit_code")), (Some(0.0), "timeout", None));
    assert_eq!(values(&acc), 0, "what it had printed is not whole");
    assert!(number(&acc, "duration_seconds").unwrap() >= 0.5);
    for name in ["pid", "child"] {
        wait_for(|| !is_alive(&program.file(name)));
    }
}

#[test]
fn nobody_waits_for_who_keeps_its_pipes_open() {
    // The child has the pipes, and so has one that leaves the group and the session.
    let script = "sleep 1000 & echo $! > $0.child; setsid sh -c 'echo $$ > $0; exec sleep 20' $0.away & \
        while ! test -s $0.away; do :; done; echo a 1";
    let mut program = Program::new(script);
    let acc = program.check().unwrap();
    assert_eq!((outcome(&acc), acc.number("value", &["a", ""])), ("ok", Some(1.0)));
    assert!(number(&acc, "duration_seconds").unwrap() < 15.0);
    wait_for(|| !is_alive(&program.file("child")));
    let away = fs::read_to_string(program.file("away")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(away), nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Daemons that leave the group, one of which has a child of its own, and one that ends at once.
const STRAYS: &str = "for i in 1 2; do setsid sh -c 'echo $$ > $0; sleep 1000 & echo $! >> $0; wait' $0.away$i & done; \
    sh -c 'setsid sleep 1000 & echo $! > $0' $0.away3; \
    while ! test -s $0.away1 || ! test -s $0.away2; do :; done; sleep 0.1; echo a 1";

#[test]
#[ignore = "for a process of its own, in which no other test has children"]
fn as_in_a_helper() {
    let mut program = Program::new(STRAYS);
    let inside = Inside::host(Duration::from_secs(30)).unwrap();
    for _ in 0..2 {
        let mut response = wire::Response::new();
        let body = program.exec.serialize_request().unwrap().body;
        program.exec.execute_request(&body, &inside, &mut response).unwrap();
        let mut acc = MemoryAccumulator::new();
        program.exec.process_response(&response.into_bytes().unwrap(), &mut acc).unwrap();
        assert_eq!((outcome(&acc), acc.number("value", &["a", ""])), ("ok", Some(1.0)));
        let pids = ["away1", "away2", "away3"].map(|name| fs::read_to_string(program.file(name)).unwrap());
        let mut seen = 0;
        for pid in pids.iter().flat_map(|text| text.lines()) {
            assert!(!std::path::Path::new("/proc").join(pid).exists(), "{pid} is still there");
            seen += 1;
        }
        assert_eq!(seen, 5);
    }
}

#[test]
fn in_a_helper_nothing_survives() {
    let this = std::env::current_exe().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a process that has no other children is what a helper is")]
    let mut helper = std::process::Command::new(this);
    helper.args(["--exact", "input::check::exec::tests::as_in_a_helper", "--ignored"]);
    let output = helper.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn what_closes_its_pipes_is_waited_for() {
    let acc = Program::new("echo a 1; exec >&- 2>&-; sleep 0.2; exit 4").check().unwrap();
    assert_eq!((number(&acc, "exit_code"), acc.number("value", &["a", ""])), (Some(4.0), Some(1.0)));
}

#[test]
fn it_ends_with_the_thread_that_started_it() {
    // As when a helper is killed: nobody is left to end the program.
    let program = Program::new("echo $$ > $0.pid; exec sleep 1000");
    let (command, file) = (program.exec.settings.command.clone(), program.file("pid"));
    let (program_of_thread, started) = (command[1].clone(), file.clone());
    std::thread::spawn(move || {
        #[expect(clippy::disallowed_methods, reason = "started as the check does it")]
        let mut command = std::process::Command::new("/bin/sh");
        crate::sys::die_with_parent(command.arg(program_of_thread));
        let child = command.spawn().unwrap();
        wait_for(|| fs::read_to_string(&started).is_ok_and(|text| text.ends_with('\n')));
        drop(child);
    })
    .join()
    .unwrap();
    wait_for(|| !is_alive(&file));
}

#[test]
fn one_that_cannot_be_started_says_nothing_about_the_target() {
    let mut missing = Exec::default();
    missing.settings.command = vec!["/nonexistent/program".to_owned()];
    let mut acc = MemoryAccumulator::new();
    let error =
        missing.collect(&CollectContext::new(Duration::from_secs(5)), &mut acc).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/program"), "{error}");
    assert!(acc.samples().is_empty());
    // Neither does one that was never configured.
    assert!(Exec::default().collect(&CollectContext::new(Duration::from_secs(5)), &mut acc).is_err());
}

#[test]
fn the_largest_response_fits() {
    let labels = "x".repeat(480);
    let numbers = "i=0; while test $i -lt 1500; do echo $i; i=$((i+1)); done";
    let script = format!("{numbers} | sed 's/.*/a&{{a=\"{labels}\"}} 1/'");
    let acc = Program::new(&script).with(|it| it.output_limit = 1 << 20).check().unwrap();
    assert_eq!((outcome(&acc), number(&acc, "malformed")), ("ok", Some(0.0)));
    let left_out = number(&acc, "left_out").unwrap();
    assert!((300..600).contains(&values(&acc)) && left_out > 900.0);
    let short = "i=0; while test $i -lt 1500; do echo a$i 1; i=$((i+1)); done";
    let acc = Program::new(short).check().unwrap();
    assert_eq!((values(&acc), number(&acc, "left_out")), (1000, Some(500.0)));
}
