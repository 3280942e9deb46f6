//! What this process takes, as the kernel counts it.

use nix::{
    sys::resource::{UsageWho, getrusage},
    sys::time::TimeVal,
    unistd::{SysconfVar, sysconf},
};

use crate::source::{File, parse};

/// CPU time of all threads, in user mode and in the kernel, in seconds.
pub(crate) fn cpu_seconds() -> Option<[f64; 2]> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Some([seconds(usage.user_time()), seconds(usage.system_time())])
}

/// Resident memory.
pub(crate) struct Resident {
    statm: File,
    page: f64,
}

impl Resident {
    /// Of this process, whatever tree the host's figures come from.
    pub(crate) fn new() -> Self {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
        Self { statm: File::new("/proc/self/statm"), page: page as f64 }
    }

    pub(crate) fn bytes(&mut self) -> Option<f64> {
        let content = self.statm.read().ok()?;
        let pages: u64 = parse::fields(content.bytes()).nth(1).and_then(parse::number)?;
        Some(pages as f64 * self.page)
    }
}
