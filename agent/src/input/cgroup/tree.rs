//! Births and deaths in the hierarchies, as the kernel tells them: nothing is walked while nothing changes.
//!
//! A directory of a hierarchy tells of directories and writes below it like any other (inotify), whoever makes
//! them. Its times do not change, and its link count, which does, would have to be asked of each.

use std::{
    collections::{BTreeMap, VecDeque},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

use super::known::Known;
use crate::source::hierarchies::directories;

/// Time between walks while the kernel tells of every change: for what it might not have told.
const SLOW: Duration = Duration::from_secs(600);
/// Time between walks while there are control groups without series, which are not all watched.
const MEDIUM: Duration = Duration::from_secs(60);
/// Time between walks where the kernel does not tell, as when a user has no watches left.
const FAST: Duration = Duration::from_secs(10);
/// Directories that one walk looks at, at most.
const MOST_DIRECTORIES: usize = 20_000;
/// Room for some dozens of events.
const BUFFER: usize = 4096;

/// Follows the hierarchies of a [`Known`].
pub(super) struct Tree {
    inotify: Option<Arc<OwnedFd>>,
    watched: BTreeMap<i32, (usize, Box<[u8]>)>,
    /// A directory could not be watched.
    is_blind: bool,
    walked: Option<Instant>,
}

/// Births and deaths. Writes to files come with them only where they say something: where a directory watches
/// its files, each reading of one takes a third longer.
const INTEREST: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVE).union(WatchFlags::ONLYDIR);
const MOVED: ReadFlags = ReadFlags::MOVED_FROM.union(ReadFlags::MOVED_TO);

impl Tree {
    pub(super) fn new() -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok().map(Arc::new);
        Self { is_blind: inotify.is_none(), inotify, watched: BTreeMap::new(), walked: None }
    }

    /// Takes over what has changed, with one system call when nothing has; says whether it walked all.
    pub(super) fn update(&mut self, now: Instant, known: &mut Known) -> bool {
        let pause = if self.is_blind {
            FAST
        } else if known.untracked() > 0 {
            MEDIUM
        } else {
            SLOW
        };
        let is_due = self.walked.is_none_or(|at| now.saturating_duration_since(at) >= pause);
        let walks = !self.follow(known) || is_due;
        if walks {
            self.walk_all(known);
            self.walked = Some(now);
        }
        walks
    }

    /// Takes over what the kernel tells; fails when that is not all.
    fn follow(&mut self, known: &mut Known) -> bool {
        let Some(inotify) = self.inotify.clone() else { return true };
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&*inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(std::ffi::CStr::to_bytes);
                    if !self.take(event.wd(), event.events(), name, known) {
                        return false;
                    }
                }
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    fn take(&mut self, watch: i32, events: ReadFlags, name: Option<&[u8]>, known: &mut Known) -> bool {
        if events.intersects(ReadFlags::QUEUE_OVERFLOW) {
            return false;
        }
        if events.intersects(ReadFlags::IGNORED) {
            self.watched.remove(&watch);
            return true;
        }
        let (Some((hierarchy, dir)), Some(name)) = (self.watched.get(&watch), name) else { return true };
        let hierarchy = *hierarchy;
        if !events.intersects(ReadFlags::ISDIR) {
            known.written(hierarchy, dir, name);
            return true;
        }
        let path = child(dir, name);
        if events.intersects(ReadFlags::CREATE) {
            if known.born(hierarchy, &path) {
                self.walk(hierarchy, path, false, known);
            }
        } else if events.intersects(ReadFlags::DELETE) {
            known.died(hierarchy, &path);
        }
        // What is below a directory that was moved is watched under another path.
        !events.intersects(MOVED)
    }

    fn walk_all(&mut self, known: &mut Known) {
        self.is_blind = self.inotify.is_none();
        self.watched.clear();
        known.begin_walk();
        for hierarchy in 0..known.hierarchies.len() {
            self.walk(hierarchy, b"/".as_slice().into(), true, known);
        }
        known.end_walk();
    }

    /// Walks what is below a directory, level by level: where there are too many, the deepest are left out.
    fn walk(&mut self, hierarchy: usize, from: Box<[u8]>, everything: bool, known: &mut Known) {
        let mut queue = VecDeque::from([(from, true)]);
        let mut visited = 0;
        while let Some((path, is_tracked)) = queue.pop_front() {
            visited += 1;
            let dir = known.dir(hierarchy, &path);
            // Watched before it is listed: what is made in between is then seen twice, and not never.
            if is_tracked {
                self.watch(hierarchy, &path, known);
            }
            for name in directories(&dir) {
                let path = child(&path, &name);
                let is_tracked = known.born(hierarchy, &path);
                if (is_tracked || everything) && visited + queue.len() < MOST_DIRECTORIES {
                    queue.push_back((path, is_tracked));
                }
            }
        }
    }

    fn watch(&mut self, hierarchy: usize, path: &[u8], known: &Known) {
        let Some(inotify) = &self.inotify else { return };
        let dir = known.dir(hierarchy, path);
        let writes = if known.follows_writes(hierarchy) { WatchFlags::MODIFY } else { WatchFlags::empty() };
        match inotify::add_watch(&**inotify, &dir, INTEREST | writes) {
            Ok(watch) => {
                self.watched.insert(watch, (hierarchy, path.into()));
            }
            // It has gone already.
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(_) => self.is_blind = true,
        }
    }
}

fn child(path: &[u8], name: &[u8]) -> Box<[u8]> {
    let parent = path.strip_suffix(b"/").unwrap_or(path);
    [parent, b"/", name].concat().into_boxed_slice()
}
