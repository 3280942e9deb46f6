//! A program that keeps running until it is told to end.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::network::Network;

const STARTS: Duration = Duration::from_secs(30);
const ENDS: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// A running one.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, in the host's network or that of the lab, with what it says in a file, and waits until it answers.
    pub(super) fn start(
        network: Option<&Network>,
        mut command: Command,
        log: &Path,
        answers: impl Fn() -> Result<()>,
    ) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        // An interrupt at the terminal is for who started it, who then ends it in order.
        command.process_group(0);
        let program = command.get_program().display().to_string();
        let mut start = || command.spawn().with_context(|| format!("cannot start {program}"));
        let child = match network {
            Some(network) => network.inside(start)?,
            None => start()?,
        };
        let mut daemon = Self { child, log: log.to_owned() };
        let began = Instant::now();
        while let Err(error) = answers() {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("{program} ended at once ({status}): {}", daemon.last_words());
            }
            if began.elapsed() > STARTS {
                bail!("{program} does not answer ({error:#}): {}", daemon.last_words());
            }
            thread::sleep(POLL);
        }
        Ok(daemon)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _gone = kill(pid, Signal::SIGTERM);
        let began = Instant::now();
        while !matches!(self.child.try_wait(), Ok(Some(_))) && began.elapsed() < ENDS {
            thread::sleep(POLL);
        }
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
