//! A running agent, its address, its pages, and its end.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_pitot");
/// For whatever takes long only on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// A place for one test: a folder for its files, and pins of its own.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) pins: PathBuf,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let pins = format!("/sys/fs/bpf/pitot-test-{}-{name}", std::process::id());
        Self { folder: tempfile::tempdir().unwrap(), pins: pins.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a configuration with these pins, and more lines.
    pub(crate) fn config(&self, name: &str, more: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, format!("[ebpf]\npin = \"{}\"\n{more}", self.pins.display())).unwrap();
        path
    }

    /// A command line for the agent.
    pub(crate) fn command(&self, more: &str, arguments: &[&str]) -> Command {
        self.command_of(Path::new(BINARY), more, arguments)
    }

    /// The same for another file of the same program.
    pub(crate) fn command_of(&self, binary: &Path, more: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary);
        let name = format!("{}.toml", fs::read_dir(self.path()).unwrap().count());
        command.arg("--config").arg(self.config(&name, more)).args(arguments);
        command
    }

    /// Starts an agent on a free port with the inputs that have kernel programs, and one that has none.
    pub(crate) fn start(&self, more: &str, arguments: &[&str]) -> Agent {
        let inputs = counting_and("loadavg,agent");
        let inputs = ["--input", &inputs, "--listen", "127.0.0.1:0"];
        self.serve(self.command(more, &[&inputs, arguments].concat()))
    }

    /// Starts a command that is an agent, and waits until it serves.
    pub(crate) fn serve(&self, command: Command) -> Agent {
        let mut agent = self.spawn(command);
        let log = agent.wait_for_log("listening on http://");
        let address = log.split("http://").nth(1).unwrap().split('/').next().unwrap();
        agent.address = Some(address.parse().unwrap());
        agent
    }

    /// Starts a command that is an agent, and does not wait.
    pub(crate) fn spawn(&self, mut command: Command) -> Agent {
        let log = self.path().join(format!("{}.log", fs::read_dir(self.path()).unwrap().count()));
        let child = command.stderr(File::create(&log).unwrap()).stdout(File::create("/dev/null").unwrap());
        Agent { child: child.spawn().unwrap(), log, address: None }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        crate::pins::remove(&self.pins);
    }
}

/// The inputs whose programs count at tracepoints, with an object each.
pub(crate) const COUNTING: [&str; 8] =
    ["block", "irq", "memory", "net", "process", "sched", "syscall", "tcp"];

/// Those and others, for the command line.
pub(crate) fn counting_and(others: &str) -> String {
    format!("{},{others}", COUNTING.join(","))
}

pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    pub(crate) address: Option<SocketAddr>,
}

impl Agent {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn wait_for_log(&mut self, what: &str) -> String {
        let start = Instant::now();
        loop {
            let log = self.log();
            // Whole lines only.
            let lines = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if lines.contains(what) {
                return log;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the agent ended ({status}): {}", self.log());
            }
            assert!(start.elapsed() < PATIENCE, "nothing about {what}: {log}");
            thread::sleep(POLL);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (ExitStatus, Duration, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, start.elapsed(), self.log());
            }
            assert!(start.elapsed() < PATIENCE, "the agent does not end: {}", self.log());
            thread::sleep(POLL);
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
        body.to_owned()
    }

    /// Every series of a scrape: name with labels, and value.
    pub(crate) fn scrape(&self) -> BTreeMap<String, f64> {
        let page = self.get("/metrics");
        let series = page.lines().filter(|line| !line.starts_with('#'));
        series
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(n, v)| (n.to_owned(), v.parse().unwrap()))
            .collect()
    }

    /// What it says about itself.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status")).unwrap()
    }

    /// What an input is doing: state, variant, reason. That many kernels let nobody attach to their functions
    /// is no concern of these tests.
    pub(crate) fn state(&self, input: &str) -> [String; 3] {
        let status = self.status();
        let inputs = status["inputs"].as_array().unwrap();
        let report = inputs.iter().find(|report| report["input"] == input).unwrap();
        let said = ["state", "variant", "reason"].map(|key| report[key].as_str().unwrap_or("").to_owned());
        match said {
            [_, variant, reason] if reason.starts_with("no accept latency (") && !reason.contains("; ") => {
                ["running".to_owned(), variant, String::new()]
            }
            said => said,
        }
    }

    /// What its open files are.
    pub(crate) fn open_files(&self) -> Vec<String> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let target = |file: std::io::Result<fs::DirEntry>| {
            Some(fs::read_link(file.ok()?.path()).ok()?.to_string_lossy().into_owned())
        };
        files.filter_map(target).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Calls of one system call.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and whole")]
pub(crate) fn calls(series: &BTreeMap<String, f64>, name: &str) -> u64 {
    series.get(&format!("pitot_syscall_calls_total{{syscall=\"{name}\"}}")).map_or(0, |value| *value as u64)
}
