//! Sources: files of /proc and /sys that are opened once and read in place.

mod file;
pub mod parse;

use std::path::{Path, PathBuf};

pub use self::file::{Content, File, NumberFile, SourceError};

/// Where the host's trees are. Anything but `/` means another host's tree: a container's view of its
/// host, or a fixture.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`
    pub procfs: PathBuf,
    /// `/sys`
    pub sysfs: PathBuf,
    /// `/`
    pub rootfs: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { procfs: "/proc".into(), sysfs: "/sys".into(), rootfs: "/".into() }
    }
}

impl Roots {
    /// A file below `procfs`, opened when it is first read.
    pub fn proc(&self, path: &str) -> File {
        File::new(self.procfs.join(path))
    }

    /// A file below `sysfs`, opened when it is first read.
    pub fn sys(&self, path: &str) -> File {
        File::new(self.sysfs.join(path))
    }

    /// A file below `procfs` that holds one number.
    pub fn proc_number(&self, path: &str) -> NumberFile {
        NumberFile::new(self.procfs.join(path))
    }

    /// A path of the host below `rootfs`.
    pub fn root(&self, path: &Path) -> PathBuf {
        self.rootfs.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The entries of a directory that are called `prefix` and then a digit, as in `cpu0`, in the order of their
/// bytes (`cpu10` before `cpu2`). None when there is no such directory.
pub fn numbered(dir: &Path, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .collect();
    names.sort_unstable();
    names
}
