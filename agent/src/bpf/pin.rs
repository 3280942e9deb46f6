//! Pins: maps, programs and links kept in a BPF file system, so that a restarted agent adopts them.
//!
//! One folder per object: `<root>/<object>-<hash>/`, whose hash covers the object's bytes and all its
//! settings. It is filled under another name and then renamed: whatever the moment of a kill, a folder
//! with its final name is complete.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::{
        stat::{major, minor},
        statfs::{BPF_FS_MAGIC, fstatfs},
    },
};

/// The root folder of all pins.
pub struct Pins {
    root: PathBuf,
    /// Held by the agent that owns the pins, for as long as it lives.
    lock: Option<Flock<File>>,
    holder: Option<u32>,
}

/// Suffix of a folder that is being filled.
const UNFINISHED: &str = "-new";

impl Pins {
    /// Opens the root; mounts the BPF file system at its usual place when nothing is mounted there.
    pub fn open(root: &Path) -> Result<Self, String> {
        if !root.is_absolute() {
            return Err(format!("the pin folder {} is not an absolute path", root.display()));
        }
        let parent = root.parent().unwrap_or(root);
        ensure_bpffs(parent)?;
        match fs::create_dir(root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("cannot create {}: {error}", root.display()));
            }
            _ => {}
        }
        let folder = File::open(root).map_err(|error| format!("cannot open {}: {error}", root.display()))?;
        let file = folder.metadata().map_or((0, 0), |m| (m.dev(), m.ino()));
        let (lock, holder) = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => (Some(lock), None),
            Err((_, nix::Error::EWOULDBLOCK)) => (None, lock_holder(file)),
            Err((_, error)) => return Err(format!("cannot lock {}: {error}", root.display())),
        };
        Ok(Self { root: root.to_owned(), lock, holder })
    }

    /// Whether this process may change the pins; otherwise another agent owns them.
    pub fn is_owner(&self) -> bool {
        self.lock.is_some()
    }

    /// The other agent, in words.
    pub fn other(&self) -> String {
        match self.holder {
            Some(pid) => format!("another pitot (pid {pid})"),
            None => "another pitot".to_owned(),
        }
    }

    /// A folder that is whole at any time, because each of its pins is one by itself.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.root.join(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(folder),
        }
    }

    /// A folder to fill; [`Self::finish`] gives it its name.
    pub fn start(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.root.join(format!("{name}{UNFINISHED}"));
        remove(&folder)?;
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Gives a filled folder its name. One that has it already could not be adopted, and goes.
    pub fn finish(&self, name: &str) -> io::Result<()> {
        let folder = self.root.join(name);
        remove(&folder)?;
        fs::rename(self.root.join(format!("{name}{UNFINISHED}")), folder)
    }

    /// Removes every folder of an object that is not among `keep`: objects of other versions and settings,
    /// of inputs that are off, and unfinished ones. Their programs are detached by that. What others have
    /// pinned beside them is not touched.
    pub fn retain(&self, keep: &[String]) -> io::Result<Vec<String>> {
        let mut removed = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if is_ours(&name) && !keep.contains(&name) {
                remove(&self.root.join(&name))?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    /// Removes the root itself, unless it holds more than pins of this program, or is a mount point.
    pub fn remove_root(self) -> io::Result<()> {
        match fs::remove_dir(&self.root) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

/// Whether a name is one that [`folder_name`](super::folder_name) makes, finished or not.
fn is_ours(name: &str) -> bool {
    let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
    name.rsplit_once('-').is_some_and(|(object, hash)| {
        !object.is_empty() && hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn remove(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        fs::remove_file(entry?.path())?;
    }
    fs::remove_dir(folder)
}

fn ensure_bpffs(folder: &Path) -> Result<(), String> {
    let is_bpffs = |folder: &Path| -> io::Result<bool> {
        let open = File::open(folder)?;
        Ok(fstatfs(open.as_fd())?.filesystem_type() == BPF_FS_MAGIC)
    };
    let said = |error: io::Error| format!("{}: {error}", folder.display());
    if is_bpffs(folder).map_err(said)? {
        return Ok(());
    }
    // Anywhere else, a mount would hide what lies there.
    if !folder.ends_with("sys/fs/bpf") {
        let folder = folder.display();
        return Err(format!(
            "no BPF file system at {folder}: `mount -t bpf bpf {folder}`, or pin in /sys/fs/bpf"
        ));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), folder, Some("bpf"), flags, Some("mode=0700")).map_err(|error| {
        format!("no BPF file system at {}, and mounting one failed: {error}", folder.display())
    })
}

/// The process that holds a lock on a file of a device, from /proc/locks.
fn lock_holder((device, inode): (u64, u64)) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let locked = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = fields.iter().position(|field| *field == "FLOCK")?;
        let (pid, file) = (fields.get(at + 3)?, fields.get(at + 4)?);
        (*file == locked).then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_pinned_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let [kept, old, unfinished] =
            ["sched-0123456789abcdef", "sched-fedcba9876543210", "block-0123456789abcdef-new"];
        let others = ["cilium", "tc-globals", "maps-012345678"];
        for name in [kept, old, unfinished].iter().chain(&others) {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("map-a"), "").unwrap();
        }
        let pins = Pins { root: root.path().to_owned(), lock: None, holder: None };
        let mut removed = pins.retain(&[kept.to_owned()]).unwrap();
        removed.sort_unstable();
        assert_eq!(removed, [unfinished, old]);
        for name in others.iter().chain(&[kept]) {
            assert!(root.path().join(name).join("map-a").exists(), "{name}");
        }
        pins.remove_root().unwrap();
        assert!(root.path().join("cilium").exists());
    }
}
