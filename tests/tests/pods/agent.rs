//! An agent that checks pods.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{built, page::Page};

/// For whatever takes long only on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What takes so long is said, also if it comes.
const SLOW: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// A running one.
pub(crate) struct Agent {
    folder: TempDir,
    child: Child,
    address: Option<SocketAddr>,
}

impl Agent {
    /// Starts one with these pipelines.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// Starts one with these pipelines and inputs.
    pub(crate) fn start_with(config: &str, inputs: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pitot.toml");
        fs::write(&file, config).unwrap();
        let pipelines = config.lines().filter_map(|line| line.strip_prefix("[pipeline.")?.strip_suffix(']'));
        let inputs = inputs.iter().copied().chain(["agent"]).chain(pipelines).collect::<Vec<_>>().join(",");
        let mut command = Command::new(built::program("pitot"));
        command.arg("--config").arg(&file).args(["--no-ebpf", "--listen", "127.0.0.1:0", "--input", &inputs]);
        command
            .stdout(File::create("/dev/null").unwrap())
            .stderr(File::create(folder.path().join("log")).unwrap());
        let mut agent = Self { folder, child: command.spawn().unwrap(), address: None };
        let began = Instant::now();
        while agent.address.is_none() {
            let log = agent.log();
            let served = log.lines().find_map(|line| line.split_once("listening on http://"));
            agent.address = served.and_then(|(_, rest)| rest.split('/').next()?.trim().parse().ok());
            if let Some(status) = agent.child.try_wait().unwrap() {
                panic!("the agent ended ({status}): {log}");
            }
            assert!(began.elapsed() < PATIENCE, "the agent does not serve: {log}");
            thread::sleep(POLL);
        }
        agent
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn get(&self, path: &str) -> String {
        let address = self.address.unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        body.to_owned()
    }

    pub(crate) fn scrape(&self) -> Page {
        Page::parse(&self.get("/metrics"))
    }

    /// Scrapes until something holds, and returns that page.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Page) -> bool) -> Page {
        let began = Instant::now();
        loop {
            let page = self.scrape();
            if holds(&page) {
                if began.elapsed() > SLOW {
                    println!("{what}, after {:.1} s", began.elapsed().as_secs_f64());
                }
                return page;
            }
            if began.elapsed() > PATIENCE {
                let checks = page.beginning("pitot_httpcheck_") + &page.beginning("pitot_agent_containers");
                panic!("it never holds that {what}:\n{checks}\n{}\n{}", self.get("/status"), self.log());
            }
            thread::sleep(POLL);
        }
    }

    /// Its processes beside itself, which are those that enter pods.
    pub(crate) fn helpers(&self) -> Vec<u32> {
        let mut found = vec![self.pid()];
        let mut at = 0;
        while let Some(pid) = found.get(at).copied() {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
            at += 1;
        }
        found.split_off(1)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let helpers = self.helpers();
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        // Nobody told them; they notice.
        let began = Instant::now();
        let is_left = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
        };
        while helpers.iter().any(is_left) && began.elapsed() < PATIENCE {
            thread::sleep(POLL);
        }
        if !thread::panicking() {
            assert!(!helpers.iter().any(is_left), "helpers outlive the agent that was killed");
        }
    }
}
