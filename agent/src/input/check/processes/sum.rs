//! One pass over a `/proc`, added up.

use std::{io, time::Instant};

use nix::{
    time::{ClockId, clock_gettime},
    unistd::{SysconfVar, sysconf},
};
use rustix::fs::{Mode, OFlags, fstat, openat};

use super::{
    super::Dir,
    record::{Record, open_files_limit, ticks},
};
use crate::source::parse;

/// States of a process, by the letters of `ps`; a letter that is none of them is not counted.
pub(super) const STATES: &[&str] = &["R", "S", "D", "T", "t", "X", "Z", "P", "I"];

/// A line or a table of one process is never longer.
const LONGEST: u64 = 16 << 10;

/// Helpers that are in the namespace to look at it. Whoever came from outside has no parent there, which a target's
/// own processes cannot bring about; of these, helpers have the name that this one has.
struct Guests(Option<Vec<u8>>);

impl Guests {
    fn of(procfs: &Dir) -> Self {
        let own = procfs.read(&format!("{}/stat", std::process::id()), LONGEST).ok();
        let is_guest = |line: &Vec<u8>| Record::parse(line).is_some_and(|own| own.parent == 0);
        Self(own.filter(is_guest).and_then(|line| Record::name(&line).map(<[u8]>::to_vec)))
    }

    fn has(&self, line: &[u8], record: Record) -> bool {
        record.parent == 0 && self.0.is_some() && Record::name(line) == self.0.as_deref()
    }
}

/// What all processes have together.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// Processes that were looked at.
    pub(super) read: u64,
    /// Processes that were not, because they are too many.
    pub(super) unread: u64,
    pub(super) threads: u64,
    /// In the order of [`STATES`].
    pub(super) states: [u64; STATES.len()],
    /// Pages.
    resident: u64,
    /// Ticks since boot at which the first and the last were started.
    started: Option<(u64, u64)>,
    files: OpenFiles,
}

/// What processes have open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct OpenFiles {
    pub(super) all: u64,
    /// Of one process.
    pub(super) most: u64,
    /// The largest share of a limit.
    pub(super) nearest: Option<f64>,
}

impl Sum {
    /// Reads what every process tells, of `most` processes.
    pub(super) fn of(procfs: &Dir, most: u64, deadline: Instant) -> io::Result<Self> {
        let mut sum = Self::default();
        let guests = Guests::of(procfs);
        let listing =
            openat(procfs, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for entry in rustix::fs::Dir::new(listing)? {
            let entry = entry?;
            let name = entry.file_name().to_str().unwrap_or_default();
            if parse::number(name.as_bytes()).is_none() {
                continue;
            }
            if sum.read == most {
                sum.unread += 1;
                continue;
            }
            if Instant::now() >= deadline {
                return Err(io::Error::other(format!("time was up after {} processes", sum.read)));
            }
            // One that ended since it was listed is in no number.
            let Ok(line) = procfs.read(&format!("{name}/stat"), LONGEST) else { continue };
            let Some(record) = Record::parse(&line) else {
                return Err(io::Error::other(format!(
                    "the kernel's line of process {name} has another form"
                )));
            };
            if guests.has(&line, record) {
                continue;
            }
            sum.add(record);
            sum.add_files(procfs, name);
        }
        if sum.read == 0 {
            return Err(io::Error::other("there is no process that may be looked at"));
        }
        Ok(sum)
    }

    fn add(&mut self, record: Record) {
        self.read += 1;
        self.threads += record.threads;
        self.resident += record.resident;
        let (first, last) = self.started.unwrap_or((record.started, record.started));
        self.started = Some((first.min(record.started), last.max(record.started)));
        if let Some(at) = STATES.iter().position(|letter| letter.as_bytes() == [record.state]) {
            self.states[at] += 1;
        }
    }

    /// The size of a directory of descriptors is their number since Linux 6.2. Before, it is always zero. Anybody may
    /// ask for the size; reading the directory takes a capability.
    fn add_files(&mut self, procfs: &Dir, name: &str) {
        let Ok(stat) = procfs.find(&format!("{name}/fd")).and_then(|fd| Ok(fstat(fd)?)) else { return };
        let open = u64::try_from(stat.st_size).unwrap_or(0);
        self.files.all += open;
        self.files.most = self.files.most.max(open);
        if open == 0 {
            return;
        }
        let limits = procfs.read(&format!("{name}/limits"), LONGEST);
        if let Some(limit) =
            limits.ok().and_then(|limits| open_files_limit(&limits)).filter(|&limit| limit > 0)
        {
            let share = open as f64 / limit as f64;
            self.files.nearest = Some(self.files.nearest.unwrap_or(0.0).max(share));
        }
    }

    /// Open files, if this kernel tells: processes that have none at all are not seen in practice.
    pub(super) fn open_files(&self) -> Option<OpenFiles> {
        (self.files.all > 0).then_some(self.files)
    }

    /// Memory in bytes.
    pub(super) fn resident_bytes(&self) -> u64 {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u64::try_from(bytes).ok());
        self.resident.saturating_mul(page.unwrap_or(4096))
    }

    /// Since 1970, in seconds: when the first and the last was started.
    pub(super) fn start_times(&self) -> Option<(f64, f64)> {
        let (first, last) = self.started?;
        let boot = boot_time()?;
        let seconds = |started: u64| boot + started as f64 / ticks() as f64;
        Some((seconds(first), seconds(last)))
    }
}

/// When the clock of start times began, since 1970. In hundredths of a second, so that the little time between
/// the two readings does not show, and a start time stays the same from check to check.
fn boot_time() -> Option<f64> {
    let now = |clock| clock_gettime(clock).ok().map(std::time::Duration::from);
    let (since_boot, since_1970) = (now(ClockId::CLOCK_BOOTTIME)?, now(ClockId::CLOCK_REALTIME)?);
    let boot = since_1970.checked_sub(since_boot)?;
    Some((boot.as_secs_f64() * 100.0).round() / 100.0)
}
