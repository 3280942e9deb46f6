//! The agent's end of its connection to the spawner.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::{
    io::Errno,
    net::{
        RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, recv, sendmsg, shutdown,
    },
    process::{PidfdFlags, pidfd_open},
};

use super::orders::{LONGEST, Notice, Order};

/// How long an order to kill may wait for room. The spawner does nothing that takes longer.
const ROOM: Duration = Duration::from_millis(100);
/// What the spawner gets to end when nobody needs it any more.
const FAREWELL: Duration = Duration::from_millis(500);

/// Orders go out, notices come in.
#[derive(Debug)]
pub(super) struct Control {
    socket: OwnedFd,
    spawner: Pid,
}

impl Control {
    pub(super) fn new(socket: OwnedFd, spawner: Pid) -> Self {
        Self { socket, spawner }
    }

    /// Sends an order, with a descriptor if it takes one. `WouldBlock` when the spawner has to catch up first.
    pub(super) fn order(&self, order: &Order, along: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        let descriptors: Vec<BorrowedFd<'_>> = along.into_iter().collect();
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        let bytes = order.to_bytes();
        if bytes.len() > LONGEST {
            return Err(io::Error::other("the order is too long"));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut ancillary, flags)?;
        Ok(())
    }

    /// Has a helper killed, with all that it has started. This one is not put off.
    pub(super) fn kill(&self, id: u32) {
        let until = Instant::now() + ROOM;
        while let Err(error) = self.order(&Order::Kill(id), None) {
            let left = until.saturating_duration_since(Instant::now());
            if error.kind() != io::ErrorKind::WouldBlock || left.is_zero() {
                break;
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let _woken = poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)], timeout);
        }
    }

    /// Takes what the spawner has said. False when it is gone.
    pub(super) fn hear(&self, mut take: impl FnMut(Notice)) -> bool {
        let mut bytes = [0; LONGEST];
        loop {
            match recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Ok((length, _)) if length > 0 => match bytes.get(..length).and_then(Notice::parse) {
                    Some(notice) => take(notice),
                    None => return false,
                },
                _ => return false,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // It ends when this connection does. A zombie would stay until the agent ends.
        let _closed = shutdown(&self.socket, Shutdown::Both);
        let pid = rustix::process::Pid::from_raw(self.spawner.as_raw());
        if let Some(Ok(life)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            let timeout = PollTimeout::try_from(FAREWELL).unwrap_or(PollTimeout::ZERO);
            let _ended = poll(&mut [PollFd::new(life.as_fd(), PollFlags::POLLIN)], timeout);
        }
        if matches!(waitpid(self.spawner, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
            let _stubborn = kill(self.spawner, Signal::SIGKILL);
            let _status = waitpid(self.spawner, None);
        }
    }
}
