//! What a check may look at inside its target: directories that were opened before privileges were dropped.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use crate::input::InputError;

/// Surroundings of a check while it is executed.
#[derive(Debug)]
pub struct Inside {
    /// When nobody waits for it any more.
    pub deadline: Instant,
    /// The target's `/`.
    pub root: Dir,
    /// `/proc/PID` of the target's first process.
    pub process: Dir,
    /// The `/proc` of the target's PID namespace, for checks that are executed in it.
    pub procfs: Option<Dir>,
}

impl Inside {
    /// The host itself, as the caller sees it.
    pub fn host(timeout: Duration) -> io::Result<Self> {
        Ok(Self {
            deadline: Instant::now() + timeout,
            root: Dir::open(Path::new("/"))?,
            process: Dir::open(Path::new("/proc/self"))?,
            procfs: Some(Dir::open(Path::new("/proc"))?),
        })
    }

    /// The processes of the target, without which some checks have nothing to look at.
    pub fn procfs(&self) -> Result<&Dir, InputError> {
        let missing = || InputError::Other("there is no /proc of the namespace".to_owned());
        self.procfs.as_ref().ok_or_else(missing)
    }

    /// What is left of the time.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// What is read of a file at once, at first.
const PAGE: usize = 4 << 10;

/// A directory whose content may be hostile: paths in it never lead out of it, and nothing is waited for.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Opens a directory that the caller may see.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// One that was opened by somebody else.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// A reference to something in it, as for `statfs`: nothing is read, and a device is not opened.
    pub fn find(&self, path: &str) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH)
    }

    /// A directory in it.
    pub fn dir(&self, path: &str) -> io::Result<Self> {
        self.open_with(path, OFlags::PATH | OFlags::DIRECTORY).map(Self)
    }

    /// The content of a regular file in it; one that is longer is an error, and so is anything else than a file.
    pub fn read(&self, path: &str, longest: u64) -> io::Result<Vec<u8>> {
        let fd = self.open_with(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other(format!("{path} is not a file")));
        }
        // Files of /proc say that they are empty: a page at once, instead of a few bytes and then a few more.
        let mut content = Vec::with_capacity(PAGE);
        File::from(fd).take(longest + 1).read_to_end(&mut content)?;
        if content.len() as u64 > longest {
            return Err(io::Error::other(format!("{path} is longer than {longest} bytes")));
        }
        Ok(content)
    }

    /// The names in a directory in it, `most` at most.
    pub fn names(&self, path: &str, most: usize) -> io::Result<Vec<String>> {
        let fd = self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if matches!(name.as_ref(), "." | "..") {
                continue;
            }
            if names.len() == most {
                return Err(io::Error::other(format!("{path} has more than {most} entries")));
            }
            names.push(name.into_owned());
        }
        Ok(names)
    }

    fn open_with(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        // Symbolic links stay below this directory, and none leads to what a process has open.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
