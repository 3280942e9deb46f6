//! Processes that a program has started and that left its process group: they must not outlive the check either.
//!
//! A helper that has declared itself their reaper becomes the parent of each whose own parent ends. So, once the
//! program is gone, whoever is left of it is a child of the helper, or a descendant of one.

use std::{io, time::Instant};

use nix::poll::{PollTimeout, poll};
use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, set_child_subreaper, waitid},
};

use crate::{
    input::check::{Dir, processes::record::Record},
    source::parse,
};

/// A line of numbers of a process is never longer.
const LONGEST: u64 = 4096;

/// Makes this process the parent of orphans. Only in one that has no other children.
pub(super) fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Ends all children of this process, and theirs, which become its own.
pub(super) fn end(procfs: &Dir, deadline: Instant) -> io::Result<()> {
    while has_children()? {
        if Instant::now() >= deadline {
            return Err(io::Error::other("something that it has started does not end"));
        }
        kill_children(procfs)?;
        // They end in the time that the kernel takes.
        poll(&mut [], PollTimeout::from(1_u8))?;
    }
    Ok(())
}

/// Takes leave of those that have ended, and says whether there are others.
fn has_children() -> io::Result<bool> {
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(Errno::CHILD) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn kill_children(procfs: &Dir) -> io::Result<()> {
    let own: u64 = getpid().as_raw_nonzero().get().unsigned_abs().into();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in rustix::fs::Dir::new(openat(procfs, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        let Some(pid) = parse::number(name.as_bytes()).and_then(|pid| i32::try_from(pid).ok()) else {
            continue;
        };
        let line = procfs.read(&format!("{name}/stat"), LONGEST);
        let is_child = line.ok().and_then(|line| Record::parse(&line)).is_some_and(|it| it.parent == own);
        // Nobody else gets the number of a child before this process takes leave of it.
        if let Some(pid) = Pid::from_raw(pid).filter(|_| is_child) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}
