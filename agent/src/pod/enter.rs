//! Into the namespaces of a container, or nowhere.
//!
//! A number of a process may by now be another's, and its namespaces may change. So everything is looked up through
//! one descriptor of its directory in /proc, which never becomes another process's; the namespaces are noted; and what
//! has been entered is compared with that. Whatever is not as expected is an error, never a check somewhere else.

use std::{
    fmt::Display,
    os::fd::{AsFd, OwnedFd},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, statat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
        fsmount, fsopen, open_tree,
    },
    process::{Pid, PidfdFlags, chroot, fchdir, pidfd_open},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use super::{
    frames::Refusal,
    orders::{Expected, Needs},
    process::{Identity, Process, ended_or},
    spawner::Host,
};
use crate::{catalogue::Namespace, sys};

/// A process that has arrived.
#[derive(Debug)]
pub(super) struct Place {
    /// The target's `/`.
    pub(super) root: OwnedFd,
    /// `/proc/PID` of its first process.
    pub(super) process: OwnedFd,
    /// A `/proc` of its PID namespace.
    pub(super) procfs: Option<OwnedFd>,
    /// Readable once that process has ended.
    pub(super) life: Option<OwnedFd>,
    /// Whose rights it has.
    pub(super) identity: Identity,
    /// Inode of the target's network namespace.
    pub(super) net: u64,
    /// Whether its own `/` is the target's already.
    pub(super) is_inside: bool,
}

/// A namespace: device and inode of its file.
type Inode = (u64, u64);

/// Enters the namespaces that are needed. In a PID namespace it is another process that returns.
pub(super) fn container(host: &Host, needs: Needs, expected: &Expected) -> Result<Place, Refusal> {
    if !host.missing.is_empty() {
        let missing = format!("entering containers takes {}", super::names(host.missing));
        return Err(Refusal::Unsupported(missing));
    }
    let target = Process::open(&host.proc, expected.pid)?;
    let pid = i32::try_from(expected.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Refusal::NoTarget("not a number of a process".to_owned()))?;
    let life = pidfd_open(pid, PidfdFlags::empty()).map_err(ended_or("pidfd_open"))?;
    target.expect(expected)?;
    let root = target.root()?;
    let identity = if needs.as_target() { target.identity()? } else { Identity::nobody() };
    let noted = Noted::of(&target, needs)?;
    noted.expect(expected)?;
    // Each network namespace has its own files there, and those of the first process can be looked at by everybody.
    if expected.is_apart && inode(&target.directory, "net/dev")? == inode(&host.proc, "1/net/dev")? {
        return Err(Refusal::Enter("it is in the host's network, and should not be".to_owned()));
    }
    // Both descriptors are of one process: at this moment it lives under that number.
    if has_ended(&life)? {
        return Err(Refusal::NoTarget("its process has ended".to_owned()));
    }
    target.expect(expected)?;
    let process = below_nothing(&host.proc, &expected.pid.to_string())?;
    if inode(&process, ".")? != inode(&target.directory, ".")? {
        return Err(Refusal::Enter("another process has its number now".to_owned()));
    }

    if !needs.flags().is_empty() {
        move_into_thread_name_spaces(life.as_fd(), needs.flags()).map_err(ended_or("setns"))?;
    }
    let mut procfs = None;
    if needs.enters(Namespace::Pid) {
        noted.verify(host, Namespace::Pid, "self/ns/pid_for_children")?;
        // The one that enters stays outside: only what it makes is inside.
        if sys::fork_sibling().map_err(failed("clone"))?.is_some() {
            sys::leave(0);
        }
        noted.verify(host, Namespace::Pid, "self/ns/pid")?;
        procfs = Some(fresh_procfs()?);
    }
    for kind in needs.namespaces().filter(|kind| !matches!(kind, Namespace::Pid | Namespace::Mount)) {
        noted.verify(host, kind, &format!("self/ns/{}", kind.name()))?;
    }
    if needs.enters(Namespace::Mount) {
        // Last, because nothing of the host has a path after it.
        move_into_thread_name_spaces(life.as_fd(), ThreadNameSpaceType::MOUNT).map_err(failed("setns"))?;
        noted.verify(host, Namespace::Mount, "self/ns/mnt")?;
    }
    if needs.executes() {
        fchdir(&root).and_then(|()| chroot(".")).map_err(failed("chroot"))?;
    }
    let net = noted.net.1;
    Ok(Place { root, process, procfs, life: Some(life), identity, net, is_inside: needs.executes() })
}

/// Stays where the agent is.
pub(super) fn host(host: &Host, needs: Needs) -> Result<Place, Refusal> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &str| openat(&host.proc, path, flags, Mode::empty());
    // What the first process of the host is to the host. Without privileges its directory is all there is.
    let process = open("1").or_else(|_| open("self")).map_err(failed("/proc/1"))?;
    let root = openat(rustix::fs::CWD, "/", flags, Mode::empty()).map_err(failed("/"))?;
    let procfs = if needs.enters(Namespace::Pid) { Some(open(".").map_err(failed("/proc"))?) } else { None };
    let net = inode(&host.proc, "self/ns/net").map_or(0, |(_, inode)| inode);
    let identity = Identity::nobody();
    Ok(Place { root, process, procfs, life: None, identity, net, is_inside: needs.executes() })
}

/// The namespaces of a target, before any of them is entered.
struct Noted {
    net: Inode,
    entered: Vec<(Namespace, Inode)>,
}

impl Noted {
    fn of(target: &Process, needs: Needs) -> Result<Self, Refusal> {
        let look = |kind: Namespace| inode(&target.directory, &format!("ns/{}", kind.name()));
        let entered =
            needs.namespaces().map(|kind| Ok((kind, look(kind)?))).collect::<Result<_, Refusal>>()?;
        Ok(Self { net: look(Namespace::Net)?, entered })
    }

    /// Whether the network is the one that is expected. A pod may well be in the host's.
    fn expect(&self, expected: &Expected) -> Result<(), Refusal> {
        let (_, inode) = self.net;
        if let Some(known) = expected.net.filter(|known| *known != inode) {
            let differs = format!("its network namespace is {inode} and was {known}");
            return Err(Refusal::Enter(differs));
        }
        Ok(())
    }

    /// Whether this process is in the namespace that was noted.
    fn verify(&self, host: &Host, kind: Namespace, own: &str) -> Result<(), Refusal> {
        let noted = self.entered.iter().find(|(entered, _)| *entered == kind);
        let entered = inode(&host.proc, own)?;
        match noted {
            Some((_, noted)) if *noted == entered => Ok(()),
            _ => Err(Refusal::Enter(format!("the {} namespace is not the expected one", kind.name()))),
        }
    }
}

fn inode(below: &OwnedFd, path: &str) -> Result<Inode, Refusal> {
    let stat = statat(below, path, AtFlags::empty()).map_err(ended_or(path))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether a process is a zombie, or less than that.
pub(super) fn has_ended(life: &OwnedFd) -> Result<bool, Refusal> {
    let ready = poll(&mut [PollFd::new(life.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO);
    ready.map(|ready| ready > 0).map_err(failed("poll"))
}

/// A directory of /proc, as a mount of its own: nothing is above it.
fn below_nothing(proc: &OwnedFd, path: &str) -> Result<OwnedFd, Refusal> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(proc, path, flags).map_err(ended_or("open_tree"))
}

/// A `/proc` of this process's PID namespace, mounted nowhere, with nothing but processes in it.
fn fresh_procfs() -> Result<OwnedFd, Refusal> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = || {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "subset", "pid")?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    mount().map_err(failed("procfs"))
}

/// Says which step failed.
pub(super) fn failed<E: Display>(what: &str) -> impl Fn(E) -> Refusal {
    move |error| Refusal::Enter(format!("{what}: {error}"))
}
