//! Pins: maps, programs and links kept in a BPF file system, so that a restarted agent adopts them.
//!
//! One folder per object, `<root>/<object>-<hash>/`, holds its maps and, in a folder of their own, the programs
//! that write them: `programs-<hash>/`. Each is filled under another name and then renamed: whatever the
//! moment of a kill, a folder with its final name is complete. What goes is renamed first, too.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use aya::programs::links::{FdLink, PinnedLink};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::{
        stat::{major, minor},
        statfs::{BPF_FS_MAGIC, fstatfs},
        statvfs::FsFlags,
    },
};

use super::abi::Names;

/// The root folder of all pins.
pub struct Pins {
    root: PathBuf,
    /// Held by the agent that owns the pins, for as long as it lives.
    lock: Option<Flock<File>>,
    holder: Option<u32>,
}

/// Suffix of a folder that is being filled.
const UNFINISHED: &str = "-new";
/// Suffix of a folder that is being removed.
const DISCARDED: &str = "-old";

/// A set of programs that is being pinned, and the maps for it.
pub(super) struct Begun {
    /// Where the maps are.
    pub(super) maps: PathBuf,
    /// Where the programs are.
    pub(super) programs: PathBuf,
    /// Whether the maps were there before.
    pub(super) inherits: bool,
    folder: PathBuf,
}

impl Begun {
    /// Gives what has been filled its name.
    pub(super) fn finish(&self, names: &Names) -> io::Result<()> {
        fs::rename(&self.programs, self.maps.join(&names.programs))?;
        if self.inherits { Ok(()) } else { fs::rename(&self.maps, &self.folder) }
    }
}

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
    pub(super) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.root.join(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(folder),
        }
    }

    /// Begins a set of programs: with the maps that are pinned, if they are all there, otherwise with new ones.
    pub(super) fn begin(&self, names: &Names, maps: impl IntoIterator<Item = String>) -> io::Result<Begun> {
        let folder = self.root.join(&names.maps);
        let inherits = maps.into_iter().all(|map| folder.join(map).exists()) && folder.is_dir();
        let maps = if inherits { folder.clone() } else { with_suffix(&folder, UNFINISHED) };
        if !inherits {
            remove(&maps)?;
            fs::create_dir(&maps)?;
        }
        let programs = with_suffix(&maps.join(&names.programs), UNFINISHED);
        remove(&programs)?;
        fs::create_dir(&programs)?;
        Ok(Begun { maps, programs, inherits, folder })
    }

    /// Removes the other programs of an object, with or without their maps: their links go with that. Returns
    /// the numbers of those, which may not have ended yet.
    pub(super) fn discard_others(&self, names: &Names, programs: &Path) -> io::Result<HashSet<u32>> {
        let mut gone = HashSet::new();
        let kind = kind(&names.maps);
        for (name, path) in folders(&self.root)? {
            if programs.parent() == Some(&path) {
                let inner = folders(&path)?;
                let others = inner.into_iter().filter(|(_, path)| path != programs);
                others
                    .filter(|(name, _)| is_ours(name))
                    .try_for_each(|(_, path)| discard(&path, &mut gone))?;
            } else if is_ours(&name) && self::kind(&name) == kind {
                discard(&path, &mut gone)?;
            }
        }
        Ok(gone)
    }

    /// Removes every folder of an object that is not among `keep`: objects of other versions and settings,
    /// of inputs that are off, and unfinished ones. Their programs are detached by that. What others have
    /// pinned beside them is not touched.
    pub fn retain(&self, keep: &[String]) -> io::Result<Vec<String>> {
        let mut removed = Vec::new();
        for (name, path) in folders(&self.root)? {
            if is_ours(&name) && !keep.contains(&name) {
                discard(&path, &mut HashSet::new())?;
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

/// Whether a name is one that [`Names`] has, finished or not.
fn is_ours(name: &str) -> bool {
    let hash = plain(name).rsplit_once('-').map(|(kind, hash)| (kind.is_empty(), hash));
    hash.is_some_and(|(no_kind, hash)| {
        !no_kind && hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// A name without what says how far the folder is.
fn plain(name: &str) -> &str {
    [UNFINISHED, DISCARDED].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// The object whose folder has this name.
fn kind(name: &str) -> &str {
    plain(name).rsplit_once('-').map_or(name, |(kind, _)| kind)
}

fn with_suffix(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    folder.with_file_name(name)
}

/// The folders in a folder, with their names.
fn folders(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// Takes a folder's name away, notes the links in it, and removes it.
fn discard(folder: &Path, links: &mut HashSet<u32>) -> io::Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let nameless = folder.with_file_name(format!("{}{DISCARDED}", plain(&name)));
    if nameless != folder {
        discard_now(&nameless, links)?;
        fs::rename(folder, &nameless)?;
    }
    discard_now(&nameless, links)
}

fn discard_now(folder: &Path, links: &mut HashSet<u32>) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for inner in std::iter::once(folder.to_owned()).chain(folders(folder)?.into_iter().map(|(_, path)| path))
    {
        for entry in fs::read_dir(inner)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b"link-") {
                let link = PinnedLink::from_pin(entry.path()).map(FdLink::from);
                links.extend(link.ok().and_then(|link| link.info().ok()).map(|info| info.id()));
            }
        }
    }
    remove(folder)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn ensure_bpffs(folder: &Path) -> Result<(), String> {
    let state = |folder: &Path| -> io::Result<(bool, bool)> {
        let fs = fstatfs(File::open(folder)?.as_fd())?;
        Ok((fs.filesystem_type() == BPF_FS_MAGIC, fs.flags().contains(FsFlags::ST_RDONLY)))
    };
    match state(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        (true, false) => return Ok(()),
        // Said here once: otherwise a root that is there already would fail at the first pin of each object.
        (true, true) => return Err(format!("{}: Read-only file system", folder.display())),
        (false, _) => {}
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
