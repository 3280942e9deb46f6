//! Iterators: a pass over all objects of a kind, made by the kernel at a read, without text in between.
//!
//! Every pass opens the pinned link anew, which takes no `bpf` call and so no capability: it goes on when
//! the agent has given its own away. The pin is held open (`O_PATH`) and reached through
//! `/proc/self/fd`, so it does not matter when its folder gets another name or is removed.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::programs::links::{FdLink, PinnedLink};
use rustix::fs::{Mode, OFlags};

use super::private::Private;

use crate::sys;

/// What an iterator writes: records of one length, one pass after the other.
pub struct Records {
    path: PathBuf,
    length: usize,
    /// Of the length of the largest pass so far, and more.
    buffer: Vec<u8>,
    _pin: OwnedFd,
}

/// Room for the first pass; what the kernel gives at a time.
const ROOM: usize = 32 * 1024;

impl Records {
    pub(super) fn new(pin: OwnedFd, length: usize) -> Self {
        Self { path: by_number(&pin), length, buffer: vec![0; ROOM], _pin: pin }
    }

    /// Makes a pass and returns its records. Objects that come or go meanwhile may be missing.
    ///
    /// A pass sees what the namespaces of the calling process see.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        let mut file = File::open(&self.path)?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            match file.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                // The kernel has looked at many objects that wrote nothing, and lets others run.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        if !filled.is_multiple_of(self.length) {
            return Err(io::Error::other("the iterator wrote half a record"));
        }
        Ok(&self.buffer[..filled])
    }
}

/// Holds on to a pinned link.
pub(super) fn hold(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Pins a link where no other process sees it.
pub(super) fn pin_in_private(link: FdLink) -> Result<(FdLink, OwnedFd), String> {
    let private = Private::mount()?;
    let path = private.folder("iterator")?.join("link");
    let link = link.pin(&path).map_err(|error| format!("cannot pin an iterator: {error}"))?;
    let held = hold(&path).map_err(|error| format!("cannot open the pin of an iterator: {error}"))?;
    Ok((link.into(), held))
}

/// Attaches an iterator over all control groups of the hierarchy of a controller of version 1, or of the
/// unified one. Over which has to be said, as the kernel's own choice is the unified one as the process's
/// namespace shows it.
pub(super) fn over_cgroups(
    program: impl AsFd,
    sysfs: &Path,
    controller: Option<&str>,
) -> Result<FdLink, String> {
    let all = sysfs.join("fs/cgroup");
    let root = match controller {
        Some(controller) => Some(all.join(controller)),
        None => [all.clone(), all.join("unified")].into_iter().find(|root| is_unified(root)),
    };
    let root =
        File::open(root.ok_or("no unified hierarchy of control groups")?).map_err(|e| e.to_string())?;
    let link = sys::iterate_cgroups(program, root).map_err(|error| format!("cannot attach: {error}"))?;
    // Only of a pinned link does aya make one of its own.
    let private = Private::mount()?;
    let path = private.folder("iterator")?.join("link");
    sys::pin(link, &path).map_err(|error| format!("cannot pin an iterator: {error}"))?;
    Ok(PinnedLink::from_pin(&path).map_err(|error| error.to_string())?.into())
}

fn is_unified(root: &Path) -> bool {
    root.join("cgroup.controllers").exists()
}

fn by_number(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
