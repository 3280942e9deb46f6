//! A socket of a runtime in the host's tree.

use std::{
    io::{self, ErrorKind},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, fstat};
use tokio::net::UnixStream;

use super::trouble::Trouble;
use crate::input::check::Dir;

/// Where a runtime may be listening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    root: PathBuf,
    path: String,
    /// As it is shown.
    name: String,
}

impl Place {
    /// A path in the tree of a host. What is a link there leads to somewhere else in that tree, and not in the agent's.
    pub(super) fn new(root: &Path, path: &str) -> Self {
        let name = root.join(path.trim_start_matches('/')).to_string_lossy().into_owned();
        Self { root: root.to_owned(), path: path.to_owned(), name }
    }

    /// The whole path.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a socket.
    pub(super) fn exists(&self) -> bool {
        self.find().is_ok()
    }

    fn find(&self) -> io::Result<std::os::fd::OwnedFd> {
        let found = Dir::open(&self.root)?.find(&self.path)?;
        match FileType::from_raw_mode(fstat(&found)?.st_mode) {
            FileType::Socket => Ok(found),
            _ => Err(io::Error::other("is not a socket")),
        }
    }

    /// Connects to whoever listens there now.
    pub(super) async fn connect(&self) -> Result<UnixStream, Trouble> {
        let found = self.find().map_err(|error| self.explain(&error))?;
        // By its descriptor: a socket's address has room for 107 bytes of a path, and the path has been followed.
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        UnixStream::connect(path).await.map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &io::Error) -> Trouble {
        let name = &self.name;
        match error.kind() {
            ErrorKind::NotFound => Trouble::Missing(name.clone()),
            ErrorKind::ConnectionRefused => Trouble::Gone(format!("{name}: nobody listens there")),
            // The agent gives up the capability to write what is not its own, and connecting is writing.
            ErrorKind::PermissionDenied => Trouble::Gone(format!(
                "{name}: permission denied: the agent keeps no right to override permissions, so the user that it runs \
                 as, or a group of that user, must be able to write to the socket"
            )),
            _ => Trouble::Gone(format!("{name}: {error}")),
        }
    }
}
