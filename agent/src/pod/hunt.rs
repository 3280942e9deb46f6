//! Ends what programs of a target have started, wherever they have gone.
//!
//! A helper that runs programs is the one whom their orphans fall to, so all that they have started is below it for
//! as long as it lives, whatever groups and sessions they make. They are ended first, and it gets the time to bury
//! them: afterwards they would stay as zombies with the first process of the container, which may never look.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use nix::poll::{PollTimeout, poll};
use rustix::{
    fs::{Mode, OFlags, openat},
    process::{Pid, PidfdFlags, Signal, getpgid, getpid, pidfd_open, pidfd_send_signal},
};

/// What the helper gets for it.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest list of children that is read at once; the rest has its turn in the next round.
const LONGEST: u64 = 64 << 10;

/// Ends all that the helpers of a group have started, but not the helpers.
pub(super) fn below(proc: &OwnedFd, group: nix::unistd::Pid) {
    let until = Instant::now() + PATIENCE;
    let Some(group) = Pid::from_raw(group.as_raw()) else { return };
    let helpers: Vec<Pid> = children(proc, getpid())
        .into_iter()
        .filter(|child| getpgid(Some(*child)).is_ok_and(|of_child| of_child == group))
        .collect();
    while helpers.iter().map(|helper| end_below(proc, *helper)).sum::<usize>() > 0 && Instant::now() < until {
        // They end in the time that the kernel takes.
        let _woken = poll(&mut [], PollTimeout::from(1_u8));
    }
}

/// Ends everything below a process. Returns how many there were.
fn end_below(proc: &OwnedFd, process: Pid) -> usize {
    let mut waiting = vec![process];
    let mut found = 0;
    while let Some(parent) = waiting.pop() {
        for child in children(proc, parent) {
            found += 1;
            waiting.push(child);
            // A number can become another's until there is a descriptor: so it is looked at again.
            let Ok(life) = pidfd_open(child, PidfdFlags::empty()) else { continue };
            if children(proc, parent).contains(&child) {
                let _gone = pidfd_send_signal(&life, Signal::KILL);
            }
        }
    }
    found
}

/// The children of a process of one thread. None where the kernel does not list them.
fn children(proc: &OwnedFd, parent: Pid) -> Vec<Pid> {
    let path = format!("{parent}/task/{parent}/children");
    let mut list = String::new();
    let opened = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let read = opened.map(|opened| File::from(opened).take(LONGEST).read_to_string(&mut list));
    if !matches!(read, Ok(Ok(_))) {
        return Vec::new();
    }
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
