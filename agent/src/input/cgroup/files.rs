//! The files of a control group: which there are, and reading them with or without a kept descriptor.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    figures::{Figures, Limits},
    parse,
};
use crate::source::hierarchies::Controller;

/// A file that is read at every collection.
pub(super) struct FigureFile {
    pub(super) of: Controller,
    pub(super) name: &'static str,
    pub(super) group: Group,
    pub(super) parse: fn(&[u8], &mut Figures) -> Option<()>,
}

/// Files that are read, or not, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// What makes the kernel add up, for a whole branch of the tree, what its CPUs have counted.
    Flush,
    /// What the iterator has as well.
    Core,
    /// The same, but dear to read from files, or least missed.
    More,
    /// What only files have.
    Io,
}

const fn file(
    of: Controller,
    name: &'static str,
    group: Group,
    parse: fn(&[u8], &mut Figures) -> Option<()>,
) -> FigureFile {
    FigureFile { of, name, group, parse }
}

use Controller::{Blkio, Cpu, Cpuacct, Memory, Pids, Unified};
use Group::{Core, Flush, Io, More};

pub(super) static FIGURES: [FigureFile; 18] = [
    file(Unified, "cpu.stat", Flush, parse::cpu_stat),
    file(Unified, "memory.current", Core, parse::memory_usage),
    file(Unified, "memory.peak", More, parse::memory_peak),
    file(Unified, "memory.events", Core, parse::memory_events),
    file(Unified, "pids.current", Core, parse::pids),
    file(Unified, "cpu.pressure", More, parse::pressure::<0>),
    file(Unified, "memory.pressure", More, parse::pressure::<1>),
    file(Unified, "io.pressure", More, parse::pressure::<2>),
    file(Unified, "io.stat", Io, parse::io_stat),
    file(Memory, "memory.usage_in_bytes", Core, parse::memory_usage),
    file(Memory, "memory.max_usage_in_bytes", More, parse::memory_peak),
    file(Memory, "memory.oom_control", Core, parse::oom_control),
    file(Cpu, "cpu.stat", Core, parse::cpu_stat),
    file(Cpuacct, "cpuacct.usage", Core, parse::cpuacct_usage),
    file(Cpuacct, "cpuacct.stat", More, parse::cpuacct_stat),
    file(Pids, "pids.current", Core, parse::pids),
    file(Blkio, "blkio.throttle.io_service_bytes_recursive", Io, parse::throttle_bytes),
    file(Blkio, "blkio.throttle.io_serviced_recursive", Io, parse::throttle_operations),
];

/// A file that is read when someone has written to it.
pub(super) struct LimitFile {
    pub(super) of: Controller,
    pub(super) name: &'static str,
    pub(super) parse: fn(&[u8], &mut Limits) -> Option<()>,
}

pub(super) static LIMITS: [LimitFile; 7] = [
    LimitFile { of: Unified, name: "memory.max", parse: parse::memory_limit },
    LimitFile { of: Unified, name: "cpu.max", parse: parse::cpu_max },
    LimitFile { of: Unified, name: "pids.max", parse: parse::pids_limit },
    LimitFile { of: Memory, name: "memory.limit_in_bytes", parse: parse::memory_limit },
    LimitFile { of: Cpu, name: "cpu.cfs_quota_us", parse: parse::cfs_quota },
    LimitFile { of: Cpu, name: "cpu.cfs_period_us", parse: parse::cfs_period },
    LimitFile { of: Pids, name: "pids.max", parse: parse::pids_limit },
];

/// How a file is reached.
#[derive(Debug)]
pub(super) enum Handle {
    /// Opened once.
    Kept(File),
    /// Opened for each reading, where there are too few descriptors: that takes five times as long.
    Anew(PathBuf),
}

impl Handle {
    /// Opens a file, and keeps it while there is a descriptor to spare.
    pub(super) fn open(path: PathBuf, spare: &mut usize) -> io::Result<Self> {
        let file = File::open(&path)?;
        if *spare == 0 {
            return Ok(Self::Anew(path));
        }
        *spare -= 1;
        Ok(Self::Kept(file))
    }

    /// Reads the whole of it, which is short, into a buffer that grows as it must.
    pub(super) fn read<'a>(&self, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        match self {
            Self::Kept(file) => read(file, buffer),
            Self::Anew(path) => read_path(path, buffer),
        }
    }
}

/// Reads a file that is opened for it.
pub(super) fn read_path<'a>(path: &Path, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    read(&File::open(path)?, buffer)
}

/// What the kernel hands out at a time.
const PAGE: usize = 4096;
/// Only a list of very many devices is longer.
const MOST: usize = 1 << 20;

fn read<'a>(file: &File, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let mut length = 0;
    loop {
        if buffer.len() - length < PAGE {
            if length >= MOST {
                return Err(ErrorKind::FileTooLarge.into());
            }
            buffer.resize(length + 2 * PAGE, 0);
        }
        match file.read_at(&mut buffer[length..], length as u64) {
            Ok(more) => {
                length += more;
                // Whole records are handed out as long as they fit a page, and all of these are short.
                if more < PAGE / 2 {
                    return Ok(&buffer[..length]);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The control group is gone, or its controller was switched off.
pub(super) fn has_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EOPNOTSUPP))
}
