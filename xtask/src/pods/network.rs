//! A network of the lab's own: bridges and addresses of its runtimes are in there, and the host sees none of them.

use std::{
    fs::File,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Command, id},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace without a name: it is there for as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Network(File);

impl Network {
    /// A new one, with a loopback device that is up.
    pub(super) fn new(busybox: &Path) -> Result<Self> {
        alone(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace: it takes root")?;
            let up = Command::new(busybox).args(["ip", "link", "set", "lo", "up"]).status()?;
            ensure!(up.success(), "the loopback device stays down");
            Ok(Self(File::open("/proc/thread-self/ns/net")?))
        })?
    }

    /// Where others find it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", id(), self.0.as_raw_fd()).into()
    }

    /// Does something in there. What is started stays there.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        alone(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET).context("cannot enter the lab's network")?;
            work()
        })?
    }
}

/// In a thread of its own, as a namespace is a thread's.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => Ok(done),
        Err(_) => bail!("it panicked inside the lab's network"),
    })
}
