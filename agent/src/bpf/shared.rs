//! Maps that several objects share: made by the first object that needs them, found by the later ones.
//!
//! An object finds the map of another by its pin. So these are pinned in any case: beside the agent's other
//! pins or, where nothing shall stay, in a BPF file system that has no place in the tree and that nobody
//! else sees. Each is created and pinned by one call and used by none before; a start that is killed leaves
//! a folder that the next one fills up.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use aya_obj::Object;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use sha2::{Digest, Sha256};

use super::{Settings, entries, folder_name};
use crate::catalogue::BpfDef;

/// Counted up when the words of a shared map change their meaning and no size tells.
const ABI: u32 = 1;

/// The folder of an object's shared maps: anything that changes what they hold changes the name. None where
/// nothing is shared, or where the object cannot be read, which its load will explain.
pub(super) fn folder(def: &BpfDef, bytes: &[u8], settings: &Settings, cpus: u32) -> Option<String> {
    if def.shared.is_empty() {
        return None;
    }
    let object = Object::parse(bytes).ok()?;
    let mut hash = Sha256::new();
    hash.update(ABI.to_ne_bytes());
    let mut shared: Vec<_> = def.shared.iter().collect();
    shared.sort_unstable_by_key(|map| map.name);
    for map in shared {
        let found = object.maps.get(map.name)?;
        hash.update(map.name);
        let entries = entries(map.entries, settings, cpus);
        for part in [found.map_type(), found.key_size(), found.value_size(), found.map_flags(), entries] {
            hash.update(part.to_ne_bytes());
        }
    }
    Some(folder_name("shared", hash))
}

/// A BPF file system for as long as objects are being opened. Maps outlive it by the programs that use them.
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
