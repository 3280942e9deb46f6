//! Runs a program, for so long and for so much output, and leaves nothing of it behind.

use std::{
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::{
    io::ioctl_fionbio,
    pipe::{PipeFlags, pipe_with},
    process::{PidfdFlags, pidfd_open},
};

use crate::sys;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with a status.
    Exited(i32),
    /// By a signal of somebody else.
    Killed,
    /// It did not, and was killed.
    Timeout,
    /// It printed too much, and was killed.
    TooLong,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) end: End,
    /// Its standard output.
    pub(super) output: Vec<u8>,
    /// Bytes of output and errors.
    pub(super) printed: usize,
    pub(super) duration: Duration,
}

/// Runs a program. An error says that it could not be started.
pub(super) fn run(command: &[String], most: usize, deadline: Instant) -> io::Result<Run> {
    let (program, arguments) = command.split_first().ok_or(ErrorKind::InvalidInput)?;
    let started = Instant::now();
    // An input that has ended: no device of the target is opened for it.
    let (input, _) = pipe_with(PipeFlags::CLOEXEC)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "this check is about what a program says, and runs only listed ones"
    )]
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).current_dir("/");
    command.stdin(Stdio::from(input)).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    sys::die_with_parent(&mut command);
    let mut group = Group { leader: command.spawn()? };
    let mut output = Vec::new();
    let ended = group.watch(most, deadline, &mut output);
    let end = match (ended, group.end()) {
        (Ok(Watched { stopped: Some(end), printed }), _) => (end, printed),
        (Ok(Watched { stopped: None, printed }), status) => {
            let status = status?;
            (status.code().map_or(End::Killed, End::Exited), printed)
        }
        (Err(error), _) => return Err(error),
    };
    Ok(Run { end: end.0, output, printed: end.1, duration: started.elapsed() })
}

/// A program and all that it started, as far as they stayed in its process group.
struct Group {
    leader: Child,
}

/// What was seen until it ended.
struct Watched {
    /// Why it must not go on, unless it ended by itself.
    stopped: Option<End>,
    printed: usize,
}

impl Group {
    /// Reads what it prints until the program has ended, or has to. What it started may keep its pipes open: nobody
    /// waits for that.
    fn watch(&mut self, most: usize, deadline: Instant, output: &mut Vec<u8>) -> io::Result<Watched> {
        let id = rustix::process::Pid::from_child(&self.leader);
        let leader = pidfd_open(id, PidfdFlags::empty())?;
        let (mut out, mut errors) = (self.leader.stdout.take(), self.leader.stderr.take());
        let (mut printed, mut discarded) = (0, Vec::new());
        loop {
            // Asked before it is read: what it has printed by its end is in the pipes then.
            let has_ended = wait(
                &leader,
                &[&out.as_ref().map(AsFd::as_fd), &errors.as_ref().map(AsFd::as_fd)],
                deadline,
            )?;
            printed += drain(&mut out, most.saturating_sub(printed), output)?;
            printed += drain(&mut errors, most.saturating_sub(printed), &mut discarded)?;
            discarded.clear();
            let stopped = if printed > most {
                Some(End::TooLong)
            } else if has_ended {
                None
            } else if Instant::now() >= deadline {
                Some(End::Timeout)
            } else {
                continue;
            };
            return Ok(Watched { stopped, printed });
        }
    }

    /// Ends all of it. The leader is not yet waited for then, so its number cannot be that of another group.
    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        let id = i32::try_from(self.leader.id()).map_err(io::Error::other)?;
        // It fails when all are gone.
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        self.leader.wait()
    }
}

/// Waits until there is something to read, or the program has ended, which is what is returned.
fn wait(leader: &impl AsFd, pipes: &[&Option<BorrowedFd<'_>>], deadline: Instant) -> io::Result<bool> {
    let mut list = vec![PollFd::new(leader.as_fd(), PollFlags::POLLIN)];
    list.extend(pipes.iter().copied().flatten().map(|pipe| PollFd::new(*pipe, PollFlags::POLLIN)));
    // A millisecond more, so that the deadline has passed when this comes back for it.
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut list, timeout) {
        Ok(_) => Ok(list.first().and_then(PollFd::any).unwrap_or(false)),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads what is in a pipe, but hardly more than `most`; forgets a pipe that has ended.
fn drain<P: Read + AsFd>(pipe: &mut Option<P>, most: usize, into: &mut Vec<u8>) -> io::Result<usize> {
    let Some(open) = pipe else { return Ok(0) };
    ioctl_fionbio(&*open, true)?;
    let mut read = 0;
    let mut buffer = [0; 8 << 10];
    while read <= most {
        match open.read(&mut buffer) {
            Ok(0) => {
                *pipe = None;
                break;
            }
            Ok(count) => {
                into.extend_from_slice(&buffer[..count]);
                read += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
