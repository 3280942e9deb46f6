//! A cgroup with little memory, removed at the end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// With room for so many bytes, in the hierarchy that has the memory controller: version 1's own, or the
    /// one of version 2.
    pub(crate) fn new(limit: u64) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("pitot-test-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let first = Path::new("/sys/fs/cgroup/memory");
        let (root, file) = if first.join("memory.limit_in_bytes").exists() {
            (first, "memory.limit_in_bytes")
        } else {
            let root = Path::new("/sys/fs/cgroup");
            fs::write(root.join("cgroup.subtree_control"), "+memory").ok()?;
            (root, "memory.max")
        };
        let path = root.join(name);
        fs::create_dir(&path).ok()?;
        let group = Self { path };
        group.write(file, limit).ok()?;
        // Where there is swap: none of it, or the limit would be none.
        for (file, limit) in [("memory.memsw.limit_in_bytes", limit), ("memory.swap.max", 0)] {
            if group.path.join(file).exists() {
                group.write(file, limit).ok()?;
            }
        }
        Some(group)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until its process has come close to the limit.
    pub(crate) fn wait_until_full(&self, limit: u64) {
        let used = |file: &str| -> u64 {
            let text = fs::read_to_string(self.path.join(file)).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        for _ in 0..200 {
            if used("memory.usage_in_bytes").max(used("memory.current")) >= limit - limit / 8 {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody came close to the limit of {}", self.path.display());
    }

    fn write(&self, file: &str, value: u64) -> io::Result<()> {
        fs::write(self.path.join(file), value.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has ended leaves its cgroup a moment later.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
