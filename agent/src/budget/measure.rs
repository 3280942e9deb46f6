//! What the process takes, as the kernel counts it.

use nix::{
    sys::resource::{UsageWho, getrusage},
    unistd::{SysconfVar, sysconf},
};

use crate::source::{File, parse};

/// The process itself, whatever tree the host's figures come from.
pub(crate) struct Process {
    statm: File,
    page: f64,
}

impl Process {
    pub(crate) fn new() -> Self {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
        Self { statm: File::new("/proc/self/statm"), page: page as f64 }
    }

    /// CPU time of all threads.
    #[expect(clippy::unused_self, reason = "it stands beside what is read from a file")]
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let usage = getrusage(UsageWho::RUSAGE_SELF);
        usage.map_or(0.0, |usage| {
            let times = [usage.user_time(), usage.system_time()];
            times.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum()
        })
    }

    /// Resident memory; 0 when it cannot be read.
    pub(crate) fn resident_bytes(&mut self) -> f64 {
        let content = self.statm.read().ok();
        let pages = content.and_then(|c| parse::fields(c.bytes()).nth(1).and_then(parse::number));
        pages.map_or(0.0, |pages: u64| pages as f64 * self.page)
    }
}
