//! Notices that files have changed: inotify on the folders that they lie in, so that a file that is replaced by a
//! rename, or reached through links that are swapped (as Kubernetes does with `..data`), is noticed too.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};
use tokio::{
    io::Interest,
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

use crate::sys;

/// Editors and orchestrators make several changes at once.
const QUIET: Duration = Duration::from_millis(200);
/// How long a file may go on changing before it is looked at all the same.
const LONGEST: Duration = Duration::from_secs(2);

/// What of a folder matters.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Matters {
    /// Any file of tasks.
    Tasks,
    /// Files of these names.
    Names(Vec<OsString>),
}

/// Watches files.
pub(super) struct Watch {
    inotify: Inotify,
    /// The same, to wait for.
    ready: AsyncFd<OwnedFd>,
    folders: BTreeMap<i32, Folder>,
}

/// A folder that is watched, by the number of its watch.
struct Folder {
    watch: WatchDescriptor,
    matters: Matters,
}

impl Watch {
    /// One that watches nothing yet. Only in a runtime.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let ready = sys::awaitable(inotify.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        Ok(Self { inotify, ready, folders: BTreeMap::new() })
    }

    /// Watches a file and a directory of tasks, and nothing else from now on. False when folders were added: what
    /// was read before may be out of date already.
    pub(super) fn aim(&mut self, file: Option<&Path>, tasks: Option<&Path>) -> bool {
        let mut wanted: Vec<(PathBuf, Matters)> = Vec::new();
        let file = file.into_iter().flat_map(links);
        wanted.extend(file.filter_map(|path| {
            let names = vec![path.file_name()?.to_owned(), "..data".into()];
            Some((folder(&path), Matters::Names(names)))
        }));
        if let Some(tasks) = tasks {
            wanted.push((tasks.to_owned(), Matters::Tasks));
            // It may be made later, or be a link that is swapped.
            for path in links(tasks) {
                wanted.extend(
                    path.file_name().map(|name| (folder(&path), Matters::Names(vec![name.to_owned()]))),
                );
            }
        }
        let inotify = &self.inotify;
        let mut folders: BTreeMap<i32, Folder> = BTreeMap::new();
        for (path, matters) in wanted {
            let flags = AddWatchFlags::IN_CLOSE_WRITE
                | AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_MOVED_FROM
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_MOVE_SELF
                | AddWatchFlags::IN_ONLYDIR;
            // What is not there cannot be watched; the folder above says when it comes.
            let Ok(watch) = inotify.add_watch(&path, flags) else { continue };
            match folders.get_mut(&watch.as_raw()).map(|folder| &mut folder.matters) {
                None => drop(folders.insert(watch.as_raw(), Folder { watch, matters })),
                Some(Matters::Tasks) => {}
                Some(all @ Matters::Names(_)) => match (all, matters) {
                    (Matters::Names(all), Matters::Names(more)) => all.extend(more),
                    (all, matters) => *all = matters,
                },
            }
        }
        let is_known = folders.keys().all(|number| self.folders.contains_key(number));
        for (_, gone) in self.folders.iter().filter(|(number, _)| !folders.contains_key(number)) {
            // The kernel has taken it away already if the folder is gone.
            let _gone = inotify.rm_watch(gone.watch);
        }
        self.folders = folders;
        is_known
    }

    /// Waits for a change and then for quiet.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.relevant(None).await?;
        let latest = Instant::now() + LONGEST;
        while Instant::now() < latest {
            let quiet = (Instant::now() + QUIET).min(latest);
            if !self.relevant(Some(quiet)).await? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for an event that matters; false when there was none until then.
    async fn relevant(&mut self, until: Option<Instant>) -> io::Result<bool> {
        loop {
            let mut ready = match until {
                None => self.ready.readable().await?,
                Some(until) => tokio::select! {
                    ready = self.ready.readable() => ready?,
                    () = sleep_until(until) => return Ok(false),
                },
            };
            match self.inotify.read_events() {
                Ok(events) => {
                    let matters = |wd: &WatchDescriptor, name: Option<&OsString>, mask: AddWatchFlags| {
                        mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
                            || match (self.folders.get(&wd.as_raw()).map(|folder| &folder.matters), name) {
                                (None, _) => false,
                                // The folder itself.
                                (Some(_), None) => true,
                                (Some(Matters::Names(names)), Some(name)) => names.contains(name),
                                (Some(Matters::Tasks), Some(name)) => is_of_tasks(name),
                            }
                    };
                    if events.iter().any(|event| matters(&event.wd, event.name.as_ref(), event.mask)) {
                        return Ok(true);
                    }
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether a file of a directory of tasks may be one, or lead to all of them.
fn is_of_tasks(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    name == "..data" || super::file::Syntax::of(&name).is_some()
}

/// A path, and what it leads to if that is elsewhere.
fn links(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    all.extend(path.canonicalize().ok().filter(|end| end != path));
    all
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => ".".into(),
    }
}
