//! Sources: files of /proc and /sys that are opened once and read in place.

mod file;
pub mod parse;

use std::path::{Path, PathBuf};

pub use self::file::{Content, File, SourceError};

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
    /// The trees below another host's `/`.
    pub fn under(rootfs: &Path) -> Self {
        Self { procfs: rootfs.join("proc"), sysfs: rootfs.join("sys"), rootfs: rootfs.into() }
    }

    /// A file below `procfs`, opened when it is first read.
    pub fn proc(&self, path: &str) -> File {
        File::new(self.procfs.join(path))
    }

    /// A file below `sysfs`, opened when it is first read.
    pub fn sys(&self, path: &str) -> File {
        File::new(self.sysfs.join(path))
    }

    /// A path of the host below `rootfs`.
    pub fn root(&self, path: &Path) -> PathBuf {
        self.rootfs.join(path.strip_prefix("/").unwrap_or(path))
    }
}
