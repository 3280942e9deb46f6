//! The first process of a container, who started it, and what that tells.
//!
//! Nothing here takes a permission over the process: what `/proc/PID/ns` would tell is not asked, and neither are
//! the links `cwd` and `root`.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use nix::unistd::{SysconfVar, sysconf};

use super::{Process, cgroup_path};
use crate::source::{Roots, mountinfo, parse};

/// Longest command line that is looked at.
const LONGEST: u64 = 16 << 10;
/// Processes of one container that are looked at to find the first.
const LOOKED_AT: usize = 256;

/// Processes of the host.
pub(super) struct Processes {
    procfs: PathBuf,
    booted: Option<SystemTime>,
    ticks: u64,
}

/// The first process of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) process: Process,
    /// What it is called, as its kernel thread is: 15 bytes at most.
    pub(super) comm: String,
    /// The process that started it, or has taken it over.
    pub(super) parent: u32,
}

/// A line of `stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    parent: u32,
    started: u64,
}

impl First {
    /// Whether this still is the runtime, on its way to becoming the container's first process.
    pub(super) fn is_on_its_way(&self) -> bool {
        matches!(self.comm.split(':').next(), Some("runc" | "crun" | "youki"))
    }
}

impl Processes {
    pub(super) fn new(roots: &Roots) -> Self {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let mut processes = Self {
            procfs: roots.procfs.clone(),
            booted: None,
            ticks: u64::try_from(ticks).unwrap_or(100).max(1),
        };
        processes.booted = processes.boot();
        processes
    }

    fn boot(&self) -> Option<SystemTime> {
        let stat = fs::read(self.procfs.join("stat")).ok()?;
        let seconds = parse::lines(&stat).find_map(|line| parse::number(line.strip_prefix(b"btime ")?))?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// When a process was started, by the clock of the boot.
    pub(super) fn time_of(&self, process: Process) -> Option<SystemTime> {
        let since = Duration::from_millis(process.started.checked_mul(1000)? / self.ticks);
        self.booted?.checked_add(since)
    }

    /// The first among processes: of those that were started from outside the one that is first in its PID
    /// namespace, or else the oldest. Others come from outside too, with every command that is executed inside.
    pub(super) fn first(&self, pids: &mut Vec<u32>) -> Option<First> {
        pids.sort_unstable();
        pids.dedup();
        let mut oldest: Option<First> = None;
        for &pid in pids.iter().take(LOOKED_AT) {
            let Some(stat) = self.stat(pid) else { continue };
            if pids.binary_search(&stat.parent).is_ok() {
                continue;
            }
            let found = First {
                process: Process { pid, started: stat.started },
                comm: stat.comm,
                parent: stat.parent,
            };
            if self.is_first_in_namespace(pid) {
                return Some(found);
            }
            if oldest.as_ref().is_none_or(|oldest| found.process.started < oldest.process.started) {
                oldest = Some(found);
            }
        }
        oldest
    }

    /// Whether it is still there, and not another one of its number.
    pub(super) fn is_alive(&self, process: Process) -> bool {
        self.stat(process.pid).is_some_and(|stat| stat.started == process.started)
    }

    /// None for one that has ended.
    fn stat(&self, pid: u32) -> Option<Stat> {
        parse_stat(&fs::read(self.procfs.join(format!("{pid}/stat"))).ok()?)
    }

    fn is_first_in_namespace(&self, pid: u32) -> bool {
        let Ok(status) = fs::read(self.procfs.join(format!("{pid}/status"))) else { return false };
        let numbers = parse::lines(&status).find_map(|line| line.strip_prefix(b"NSpid:"));
        // The last is its number in the innermost namespace; where there is one only, that is the host's.
        let mut numbers = numbers.into_iter().flat_map(parse::fields);
        numbers.next().is_some() && numbers.last() == Some(b"1")
    }

    /// The words of a command line.
    pub(super) fn words(&self, pid: u32) -> Vec<String> {
        let mut line = Vec::new();
        let file = File::open(self.procfs.join(format!("{pid}/cmdline")));
        // What has gone has no command line.
        let _ = file.and_then(|file| file.take(LONGEST).read_to_end(&mut line));
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// Whether what a process says of itself is a program of the host speaking: it sees the host's file system, or, as
    /// runtimes do that have mounts of their own, at least is in no container. Whatever a container starts can have
    /// any name and any words.
    pub(super) fn is_of_host(&self, pid: u32) -> bool {
        let root = self.root_mount(pid);
        (root.is_some() && root == self.root_mount(1)) || !self.is_contained(pid)
    }

    /// The number of the mount that a process has for `/`. No two mounts have the same, in whatever namespaces. It is
    /// among the first of a table that has thousands of lines on a node with many containers.
    fn root_mount(&self, pid: u32) -> Option<u64> {
        let table = File::open(self.procfs.join(format!("{pid}/mountinfo"))).ok()?;
        BufReader::new(table).split(b'\n').map_while(Result::ok).find_map(|line| {
            let mount = mountinfo::parse_line(&line)?;
            (mount.point == b"/").then_some(mount.id)
        })
    }

    /// Whether a process is in the group of a container, or cannot be said not to be.
    fn is_contained(&self, pid: u32) -> bool {
        let Ok(groups) = fs::read_to_string(self.procfs.join(format!("{pid}/cgroup"))) else { return true };
        let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        paths.into_iter().any(|path| cgroup_path::containers(path).next().is_some())
    }

    /// Whether a process is in the host's network namespace. Each namespace has its own files below
    /// `/proc/PID/net`, with inodes of their own.
    pub(super) fn is_in_host_network(&self, pid: u32) -> Option<bool> {
        let inode = |pid: u32| {
            let about = fs::metadata(self.procfs.join(format!("{pid}/net/dev"))).ok()?;
            Some((about.dev(), about.ino()))
        };
        Some(inode(pid)? == inode(1)?)
    }
}

/// The process that keeps a container for its runtime, by its command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keeper {
    /// Which low-level runtime it keeps it with: `runc`, `kata`. Empty where it does not say.
    pub(super) handler: String,
    /// containerd's namespace, empty with others.
    pub(super) namespace: String,
    /// Where containerd is reached.
    pub(super) address: String,
    /// The container that it says it keeps; of a pod's containers perhaps the pod's first.
    pub(super) id: String,
    /// What the container is called, with conmon.
    pub(super) name: String,
    /// Where conmon has the container's files.
    pub(super) bundle: String,
    /// It is conmon, of CRI-O or Podman.
    pub(super) is_conmon: bool,
}

impl Keeper {
    /// None for any other process.
    pub(super) fn of(words: &[String]) -> Option<Self> {
        let (program, options) = words.split_first()?;
        let program = program.rsplit('/').next()?;
        let after = |names: &[&str]| {
            let at = options.iter().position(|word| names.contains(&word.as_str()));
            at.and_then(|at| options.get(at + 1)).cloned().unwrap_or_default()
        };
        if program == "conmon" {
            let [id, name, bundle] =
                [["-c", "--cid"], ["-n", "--name"], ["-b", "--bundle"]].map(|one| after(&one));
            return Some(Self { id, name, bundle, is_conmon: true, ..Self::default() });
        }
        let (_, kind) = program.split_once("containerd-shim")?;
        let kind = kind.strip_prefix('-').unwrap_or(kind);
        let version =
            kind.rsplit_once("-v").filter(|(_, version)| version.bytes().all(|b| b.is_ascii_digit()));
        Some(Self {
            handler: version.map_or(kind, |(kind, _)| kind).to_owned(),
            namespace: after(&["-namespace", "--namespace"]),
            address: after(&["-address", "--address"]),
            id: after(&["-id", "--id"]),
            ..Self::default()
        })
    }
}

/// Programs that run a container's processes behind a kernel of their own.
const KERNELS: &[&str] = &["runsc", "kata", "qemu-system", "cloud-hypervisor", "firecracker", "dragonball"];

/// Which of them a process is, by the words of its command line.
pub(super) fn own_kernel(words: &[String]) -> Option<&'static str> {
    let program = words.first()?.rsplit('/').next()?;
    KERNELS.iter().find(|name| program.starts_with(**name)).copied()
}

/// Whether what a low-level runtime is called says that it runs processes behind a kernel of their own.
pub(super) fn is_sandboxed(handler: &str) -> bool {
    const PARTS: &[&str] =
        &["runsc", "gvisor", "kata", "rund", "firecracker", "quark", "urunc", "clh", "qemu"];
    handler.split(['-', '_', '.', '/']).any(|part| PARTS.contains(&part))
}

/// The fields of a `stat` file: the name is in brackets and may hold any bytes, brackets too.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let (open, close) = (text.iter().position(|&b| b == b'(')?, text.iter().rposition(|&b| b == b')')?);
    let comm = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
    let mut fields = parse::fields(text.get(close + 1..)?);
    let state = fields.next()?;
    if matches!(state, b"Z" | b"X") {
        return None;
    }
    let parent = u32::try_from(parse::number(fields.next()?)?).ok()?;
    // The parent is field 4, the time field 22.
    let started = parse::number(fields.nth(17)?.trim_ascii())?;
    Some(Stat { comm, parent, started })
}

#[cfg(test)]
mod tests;
