//! Checks of what a target has, executed by real helpers in real namespaces. This binary is the agent, the spawner and
//! the helpers, whichever it is called, so it has a `main` of its own.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "tests start processes")]

mod target;

use std::{
    env, fs, panic,
    process::ExitCode,
    time::{Duration, Instant},
};

use pitot::{
    accumulator::MemoryAccumulator,
    bpf::Loader,
    catalogue::{CheckDef, Source},
    input::{
        self, Input, OpenContext, OptionSetting, Options,
        check::{CHECKS, HelperError},
    },
    pod::{Helpers, Target},
    source::Roots,
};

use self::target::Running;

/// A test and its name.
type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("processes_of_a_target", processes),
    ("mounts_of_a_target", disk),
    ("machines_of_a_target", jvm),
    ("a_program_of_a_target", exec),
    ("a_program_that_wants_out", exec_is_bounded),
];
const MEASUREMENTS: &[Test] = &[("measure_what_a_check_costs", measure)];

fn main() -> ExitCode {
    if let Some(code) = pitot::pod::spawner(CHECKS) {
        return code;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: entering namespaces takes root");
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is_on = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let tests = if is_on("--ignored") { MEASUREMENTS } else { TESTS };
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let failed = tests.iter().filter(|(name, _)| is_chosen(name)).filter(|(name, test)| {
        let passed = panic::catch_unwind(*test).is_ok();
        eprintln!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        !passed
    });
    if failed.count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A check with its helpers.
struct Asked {
    runtime: tokio::runtime::Runtime,
    helpers: Helpers,
    input: Box<dyn Input>,
    needs: &'static CheckDef,
}

impl Asked {
    fn new(name: &str, options: &[(&str, OptionSetting)]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let helpers = Helpers::start_from(&env::current_exe().unwrap(), CHECKS, 8).unwrap();
        let def = input::find(name).unwrap();
        let given: Vec<_> = options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut loader = Loader::off("a test");
        let mut cx = OpenContext {
            roots: &Roots::default(),
            options: Options::new(def.options, &given),
            bpf: &mut loader,
        };
        let input = (def.open)(&mut cx).unwrap();
        let Source::Check(needs) = def.source else { panic!("{name} is no check") };
        Self { runtime, helpers, input, needs }
    }

    fn ask(&mut self, target: &Target) -> Result<MemoryAccumulator, HelperError> {
        let check = self.input.check().unwrap();
        let request = check.serialize_request().unwrap();
        let response = self.runtime.block_on(self.helpers.execute(target, self.needs, &request))?;
        let mut acc = MemoryAccumulator::new();
        check.process_response(&response, &mut acc)?;
        Ok(acc)
    }
}

fn number(acc: &MemoryAccumulator, name: &str, labels: &[&str]) -> Option<f64> {
    acc.number(name, labels)
}

fn processes() {
    let mut asked = Asked::new("processes", &[]);
    for user in [0, 1000] {
        let target = Running::start(user, "sleep 1000 & sleep 1000 &");
        let acc = asked.ask(&target.target()).unwrap();
        // The first process and its three children, but no helper.
        assert_eq!(number(&acc, "present", &[]), Some(4.0));
        assert_eq!(number(&acc, "states", &["Z"]), Some(0.0));
        assert!(number(&acc, "resident_bytes", &[]).unwrap() > 0.0);
        let files = number(&acc, "open_files", &[]);
        assert!(files.is_none_or(|files| files >= 12.0), "{files:?}");
        assert_eq!(number(&acc, "open_files_used_ratio", &[]).is_some(), files.is_some());
    }
    let acc = asked.ask(&Target::Host).unwrap();
    assert!(number(&acc, "present", &[]).unwrap() > 5.0);
}

fn disk() {
    let mut asked = Asked::new("disk", &[]);
    for user in [0, 1000] {
        let target = Running::start(user, "");
        let acc = asked.ask(&target.target()).unwrap();
        assert_eq!(number(&acc, "size_bytes", &["/tmp", "of-the-target", "tmpfs"]), Some(8_388_608.0));
        assert!(acc.samples().iter().any(|sample| sample.labels.iter().any(|label| label.1 == "/")));
    }
    let acc = asked.ask(&Target::Host).unwrap();
    assert_eq!(number(&acc, "size_bytes", &["/tmp", "of-the-target", "tmpfs"]), None);
    assert_eq!(number(&acc, "executed", &[]), Some(1.0));
}

fn jvm() {
    if std::process::Command::new("java").arg("-version").output().is_err() {
        eprintln!("there is no java here: nothing was compared");
        return;
    }
    let mut asked = Asked::new("jvm", &[]);
    let script = "cd /tmp; echo 'public class Idle { public static void main(String[] a) throws Exception \
        { Thread.sleep(1000000); } }' > Idle.java; java Idle.java & ";
    for user in [0, 1000] {
        let target = Running::start(user, script);
        let begun = Instant::now();
        let acc = loop {
            let acc = asked.ask(&target.target()).unwrap();
            if number(&acc, "machines", &[]) == Some(1.0) {
                break acc;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", acc.samples());
        };
        let threads = acc.samples().iter().find(|sample| sample.name == "threads").unwrap();
        assert!(threads.labels[1].1.starts_with("com.sun.tools.javac.launcher."), "{threads:?}");
        // Its number in the target, which is small there.
        assert!(threads.labels[0].1.parse::<u32>().unwrap() < 50, "{threads:?}");
    }
}

fn texts(texts: &[&str]) -> OptionSetting {
    OptionSetting::Texts(texts.iter().map(|&text| text.to_owned()).collect())
}

fn sh(script: &str) -> Asked {
    let options = [("command", texts(&["/bin/sh", "-c", script])), ("programs", texts(&["/bin/sh"]))];
    Asked::new("exec", &options)
}

fn exec() {
    let script = "echo pid $$; echo user $(id -u); echo groups{all=\\\"$(id -G)\\\"} 1; ls /tmp/mark && echo tmp 1; \
        echo capabilities $((0x$(grep CapEff /proc/self/status | cut -f2))); \
        echo privileges $(grep NoNewPrivs /proc/self/status | cut -f2)";
    let mut asked = sh(script);
    for user in [0, 1000] {
        let target = Running::start(user, "touch /tmp/mark");
        let acc = asked.ask(&target.target()).unwrap();
        let value = |name: &str| number(&acc, "value", &[name, ""]);
        assert_eq!(number(&acc, "exit_code", &[]), Some(0.0), "{:?}", acc.samples());
        assert_eq!((value("user"), value("tmp")), (Some(f64::from(user)), Some(1.0)));
        assert!(value("pid").unwrap() < 100.0, "a number of the target's namespace");
        assert_eq!((value("capabilities"), value("privileges")), (Some(0.0), Some(1.0)));
        // Again, by the same helper.
        assert_eq!(number(&asked.ask(&target.target()).unwrap(), "up", &[]), Some(1.0));
    }
}

/// What a program starts does not outlive the check, whatever becomes of it.
fn exec_is_bounded() {
    let script =
        "setsid sleep 5000 & setsid sh -c 'trap \"\" TERM; sleep 5000 & wait' & sleep 5000 & echo a 1";
    let target = Running::start(1000, "");
    let acc = sh(script).ask(&target.target()).unwrap();
    assert_eq!(number(&acc, "value", &["a", ""]), Some(1.0));
    assert_eq!(sleepers(&target), 0);
    let options = [
        ("command", texts(&["/bin/sh", "-c", "setsid sleep 5000 & exec sleep 5000"])),
        ("programs", texts(&["/bin/sh"])),
        ("timeout", OptionSetting::Duration(Duration::from_millis(200))),
    ];
    let acc = Asked::new("exec", &options).ask(&target.target()).unwrap();
    assert_eq!(number(&acc, "outcome", &["timeout"]), Some(1.0));
    assert_eq!(sleepers(&target), 0);
}

/// Processes that a program has left behind.
fn sleepers(target: &Running) -> usize {
    let own = fs::read_link(format!("/proc/{}/ns/pid", target.pid())).unwrap();
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    all.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|namespace| namespace == own))
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x005000\0"))
        .count()
}

fn measure() {
    let target = Running::start(0, "for i in $(seq 50); do sleep 1000 & done");
    let exec: [(&str, OptionSetting); 2] =
        [("command", texts(&["/bin/true"])), ("programs", texts(&["/bin/true"]))];
    for (name, options) in [("processes", &[][..]), ("disk", &[]), ("jvm", &[]), ("exec", &exec)] {
        let mut asked = Asked::new(name, options);
        asked.ask(&target.target()).unwrap();
        let helper = helper_cpu();
        let begun = Instant::now();
        for _ in 0..200 {
            asked.ask(&target.target()).unwrap();
        }
        let (cpu, time) = (helper_cpu() - helper, begun.elapsed().as_secs_f64());
        eprintln!(
            "{name}: {:.0} us of CPU in the helper, {:.0} us of time",
            cpu * 1e6 / 200.0,
            time * 1e6 / 200.0
        );
    }
}

/// CPU seconds of all helpers, by their main thread, which is all there is of one.
fn helper_cpu() -> f64 {
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let ours = all
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"pitot-spawner\0"));
    let nanos = ours.map(|pid| fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default());
    nanos.filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
}
