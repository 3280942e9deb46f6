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
    page: u64,
}

impl Resident {
    /// Of this process, whatever tree the host's figures come from.
    pub(crate) fn new() -> Self {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
        Self { statm: File::new("/proc/self/statm"), page: page.cast_unsigned() }
    }

    pub(crate) fn bytes(&mut self) -> Option<f64> {
        Some(self.pages(1)? as f64 * self.page as f64)
    }

    /// What it has of addresses, whether there is memory behind them or not.
    pub(crate) fn addresses(&mut self) -> Option<u64> {
        self.pages(0)?.checked_mul(self.page)
    }

    fn pages(&mut self, field: usize) -> Option<u64> {
        let content = self.statm.read().ok()?;
        parse::fields(content.bytes()).nth(field).and_then(parse::number)
    }
}
