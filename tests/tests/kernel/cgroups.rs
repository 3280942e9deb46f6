//! Cgroups of the unified tree that a test makes, and processes that run in them.

use std::{
    env,
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Output, id},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

/// Where the unified tree is.
pub(crate) fn tree() -> Option<PathBuf> {
    let is_unified = |path: &Path| {
        File::open(path)
            .is_ok_and(|root| fstatfs(root.as_fd()).is_ok_and(|s| s.filesystem_type() == CGROUP2_SUPER_MAGIC))
    };
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from).into_iter().find(|path| is_unified(path))
}

/// A cgroup that is removed with this.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    pub(crate) fn new(tree: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = tree.join(format!("pitot-test-{}-{number}", id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// As it stands in the label.
    pub(crate) fn name(&self) -> String {
        format!("/{}", self.0.file_name().unwrap().to_string_lossy())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..100 {
            match fs::remove_dir(&self.0) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    thread::sleep(Duration::from_millis(5));
                }
                _ => break,
            }
        }
    }
}

/// Runs an ignored test of this program as a process of its own, which is told these cgroups.
pub(crate) fn run(test: &str, cgroups: &[Cgroup]) -> Output {
    let paths: Vec<&Path> = cgroups.iter().map(Cgroup::path).collect();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("PITOT_TEST_CGROUPS", env::join_paths(paths).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// The cgroups that such a process was told.
pub(crate) fn told() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PITOT_TEST_CGROUPS").unwrap()).collect()
}

/// Moves the calling process.
pub(crate) fn enter(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), "0").unwrap();
}
