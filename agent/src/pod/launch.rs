//! Starts the spawner: from a sealed copy of a binary, so that whoever gets hold of the process, or of what it has
//! open, cannot change the file on the host.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, fexecve},
};
use rustix::{
    fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open},
    io::{Errno, fcntl_dupfd_cloexec},
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair},
    thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities},
};

use super::{
    orders::{LONGEST, Notice},
    spawner::{CONTROL, KEPT, NAME},
};
use crate::sys;

/// What the spawner gets to say that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// A spawner that runs.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) control: OwnedFd,
    pub(super) pid: Pid,
    /// Capabilities that it would need for entering containers.
    pub(super) missing: CapabilitySet,
}

/// Starts it, and waits until it is ready. Only while this process has one thread, or in tests.
pub(super) fn launch(binary: &Path) -> Result<Launched, String> {
    let image = sealed(binary).map_err(|error| format!("cannot copy {}: {error}", binary.display()))?;
    let started = start(&image).map_err(|error| format!("cannot start the spawner: {error}"))?;
    let (control, pid) = started;
    let missing = hear(&control).map_err(|error| format!("the spawner does not answer: {error}"))?;
    Ok(Launched { control, pid, missing: CapabilitySet::from_bits_retain(missing) })
}

/// A copy of a file in memory that nobody can change, this process included.
fn sealed(binary: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 there was no other kind.
    let image = match memfd_create(NAME, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(NAME, flags),
        image => image,
    }?;
    let mut image = File::from(image);
    io::copy(&mut File::open(binary)?, &mut image)?;
    fcntl_add_seals(&image, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(image.into())
}

fn start(image: &OwnedFd) -> io::Result<(OwnedFd, Pid)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // Out of the way of the numbers that they get.
    let [image, theirs, null] =
        [image.as_fd(), theirs.as_fd(), null.as_fd()].map(|fd| fcntl_dupfd_cloexec(fd, 10));
    let (image, theirs, null) = (image?, theirs?, null?);
    if let Some(child) = sys::fork()? {
        return Ok((ours, child));
    }
    // Here is the copy. Whatever goes wrong, the other side sees its end of the connection closed.
    let _unheard = execute(&image, &theirs, &null);
    sys::leave(127)
}

fn execute(image: &OwnedFd, control: &OwnedFd, null: &OwnedFd) -> io::Result<()> {
    dup2_stdin(null)?;
    dup2_stdout(null)?;
    dup2_stderr(null)?;
    sys::place(control.as_fd(), CONTROL)?;
    pass_on_capabilities()?;
    fexecve(image, &[NAME], &[] as &[&std::ffi::CStr])?;
    Ok(())
}

/// Root keeps its capabilities when it executes something; everybody else keeps what is ambient.
fn pass_on_capabilities() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted & KEPT;
    set_capabilities(None, sets)?;
    for one in sets.inheritable.iter() {
        configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

fn hear(control: &OwnedFd) -> Result<u64, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(control.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(format!("nothing within {} s", PATIENCE.as_secs())),
            Ok(_) => break,
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let mut buffer = [0; LONGEST];
    let (length, _) =
        recv(control, &mut buffer[..], RecvFlags::empty()).map_err(|error| error.to_string())?;
    match buffer.get(..length).and_then(Notice::parse) {
        Some(Notice::Ready { missing }) => Ok(missing),
        _ if length == 0 => Err("it ended".to_owned()),
        _ => Err("it says something else".to_owned()),
    }
}
