//! Runs the binary, each time with ports, folders and pins of its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::client::{Answer, get};

/// Nothing that is waited for takes this long on a machine that works.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The binary with these arguments.
pub(crate) fn pitot(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitot"));
    command.args(args).stdin(Stdio::null());
    command
}

/// The project's folder.
pub(crate) fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Options that point an agent to the recorded trees of a host.
pub(crate) fn trees(host: &str) -> Vec<String> {
    let root = workspace().join("tests/fixtures").join(host);
    let option = |name: &str, path: PathBuf| [format!("--{name}"), path.to_str().unwrap().to_owned()];
    [option("procfs", root.join("proc")), option("sysfs", root.join("sys")), option("rootfs", root)].concat()
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// An agent that serves.
pub(crate) struct Agent {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: TempDir,
    pin: String,
    ebpf: bool,
}

impl Agent {
    /// With this configuration, without kernel programs.
    pub(crate) fn start(config: &str, args: &[&str]) -> Self {
        Self::launch(config, &[args, &["--no-ebpf"]].concat(), false)
    }

    /// With kernel programs, which are removed at the end.
    pub(crate) fn start_with_ebpf(config: &str) -> Self {
        Self::launch(config, &[], true)
    }

    fn launch(config: &str, args: &[&str], ebpf: bool) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pin = format!("/sys/fs/bpf/pitot-test-{}-{number}", std::process::id());
        let file = dir.path().join("pitot.toml");
        fs::write(&file, with_pin(config, &pin)).unwrap();
        let mut child = pitot(args)
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line, log) = mpsc::channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|text| {
                // Read on when nobody listens any more, so that it never waits for its pipe.
                let _gone = line.send(text);
            });
        });
        let mut said = String::new();
        let address = loop {
            let text =
                log.recv_timeout(LONG).unwrap_or_else(|_| panic!("it does not listen; it said: {said}"));
            if let Some((_, rest)) = text.split_once("listening on http://") {
                break rest.split('/').next().unwrap().parse().unwrap();
            }
            said += &text;
        };
        Self { child, address, dir, pin, ebpf }
    }

    /// Puts another configuration in the place of the one that it was started with.
    pub(crate) fn configure(&self, config: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, with_pin(config, &self.pin)).unwrap();
        fs::rename(new, self.dir.path().join("pitot.toml")).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.address, path, &[]).unwrap()
    }

    /// The body of the page in the text format.
    pub(crate) fn page(&self) -> String {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Asks again and again until the page is as wanted.
    pub(crate) fn wait_for(&self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let page = self.page();
            if wanted(&page) {
                return page;
            }
            assert!(start.elapsed() < LONG, "still not: {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Sends SIGTERM; how it ended, and how long that took.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal(Signal::SIGTERM);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, start.elapsed());
            }
            assert!(start.elapsed() < LONG, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count()
    }
}

fn with_pin(config: &str, pin: &str) -> String {
    format!("{config}\n[ebpf]\npin = \"{pin}\"\n")
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if self.ebpf {
            let config = self.dir.path().join("pitot.toml");
            let cleaned = pitot(&["clean", "--config", config.to_str().unwrap()]).output().unwrap();
            // Not while another panic is on its way.
            if !thread::panicking() {
                assert!(cleaned.status.success(), "{cleaned:?}");
            }
        }
    }
}
