//! Names of cgroups: the path of a cgroup in the unified tree, from the identity that programs see.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use crate::sys;

/// What is known of a cgroup's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Its path, from the root of the tree.
    Path(Box<[u8]>),
    /// There is no such cgroup any more.
    Gone,
    /// It cannot be told on this host.
    Unknown,
}

/// The way to names.
pub(super) enum Names {
    /// The unified tree, open at its root, and where that is.
    Tree(File, PathBuf),
    /// There is none, or none that can be seen from here.
    Nowhere,
}

impl Names {
    /// Looks for the unified tree below a sysfs: at the usual place, or beside the trees of version 1.
    pub(super) fn find(sysfs: &Path) -> Self {
        let places = ["fs/cgroup", "fs/cgroup/unified"].map(|place| sysfs.join(place));
        places.into_iter().find_map(Self::at).unwrap_or(Self::Nowhere)
    }

    fn at(place: PathBuf) -> Option<Self> {
        let root = File::open(&place).ok()?;
        let kind = fstatfs(root.as_fd()).ok()?.filesystem_type();
        (kind == CGROUP2_SUPER_MAGIC).then_some(Self::Tree(root, place))
    }

    /// The name of a cgroup: opened by its identity, which takes no search and tells whether it still lives.
    pub(super) fn of(&self, cgroup: u64) -> Name {
        let Self::Tree(root, place) = self else { return Name::Unknown };
        match sys::open_by_identity(root.as_fd(), cgroup) {
            Ok(directory) => match fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())) {
                Ok(path) => path_in(&path, place).map_or(Name::Unknown, Name::Path),
                Err(_) => Name::Unknown,
            },
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => Name::Gone,
            Err(_) => Name::Unknown,
        }
    }

    /// Whether a cgroup has been removed. What cannot be told has not.
    pub(super) fn is_gone(&self, cgroup: u64) -> bool {
        let Self::Tree(root, _) = self else { return false };
        let opened = sys::open_by_identity(root.as_fd(), cgroup);
        opened.is_err_and(|error: io::Error| error.raw_os_error() == Some(libc::ESTALE))
    }
}

/// The path from the root of the tree: `/` for the root itself. None of what lies above the part of the tree
/// that this process can see.
fn path_in(path: &Path, place: &Path) -> Option<Box<[u8]>> {
    let inside = path.strip_prefix(place).ok()?.as_os_str().as_bytes();
    Some([b"/", inside].concat().into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_root_of_the_tree() {
        let named = |path: &str| path_in(Path::new(path), Path::new("/sys/fs/cgroup"));
        assert_eq!(named("/sys/fs/cgroup").as_deref(), Some(&b"/"[..]));
        assert_eq!(named("/sys/fs/cgroup/a.slice/b").as_deref(), Some(&b"/a.slice/b"[..]));
        assert_eq!(named("/elsewhere"), None);
    }

    #[test]
    fn without_a_unified_tree_nothing_is_named_and_nothing_is_gone() {
        let names = Names::find(tempfile::tempdir().unwrap().path());
        assert!(matches!(names, Names::Nowhere));
        assert_eq!(names.of(1), Name::Unknown);
        assert!(!names.is_gone(1));
    }
}
