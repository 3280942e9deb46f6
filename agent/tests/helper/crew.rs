//! Helpers of a test, and what the kernel says about their processes.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use pitot::{
    accumulator::MemoryAccumulator,
    catalogue::CheckDef,
    input::check::{HelperError, wire},
    pod::{Helpers, Target},
};

use crate::checks::{self, request};

/// Time enough for everything that is to succeed.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A spawner and its helpers, with a runtime to ask them.
pub(crate) struct Crew {
    runtime: tokio::runtime::Runtime,
    pub(crate) helpers: Helpers,
}

impl Crew {
    pub(crate) fn new() -> Self {
        Self::of(64)
    }

    pub(crate) fn of(most: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let helpers = Helpers::start_from(&env::current_exe().unwrap(), checks::CHECKS, most).unwrap();
        Self { runtime, helpers }
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The samples of a check.
    pub(crate) fn samples(
        &self,
        target: &Target,
        needs: &'static CheckDef,
        script: &str,
        timeout: Duration,
    ) -> Result<MemoryAccumulator, HelperError> {
        let request = request(script, timeout);
        let response = self.wait(self.helpers.execute(target, needs, &request))?;
        let mut memory = MemoryAccumulator::new();
        wire::deliver(&checks::DEF, &response, &mut memory)?;
        Ok(memory)
    }

    /// Its value.
    pub(crate) fn ask(
        &self,
        target: &Target,
        needs: &'static CheckDef,
        script: &str,
    ) -> Result<f64, HelperError> {
        self.samples(target, needs, script, LONG).map(|memory| memory.number("value", &[]).unwrap())
    }

    /// Waits until nothing is left of all helpers but so many.
    pub(crate) fn settle(&self, left: usize) {
        let begun = Instant::now();
        while processes().len() != left || self.helpers.running() != left {
            assert!(begun.elapsed() < LONG, "{:?} of {} are left", processes(), self.helpers.running());
            std::thread::yield_now();
        }
    }
}

/// The helpers of this process.
pub(crate) fn processes() -> Vec<u32> {
    spawners().into_iter().flat_map(children).collect()
}

/// The spawners of this process.
pub(crate) fn spawners() -> Vec<u32> {
    keepers().into_iter().flat_map(children).filter(|pid| is_spawner(*pid)).collect()
}

/// What the spawners are forked from.
pub(crate) fn keepers() -> Vec<u32> {
    let mine = children(std::process::id());
    mine.into_iter().filter(|pid| is_spawner(*pid)).collect()
}

fn is_spawner(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|name| name == b"pitot-spawner\0")
}

/// Processes with this parent, zombies included.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .collect()
}

/// A field of `/proc/PID/status`.
pub(crate) fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

/// The namespace of a process.
pub(crate) fn inode(pid: u32, kind: &str) -> u64 {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino()
}
