//! Births and deaths of control groups, as the kernel tells them: the hierarchies are walked once, and nothing is
//! walked or asked again while nothing changes.
//!
//! What comes out is which paths changed, not how: who takes them looks at what is there now. So it does no harm when
//! one is told twice, or when a group goes and comes again under its name.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::{CStr, OsStr},
    fs, io,
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    source::{
        Roots, SourceError,
        hierarchies::{self, Controller, Hierarchy, directories},
        parse,
    },
    sys,
};

/// Room for some hundreds of events.
const BUFFER: usize = 16 << 10;
/// Directories that one walk looks at, at most, in each hierarchy.
const MOST_DIRECTORIES: usize = 20_000;
/// Deeper than this below the root no container is looked for.
const DEEPEST: usize = 16;
/// Groups of one container whose processes are listed, its own the first.
const GROUPS: usize = 64;
/// Processes of one container that are listed.
const MEMBERS: usize = 10_000;

const BIRTHS: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVE).union(WatchFlags::ONLYDIR);

/// A control group: its path from the root of its hierarchy, without a slash in front.
pub(super) type Group = Arc<[u8]>;

/// The hierarchies, and what is watched in them.
pub(super) struct Tree {
    inotify: AsyncFd<OwnedFd>,
    hierarchies: Vec<Hierarchy>,
    watched: BTreeMap<i32, Watched>,
    most: usize,
    /// Directories that could not be watched, since the last walk.
    pub(super) unwatched: usize,
    /// Times that the kernel could not keep what it had to tell.
    pub(super) overflows: u64,
}

/// What a watch is on.
struct Watched {
    hierarchy: usize,
    group: Group,
    /// The file that tells whether there are processes, not the directory.
    is_file: bool,
}

/// Where containers are looked for: in the unified hierarchy, and in one of version 1, because a runtime may know only
/// one of them. Without either there is nothing to be found.
pub(super) fn followed(roots: &Roots) -> Result<Vec<Hierarchy>, SourceError> {
    const FIRST_VERSION: [Controller; 5] =
        [Controller::Memory, Controller::Pids, Controller::Cpu, Controller::Cpuacct, Controller::Blkio];
    let all = hierarchies::find(roots)?;
    let of = |controller| all.iter().find(|hierarchy| hierarchy.controllers.contains(&controller)).cloned();
    Ok(of(Controller::Unified).into_iter().chain(FIRST_VERSION.into_iter().find_map(of)).collect())
}

impl Tree {
    /// One that watches nothing yet, with room for so many watches. Only in a runtime.
    pub(super) fn new(hierarchies: Vec<Hierarchy>, most: usize) -> io::Result<Self> {
        let inotify =
            sys::awaitable(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?, Interest::READABLE)?;
        Ok(Self { inotify, hierarchies, watched: BTreeMap::new(), most, unwatched: 0, overflows: 0 })
    }

    /// Watches in use.
    pub(super) fn watches(&self) -> usize {
        self.watched.len()
    }

    /// Walks everything, and watches it. All that is there is in `changed` then; what is gone is not.
    pub(super) fn walk_all(&mut self, changed: &mut BTreeSet<Group>) {
        self.watched.clear();
        self.unwatched = 0;
        for hierarchy in 0..self.hierarchies.len() {
            self.walk(hierarchy, Group::from(&b""[..]), changed);
        }
    }

    /// Waits until there is something to be taken.
    pub(super) async fn ready(&self) -> io::Result<()> {
        self.inotify.readable().await?.retain_ready();
        Ok(())
    }

    /// Takes what the kernel has told. False when that is not all: then everything is to be walked.
    pub(super) fn take(&mut self, changed: &mut BTreeSet<Group>) -> bool {
        let mut events = Vec::new();
        // Reads until there is nothing, which is what the runtime waits for the end of.
        let mut is_all = false;
        let read = self.inotify.try_io(Interest::READABLE, |inotify| {
            is_all = read(inotify, &mut events);
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        debug_assert!(read.is_err(), "it always reads until it would have to wait");
        is_all |= events.is_empty();
        for Event { watch, flags, name } in events {
            if flags.intersects(ReadFlags::QUEUE_OVERFLOW) {
                self.overflows += 1;
                is_all = false;
            } else if flags.intersects(ReadFlags::IGNORED) {
                self.watched.remove(&watch);
            } else if let Some(watched) = self.watched.get(&watch) {
                if watched.is_file {
                    changed.insert(Arc::clone(&watched.group));
                } else if flags.intersects(ReadFlags::ISDIR) {
                    let (hierarchy, group) = (watched.hierarchy, child(&watched.group, &name));
                    if flags.intersects(ReadFlags::CREATE) {
                        self.walk(hierarchy, group, changed);
                    } else {
                        changed.insert(group);
                    }
                    // What is below a directory that was moved is watched under another path.
                    is_all &= !flags.intersects(ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO);
                }
            }
        }
        is_all
    }

    /// Walks what is below a directory, level by level: where there are too many, the deepest are left out.
    fn walk(&mut self, hierarchy: usize, from: Group, changed: &mut BTreeSet<Group>) {
        let mut queue = VecDeque::from([from]);
        let mut visited = 0;
        while let Some(group) = queue.pop_front() {
            visited += 1;
            let dir = self.dir(hierarchy, &group);
            // Watched before it is listed: what is made in between is then seen twice, and not never.
            self.watch(hierarchy, &group, &dir, false);
            for name in directories(&dir) {
                let group = child(&group, &name);
                if visited + queue.len() < MOST_DIRECTORIES && depth(&group) <= DEEPEST {
                    queue.push_back(group);
                }
            }
            changed.insert(group);
        }
    }

    /// Has the kernel tell also when the first process of a group comes and when the last goes. That takes the second
    /// version; with the first, who wants to know has to look.
    pub(super) fn watch_processes(&mut self, group: &Group) -> bool {
        let Some(hierarchy) =
            self.hierarchies.iter().position(|one| one.controllers == [Controller::Unified])
        else {
            return false;
        };
        let file = self.dir(hierarchy, group).join("cgroup.events");
        self.watch(hierarchy, group, &file, true)
    }

    fn watch(&mut self, hierarchy: usize, group: &Group, path: &Path, is_file: bool) -> bool {
        if self.watched.len() >= self.most {
            self.unwatched += 1;
            return false;
        }
        let flags = if is_file { WatchFlags::MODIFY } else { BIRTHS };
        match inotify::add_watch(self.inotify.get_ref(), path, flags) {
            Ok(watch) => {
                self.watched.insert(watch, Watched { hierarchy, group: Arc::clone(group), is_file });
                true
            }
            // It has gone already, or is of the first version.
            Err(Errno::NOENT | Errno::NODEV) => false,
            Err(_) => {
                self.unwatched += 1;
                false
            }
        }
    }

    fn dir(&self, hierarchy: usize, group: &[u8]) -> PathBuf {
        self.hierarchies[hierarchy].dir.join(OsStr::from_bytes(group))
    }

    /// What a group is called by the kernel in each hierarchy; 0 where it is not. It is gone when it is nowhere.
    pub(super) fn identities(&self, group: &[u8]) -> Identities {
        let mut identities = Identities::default();
        for (hierarchy, one) in self.hierarchies.iter().enumerate() {
            let about = fs::metadata(self.dir(hierarchy, group)).ok().filter(fs::Metadata::is_dir);
            let inode = about.map_or(0, |about| about.ino());
            if one.controllers == [Controller::Unified] {
                identities.unified = inode;
            } else {
                identities.first_version = inode;
            }
        }
        identities
    }

    /// The processes of a container: of its group and those below, but for groups that belong to others.
    pub(super) fn members(&self, group: &[u8], is_other: impl Fn(&[u8]) -> bool) -> Members {
        let mut members = Members::default();
        for hierarchy in 0..self.hierarchies.len() {
            let mut queue = VecDeque::from([Group::from(group)]);
            let mut visited = 0;
            while let Some(group) = queue.pop_front() {
                visited += 1;
                let dir = self.dir(hierarchy, &group);
                let list = fs::read(dir.join("cgroup.procs")).unwrap_or_default();
                for pid in parse::lines(&list).filter_map(|line| u32::try_from(parse::number(line)?).ok()) {
                    match pid {
                        0 => members.hidden += 1,
                        pid if members.pids.len() < MEMBERS => members.pids.push(pid),
                        _ => {}
                    }
                }
                for name in directories(&dir) {
                    let group = child(&group, &name);
                    if visited + queue.len() < GROUPS && !is_other(&group) {
                        queue.push_back(group);
                    }
                }
            }
            if !members.pids.is_empty() || members.hidden > 0 {
                break;
            }
        }
        members
    }
}

/// The processes of a group.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) pids: Vec<u32>,
    /// How many have no number here, as in a PID namespace that they are not in.
    pub(super) hidden: usize,
}

/// What the kernel calls a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identities {
    pub(super) unified: u64,
    pub(super) first_version: u64,
}

impl Identities {
    /// It is in no hierarchy.
    pub(super) fn is_gone(self) -> bool {
        self == Self::default()
    }

    /// Whether this is another group under the same name. In one hierarchy it may come later than in the other.
    pub(super) fn is_other(self, than: Self) -> bool {
        let differ = |a: u64, b: u64| a != 0 && b != 0 && a != b;
        differ(self.unified, than.unified) || differ(self.first_version, than.first_version)
    }
}

/// What happened to what is watched.
struct Event {
    watch: i32,
    flags: ReadFlags,
    name: Vec<u8>,
}

/// Reads events until there are none. False when that did not work.
fn read(inotify: &OwnedFd, events: &mut Vec<Event>) -> bool {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(CStr::to_bytes).unwrap_or_default();
                events.push(Event { watch: event.wd(), flags: event.events(), name: name.to_vec() });
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
}

fn child(group: &[u8], name: &[u8]) -> Group {
    if group.is_empty() { name.into() } else { [group, b"/", name].concat().into() }
}

/// How many names a path has.
fn depth(group: &[u8]) -> usize {
    group.split(|&b| b == b'/').count()
}

#[cfg(test)]
mod tests;
