//! A BPF file system that has no place in the tree and that nobody else sees: where nothing shall stay,
//! objects share maps there, because one finds the map of another by its pin.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// One for as long as objects are being opened. Maps outlive it by the programs that use them.
pub(super) struct Private {
    mount: OwnedFd,
}

impl Private {
    /// Needs `CAP_SYS_ADMIN`, and a kernel of 5.2 or newer.
    pub(super) fn mount() -> Result<Self, String> {
        let mounted = || -> io::Result<OwnedFd> {
            let context = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(&context)?;
            Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
        };
        Ok(Self { mount: mounted().map_err(|error| format!("no BPF file system: {error}"))? })
    }

    /// A folder in it, made by whoever is first.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let folder = PathBuf::from(format!("/proc/self/fd/{}", self.mount.as_raw_fd())).join(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(format!("cannot make a folder in a BPF file system: {error}"))
            }
            _ => Ok(folder),
        }
    }
}
