//! Connecting to a unix socket whose path means something else to the target than to this process.
//!
//! No call connects to a path below a descriptor. There is one for the working directory, and a path that is
//! only a name is looked for there. So that is where this process goes, for as long as it takes to connect.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

use nix::errno::Errno;
use rustix::{fs::readlinkat, process::fchdir};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::input::check::Dir;

/// As many symbolic links in a row as the kernel follows at most, and a hint that more make a loop.
const MOST_LINKS: usize = 40;

/// From where a path is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum From<'a> {
    /// This process sees what the target sees.
    Here,
    /// The target's `/`. This process has nothing of its own that it would look for by name.
    Root(&'a Dir),
}

/// Connects, without waiting: a listener that has no room for one more is an error of its own.
pub(super) fn connect(from: From<'_>, path: &str) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match from {
        From::Here => socket.connect(&SockAddr::unix(path)?)?,
        From::Root(root) => {
            let (above, name) = find(root, path)?;
            let address = SockAddr::unix(Path::new(".").join(name))?;
            let own = Dir::open(Path::new("/"))?;
            fchdir(above)?;
            let connected = socket.connect(&address);
            // Whatever came of it, no directory of the target's is held: it could not be unmounted.
            fchdir(own)?;
            connected?;
        }
    }
    Ok(OwnedFd::from(socket).into())
}

/// The directory of a socket, and its name there. Links are followed here, below the target's root: were one put in
/// the place of the socket after this, it would lead through what this process sees, which is nothing, or around
/// in the target's own mounts.
fn find(root: &Dir, path: &str) -> io::Result<(Dir, String)> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let (above, name) = path.rsplit_once('/').ok_or(Errno::ENOENT)?;
        let dir = root.dir(if above.is_empty() { "/" } else { above })?;
        match readlinkat(&dir, name, Vec::new()) {
            Ok(to) => {
                let to = to.to_str().map_err(|_| Errno::ENOENT)?;
                path = if to.starts_with('/') { to.to_owned() } else { format!("{above}/{to}") };
            }
            // Not a link.
            Err(rustix::io::Errno::INVAL) => return Ok((dir, name.to_owned())),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::ELOOP.into())
}
