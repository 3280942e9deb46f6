//! Where a lab keeps everything, and what it wrote down to be able to clean up after one that was killed.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::sweep::sweep;

const PREFIX: &str = "pitot-pods-";
/// Folders outside that runtimes make and leave. Those that were not there before go.
const SIDE_EFFECTS: [&str; 8] = [
    "/etc/docker",
    "/run/containerd",
    "/run/docker",
    "/run/containers",
    "/run/libpod",
    "/run/runc",
    "/var/lib/cni",
    "/var/lib/containers",
];

/// The folder of a lab. It is locked as long as the lab lives.
#[derive(Debug)]
pub(super) struct Folder {
    folder: TempDir,
    _lock: File,
}

/// A handle on it, to write down what will have to be removed.
pub(super) type Shared = Arc<Folder>;

impl Folder {
    /// A new one, after whatever was left by labs that were killed has been removed.
    pub(super) fn new() -> Result<Self> {
        remove_leftovers()?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        let lock = File::create(lock(folder.path()))?;
        lock.lock()?;
        let made = Self { folder, _lock: lock };
        for path in SIDE_EFFECTS.iter().filter(|path| !Path::new(path).exists()) {
            made.note(&format!("new {path}"))?;
        }
        Ok(made)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path inside.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes down that there will be a control group of this path, without a slash in front.
    pub(super) fn will_make_cgroup(&self, path: &str) -> Result<()> {
        self.note(&format!("cgroup {path}"))
    }

    /// The same for one that others may have to do with.
    pub(super) fn will_share_cgroup(&self, path: &str) -> Result<()> {
        self.note(&format!("shared {path}"))
    }

    fn note(&self, line: &str) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(journal(self.path()))?;
        Ok(writeln!(file, "{line}")?)
    }
}

/// What had been written down.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Control groups, and everything in them.
    pub(super) cgroups: Vec<String>,
    /// Control groups that go when they are empty.
    pub(super) shared: Vec<String>,
    pub(super) new: Vec<PathBuf>,
}

impl Notes {
    pub(super) fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(journal(folder)).unwrap_or_default();
        let mut notes = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("cgroup", path)) => notes.cgroups.push(path.to_owned()),
                Some(("shared", path)) => notes.shared.push(path.to_owned()),
                Some(("new", path)) if SIDE_EFFECTS.contains(&path) => notes.new.push(path.into()),
                _ => {}
            }
        }
        notes
    }
}

fn lock(folder: &Path) -> PathBuf {
    folder.join("lock")
}

fn journal(folder: &Path) -> PathBuf {
    folder.join("journal")
}

/// Cleans up after labs whose process is gone.
fn remove_leftovers() -> Result<()> {
    for entry in fs::read_dir(env::temp_dir())? {
        let path = entry?.path();
        let is_lab = path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(PREFIX));
        // One that has no lock yet is being made right now.
        let Some(lock) = is_lab.then(|| File::open(lock(&path)).ok()).flatten() else { continue };
        if lock.try_lock().is_ok() {
            super::progress(&format!("removing what is left of an earlier run in {}", path.display()));
            sweep(&path);
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}
