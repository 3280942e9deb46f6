//! What the kernel says that a process has cost.

use std::{fs, ops::Sub, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeVal,
    },
    time::{ClockId, clock_gettime},
    unistd::{SysconfVar, sysconf},
};

/// CPU time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    /// To the nanosecond, from the scheduler.
    pub(super) total: Duration,
    /// In ticks of the clock: only good for the proportion.
    user: f64,
    system: f64,
}

impl Cpu {
    /// Of all threads that a process has now.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let mut total = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may just have ended.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let ran = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
            total += Duration::from_nanos(ran.context("the kernel has no schedstat")?);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, which may hold anything, ends at the last parenthesis.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let hertz = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
        let seconds =
            |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).map(|t| t / hertz);
        let (user, system) = (seconds(11).context("utime")?, seconds(12).context("stime")?);
        Ok(Self { total, user, system })
    }

    /// Of the calling thread.
    pub(super) fn of_this_thread() -> Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let total = Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?);
        Ok(Self { total, user: seconds(usage.user_time()), system: seconds(usage.system_time()) })
    }

    /// Milliseconds, and the part of them in the kernel.
    pub(super) fn milliseconds(&self) -> (f64, f64) {
        let total = self.total.as_secs_f64() * 1e3;
        let both = self.user + self.system;
        (total, if both > 0.0 { total * self.system / both } else { f64::NAN })
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }
}

/// A line of `/proc/PID/status` in MiB, such as `VmRSS`.
pub(super) fn mebibytes(pid: u32, line: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    let kibibytes = value.and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kibibytes.with_context(|| format!("no {line} in /proc/{pid}/status"))? / 1024.0)
}

/// The files of /proc and /sys that a process holds open, but for those about itself.
pub(super) fn open_files(pid: u32) -> Result<Vec<String>> {
    let own = [format!("/proc/{pid}/statm"), format!("/proc/{pid}/stat")];
    let mut files = Vec::new();
    for fd in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let Ok(target) = fs::read_link(fd?.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        let of_kernel = target.starts_with("/proc/") || target.starts_with("/sys/");
        if of_kernel && !own.contains(&target) && fs::metadata(&target).is_ok_and(|meta| meta.is_file()) {
            files.push(target);
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}
