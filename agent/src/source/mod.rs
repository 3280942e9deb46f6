//! Sources: files of /proc and /sys that are opened once and read in place.

mod file;
pub(crate) mod hierarchies;
pub(crate) mod mountinfo;
mod optional;
pub mod parse;

use std::path::{Path, PathBuf};

pub use self::{
    file::{Content, File, NumberFile, SourceError},
    optional::OptionalFile,
};

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

    /// A file about the host's network, such as `dev`, opened when it is first read.
    ///
    /// `net` below procfs leads to the network namespace of whoever looks. That is the host's own as long
    /// as procfs is `/proc`; in another tree it would be the agent's container, so there the namespace of
    /// the host's first process is read, where the tree has it.
    pub fn net(&self, path: &str) -> File {
        let first = self.procfs.join("1/net");
        let foreign = self.procfs != Path::new("/proc") && first.is_dir();
        let dir = if foreign { first } else { self.procfs.join("net") };
        File::new(dir.join(path))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_files_of_another_tree_are_those_of_its_first_process() {
        assert_eq!(Roots::default().net("dev").path(), Path::new("/proc/net/dev"));
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { procfs: dir.path().to_owned(), ..Roots::default() };
        assert_eq!(roots.net("dev").path(), dir.path().join("net/dev"));
        std::fs::create_dir_all(dir.path().join("1/net")).unwrap();
        assert_eq!(roots.net("dev").path(), dir.path().join("1/net/dev"));
    }
}
