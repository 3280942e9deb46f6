//! A mount that hangs in the kernel, for whoever asks it anything.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A FUSE mount whose server never says a word.
pub(crate) struct Hung {
    server: Option<File>,
    pub(crate) point: PathBuf,
}

impl Hung {
    /// Needs root and `/dev/fuse`.
    pub(crate) fn mount(point: &Path) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(point)?;
        let server = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        mount(Some("hung"), point, Some("fuse"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Self { server: Some(server), point: point.to_owned() })
    }

    /// Ends its server: whoever waits gets an error.
    pub(crate) fn end_server(&mut self) {
        self.server = None;
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Without its server the mount answers, with an error.
        self.end_server();
        let _ = umount2(&self.point, MntFlags::MNT_DETACH);
    }
}
