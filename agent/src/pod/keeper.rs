//! The keeper: what the spawner is forked from, and forked again when something ended it that was not the agent.
//!
//! The agent cannot start another one: by then it has no privileges. The keeper reads nothing and nobody, so there is
//! little that could end it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::{WaitStatus, waitpid},
    unistd::{Pid, getpid},
};

use super::spawner::{Host, Spawner};
use crate::sys;

/// A spawner that lived for less is followed by the next one only after that time.
const PAUSE: Duration = Duration::from_secs(1);

/// Has a spawner serve the connection, and the next one when it has ended, until the agent is gone.
pub(super) fn keep(control: OwnedFd, host: Host) -> io::Result<()> {
    let keeper = getpid();
    loop {
        let begun = Instant::now();
        let Some(spawner) = sys::fork()? else {
            let ended = Spawner::new(control, host, keeper).and_then(Spawner::serve);
            sys::leave(i32::from(ended.is_err()));
        };
        if has_served(spawner)? {
            return Ok(());
        }
        let left = PAUSE.saturating_sub(begun.elapsed());
        let is_gone = PollFd::new(control.as_fd(), PollFlags::empty());
        let _woken = poll(&mut [is_gone], PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
    }
}

/// Waits until it has ended: by itself, because the agent is gone, or otherwise.
fn has_served(spawner: Pid) -> io::Result<bool> {
    loop {
        match waitpid(spawner, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code == 0),
            Ok(WaitStatus::Signaled(..)) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
