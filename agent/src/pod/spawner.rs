//! The spawner: a process with little in it, which has what entering containers takes and does nothing but fork.
//!
//! It reads nothing but orders of the agent. All that has to do with a target is done by the child, so that whatever
//! hangs there hangs in a process that can be killed. When the agent is gone, so is the spawner, and all helpers.

use std::{
    collections::VecDeque,
    ffi::CStr,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd, RawFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, killpg},
        signalfd::{SfdFlags, SignalFd},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, getppid, setpgid, setsid},
};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketType, recvmsg, send,
        sockopt::socket_type,
    },
    process::{DumpableBehavior, set_dumpable_behavior, set_parent_process_death_signal, umask},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
        set_no_new_privs,
    },
};

use super::{
    filter::Filters,
    helper, hunt,
    keeper::keep,
    lockdown,
    orders::{Ending, Expected, LONGEST, Needs, Notice, Order},
};
use crate::{input::check::Known, process::Resident, sys};

/// What the program is called when it is to be the spawner.
pub(super) const NAME: &CStr = c"pitot-spawner";
/// The number of its connection to the agent.
pub(super) const CONTROL: RawFd = 3;
/// Helpers that it keeps at the most, whatever the agent says.
const MOST: usize = 1024;

/// What helpers get to end when the agent is gone.
const FUNERAL: Duration = Duration::from_millis(300);

/// What entering containers takes: their namespaces, files of their processes, and giving everything up.
pub(super) const KEPT: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::DAC_READ_SEARCH);

/// What every helper begins with.
#[derive(Debug)]
pub(super) struct Host {
    /// `/proc` of the agent.
    pub(super) proc: OwnedFd,
    /// An empty directory that cannot be left; none without the capabilities to make one.
    pub(super) empty: Option<OwnedFd>,
    pub(super) filters: Filters,
    /// What a process has of addresses before it does anything.
    pub(super) memory: u64,
    /// Of what entering takes.
    pub(super) missing: CapabilitySet,
    /// The checks that there are.
    pub(super) checks: &'static [Known],
}

pub(super) struct Spawner {
    control: OwnedFd,
    signals: SignalFd,
    host: Host,
    helpers: Vec<Running>,
    unsent: VecDeque<Notice>,
    /// The agent knows of it.
    has_begun: bool,
}

/// A helper: a process group.
struct Running {
    id: u32,
    group: Pid,
    /// Its first process only makes the second one, inside a PID namespace, and ends.
    relays: bool,
    /// It may have started programs.
    executes: bool,
    ending: Option<Ending>,
}

/// Is the spawner, if that is what this process was started for: what `main` begins with.
pub fn spawner(checks: &'static [Known]) -> Option<ExitCode> {
    let name = std::env::args_os().next()?;
    if name.as_encoded_bytes() != NAME.to_bytes() {
        return None;
    }
    let kept = sys::inherited(CONTROL)
        .map(|control| Host::new(&control, checks).and_then(|host| keep(control, host)));
    // It says nothing when it cannot begin: whoever waits for it sees the connection end.
    Some(if matches!(kept, Some(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Host {
    /// Makes this process one that has what entering containers takes, and as little else as possible.
    fn new(control: &OwnedFd, checks: &'static [Known]) -> io::Result<Self> {
        if socket_type(control)? != SocketType::SEQPACKET {
            return Err(io::Error::other("not started by the agent"));
        }
        set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        setsid()?;
        umask(Mode::from_raw_mode(0o077));
        sys::close_all_but(&[0, 1, 2, CONTROL])?;
        rustix::io::fcntl_setfd(control, rustix::io::FdFlags::CLOEXEC)?;
        // A backtrace would open files, and nobody reads it.
        std::panic::set_hook(Box::new(|_| {}));
        let missing = keep_capabilities()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            proc: openat(CWD, "/proc", flags, Mode::empty())?,
            empty: if missing.is_empty() { Some(lockdown::empty_directory()?) } else { None },
            filters: Filters::new().map_err(io::Error::other)?,
            memory: Resident::new().addresses().ok_or_else(|| io::Error::other("no statm"))?,
            missing,
            checks,
        })
    }
}

impl Spawner {
    /// The spawner, forked from its keeper.
    pub(super) fn new(control: OwnedFd, host: Host, keeper: Pid) -> io::Result<Self> {
        let mask = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM]);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // Not the one that nobody can catch: there may be something to clear away.
        set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        if getppid() != keeper {
            return Err(io::Error::other("nobody would notice its end"));
        }
        let unsent = VecDeque::from([Notice::Ready { missing: host.missing.bits() }]);
        Ok(Self { control, signals, host, helpers: Vec::new(), unsent, has_begun: false })
    }

    /// Does what the agent orders until that is gone. An error says that it may still be there.
    pub(super) fn serve(mut self) -> io::Result<()> {
        let is_told_to_end = loop {
            self.tell()?;
            let wanted = if self.unsent.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            let mut sources = [
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN | wanted),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut sources, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let is_told_to_end = self.hear();
            self.reap();
            if is_told_to_end || !self.obey()? {
                break is_told_to_end;
            }
        };
        self.helpers.iter().for_each(|helper| helper.end(&self.host));
        self.bury()?;
        if is_told_to_end { Err(Errno::EINTR.into()) } else { Ok(()) }
    }

    /// Waits for those that were killed: whoever would have to do it afterwards may not.
    fn bury(&mut self) -> io::Result<()> {
        let until = Instant::now() + FUNERAL;
        while !self.helpers.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.hear();
            self.reap();
        }
        Ok(())
    }

    /// Takes the signals that have come. True when one says that it is time to end.
    fn hear(&self) -> bool {
        let mut is_to_end = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            is_to_end |= signal.ssi_signo == Signal::SIGTERM as u32;
        }
        is_to_end
    }

    /// Does what the agent wants, as far as it has said so. False when the agent is gone.
    fn obey(&mut self) -> io::Result<bool> {
        let mut bytes = [0; LONGEST];
        loop {
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut along = RecvAncillaryBuffer::new(&mut room);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received = match recvmsg(&self.control, &mut [IoSliceMut::new(&mut bytes)], &mut along, flags)
            {
                Ok(received) if received.bytes == 0 => return Ok(false),
                Ok(received) => received,
                Err(rustix::io::Errno::AGAIN) => return Ok(true),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut connections = along.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            });
            let connection = connections.next();
            match (bytes.get(..received.bytes).and_then(Order::parse), connection) {
                (Some(Order::Begin), _) => self.has_begun = true,
                // With the connection, whoever waits for the helper learns that there is none.
                (Some(Order::Start { .. }), _) if !self.has_begun => {}
                (Some(Order::Start { id, needs, expected }), Some(connection)) => {
                    self.start(id, needs, expected.as_ref(), connection);
                }
                (Some(Order::Kill(id)), _) => {
                    let host = &self.host;
                    self.helpers.iter().filter(|helper| helper.id == id).for_each(|helper| helper.end(host));
                }
                // Not from this agent.
                _ => return Err(io::Error::other("not an order")),
            }
        }
    }

    /// Forks. Where that is impossible, the connection ends without a word.
    fn start(&mut self, id: u32, needs: Needs, expected: Option<&Expected>, connection: OwnedFd) {
        let failed = |error: i32| Notice::Ended { id, ending: Ending::NotStarted(error) };
        if self.helpers.len() >= MOST {
            self.unsent.push_back(failed(libc::EUSERS));
            return;
        }
        match sys::fork() {
            Ok(Some(group)) => {
                // Both sides do it, so that the group is there whoever comes first.
                let _done_already = setpgid(group, group);
                let relays = helper::relays(needs, expected);
                let executes = needs.executes();
                self.helpers.push(Running { id, group, relays, executes, ending: None });
            }
            Ok(None) => helper::run(&self.host, needs, expected, connection),
            Err(error) => self.unsent.push_back(failed(error.raw_os_error().unwrap_or(0))),
        }
    }

    /// Buries who has ended, and notes whose helper has ended with that.
    fn reap(&mut self) {
        let unsent = &mut self.unsent;
        self.helpers.retain_mut(|helper| {
            let ended = helper.reap();
            if let Some(ending) = ended {
                unsent.push_back(Notice::Ended { id: helper.id, ending });
            }
            ended.is_none()
        });
    }

    /// Says what there is to say, as far as the agent listens.
    fn tell(&mut self) -> io::Result<()> {
        while let Some(notice) = self.unsent.front() {
            match send(&self.control, &notice.to_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => drop(self.unsent.pop_front()),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Running {
    /// Ends it with all that it has started.
    fn end(&self, host: &Host) {
        if self.executes {
            hunt::below(&host.proc, self.group);
        }
        self.kill();
    }

    /// Ends the group. The number of the group cannot have become another's: its leader has not
    /// been waited for, or one of its members lives.
    fn kill(&self) {
        let _gone = killpg(self.group, Signal::SIGKILL);
    }

    /// How it ended, once nothing of it is left.
    fn reap(&mut self) -> Option<Ending> {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            let (dead, ending) = match waitid(Id::PGid(self.group), look) {
                Ok(WaitStatus::Exited(dead, code)) => (dead, Ending::Code(code)),
                Ok(WaitStatus::Signaled(dead, signal, _)) => (dead, Ending::Signal(signal as i32)),
                Err(Errno::EINTR) => continue,
                Ok(_) => return None,
                Err(_) => return Some(self.ending.unwrap_or(Ending::Code(0))),
            };
            let handed_over = self.relays && dead == self.group && ending == Ending::Code(0);
            if !handed_over {
                self.ending = Some(ending);
                // What it has started does not outlive it. Its number is its own until it is waited for.
                self.kill();
            }
            let _status = waitid(Id::Pid(dead), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        }
    }
}

/// Gives up what entering does not take. Returns what it would take and is not there.
fn keep_capabilities() -> io::Result<CapabilitySet> {
    let held = capabilities(None)?.permitted;
    clear_ambient_capability_set()?;
    if held.contains(CapabilitySet::SETPCAP) {
        lockdown::unbind_capabilities()?;
    }
    // That was all it was for.
    let kept = held & KEPT.difference(CapabilitySet::SETPCAP);
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    set_no_new_privs(true)?;
    Ok(KEPT.difference(held))
}
