//! The control groups that get series: which they are, and what of each is open.

use std::{
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    figures::{DeviceIo, Figures, Limits},
    files::{FIGURES, FigureFile, Group, Handle, LIMITS, has_gone, read_path},
    iterator::Record,
    turns::Turns,
};
use crate::source::{
    SourceError,
    hierarchies::{Controller, Hierarchy, label},
};

/// Hierarchies, as bits: there are at most one of version 2 and five of version 1.
type Places = u8;
const HIERARCHIES: usize = 6;

/// A control group, which has the same path in each hierarchy that it is in.
pub(super) struct Cgroup {
    /// From the root of the hierarchy.
    pub(super) path: Box<[u8]>,
    /// The same as text: bytes that are none are written as `\xff`.
    pub(super) label: Box<[u8]>,
    /// The kernel's number of it in each hierarchy; 0 where it is not there.
    pub(super) ids: [u64; HIERARCHIES],
    places: Places,
    /// Where the last walk found it.
    seen: Places,
    files: Vec<(usize, &'static FigureFile, Handle)>,
    pub(super) limits: Limits,
    /// What it did on devices when its turn was last.
    pub(super) io: Vec<DeviceIo>,
    /// Time in user and in system mode, as last delivered.
    pub(super) modes: [u64; 2],
    /// What the iterator's passes noted.
    pub(super) record: Record,
    /// Someone may have changed a limit.
    stale: bool,
}

/// Why a control group brings nothing this time.
pub(super) enum Trouble {
    /// It has just died.
    Gone,
    /// A file cannot be read or understood.
    Source(SourceError),
}

/// Which control groups get series, and which of their files are read.
pub(super) struct Rules {
    /// At most so many.
    pub(super) most: usize,
    /// Not deeper than this below the root.
    pub(super) depth: usize,
    /// Files that are read where no iterator is.
    pub(super) groups: &'static [Group],
    /// What the iterator tells about; the unified hierarchy as a whole.
    pub(super) covered: Vec<Controller>,
}

impl Rules {
    fn covers(&self, controller: Controller) -> bool {
        self.covered.contains(&controller)
    }

    /// Whether a file is read.
    fn want(&self, file: &FigureFile, path: &[u8]) -> bool {
        match file.group {
            // A branch is what lies below the root; the root itself adds nothing up.
            Group::Flush if self.covers(file.of) => depth(path) == 1,
            Group::Core | Group::More if self.covers(file.of) => false,
            group => group == Group::Flush || self.groups.contains(&group),
        }
    }
}

/// Control groups whose files about devices are read at one collection.
const IO_AT_ONCE: usize = 128;
/// Branches that the kernel adds up for one collection, each of which takes a file.
const FLUSHED_AT_ONCE: usize = 128;

/// The control groups that get series, by path.
pub(super) struct Known {
    pub(super) hierarchies: Vec<Hierarchy>,
    pub(super) cgroups: Vec<Cgroup>,
    rules: Rules,
    /// Whose files about devices are read this time.
    io_turns: Turns,
    /// Which branches are added up this time.
    flush_turns: Turns,
    /// Descriptors that may still be kept.
    spare: usize,
    /// Control groups that were refused, by hierarchy.
    refused: Vec<usize>,
    /// Rises when a control group comes or goes.
    pub(super) changes: u64,
}

impl Known {
    pub(super) fn new(hierarchies: Vec<Hierarchy>, rules: Rules, spare: usize) -> Self {
        let refused = vec![0; hierarchies.len()];
        Self {
            hierarchies,
            cgroups: Vec::new(),
            rules,
            io_turns: Turns::new(IO_AT_ONCE),
            flush_turns: Turns::new(FLUSHED_AT_ONCE),
            spare,
            refused,
            changes: 0,
        }
    }

    /// Whether the iterator tells about a controller.
    pub(super) fn covers(&self, controller: Controller) -> bool {
        self.rules.covers(controller)
    }

    /// Whether writes to files of a hierarchy say something: of a limit that is read from there, or of controllers.
    pub(super) fn follows_writes(&self, hierarchy: usize) -> bool {
        let controllers = &self.hierarchies[hierarchy].controllers;
        let is_read = |of: &Controller| controllers.contains(of) && !self.covers(*of);
        controllers.contains(&Controller::Unified) || LIMITS.iter().any(|limit| is_read(&limit.of))
    }

    /// The directory of a control group in a hierarchy.
    pub(super) fn dir(&self, hierarchy: usize, path: &[u8]) -> PathBuf {
        dir(&self.hierarchies[hierarchy].dir, path)
    }

    /// Control groups without series. One that is in several hierarchies is one.
    pub(super) fn untracked(&self) -> usize {
        self.refused.iter().copied().max().unwrap_or(0)
    }

    fn find(&self, path: &[u8]) -> Result<usize, usize> {
        self.cgroups.binary_search_by(|known| (*known.path).cmp(path))
    }

    /// A control group is in a hierarchy; whether it gets series.
    pub(super) fn born(&mut self, hierarchy: usize, path: &[u8]) -> bool {
        let Ok(about) = fs::metadata(self.dir(hierarchy, path)) else { return false };
        let here = 1 << hierarchy;
        let at = match self.find(path) {
            Ok(at) => at,
            Err(at) if self.cgroups.len() < self.rules.most && depth(path) <= self.rules.depth => {
                self.cgroups.insert(at, Cgroup::new(path));
                self.changes += 1;
                at
            }
            Err(_) => {
                self.refused[hierarchy] += 1;
                return false;
            }
        };
        let is_unified = self.hierarchies[hierarchy].controllers == [Controller::Unified];
        let known = &mut self.cgroups[at];
        known.seen |= here;
        if known.ids[hierarchy] != about.ino() {
            // Another one of the same name.
            known.ids[hierarchy] = about.ino();
            if is_unified {
                known.modes = [0; 2];
            }
            known.places &= !here;
            self.changes += 1;
        }
        if known.places & here == 0 {
            known.places |= here;
            self.reopen(hierarchy, at);
        }
        true
    }

    /// A control group is in a hierarchy no more.
    pub(super) fn died(&mut self, hierarchy: usize, path: &[u8]) {
        let Ok(at) = self.find(path) else {
            self.refused[hierarchy] = self.refused[hierarchy].saturating_sub(1);
            return;
        };
        self.spare += self.cgroups[at].close(hierarchy);
        let known = &mut self.cgroups[at];
        known.places &= !(1 << hierarchy);
        known.io.clear();
        known.ids[hierarchy] = 0;
        if known.places == 0 {
            self.cgroups.remove(at);
        }
        self.changes += 1;
    }

    /// Someone has written to a file of a control group.
    pub(super) fn written(&mut self, hierarchy: usize, path: &[u8], file: &[u8]) {
        if file == b"cgroup.subtree_control" {
            // Controllers, and with them files, came to those below it or left them.
            let root = if path == b"/" { b"" } else { path };
            for at in 0..self.cgroups.len() {
                let below = self.cgroups[at].path.strip_prefix(root);
                if below.is_some_and(|rest| rest.starts_with(b"/") && depth(rest) == 1) {
                    self.reopen(hierarchy, at);
                }
            }
        } else if LIMITS.iter().any(|limit| limit.name.as_bytes() == file)
            && let Ok(at) = self.find(path)
        {
            self.cgroups[at].stale = true;
        }
    }

    /// A walk over everything begins.
    pub(super) fn begin_walk(&mut self) {
        self.refused.fill(0);
        for known in &mut self.cgroups {
            known.seen = 0;
            known.stale = true;
        }
    }

    /// What the walk did not find is gone.
    pub(super) fn end_walk(&mut self) {
        for hierarchy in 0..self.hierarchies.len() {
            let here: Places = 1 << hierarchy;
            let lost = |known: &&Cgroup| known.places & !known.seen & here != 0;
            let lost: Vec<_> = self.cgroups.iter().filter(lost).map(|known| known.path.clone()).collect();
            for path in lost {
                self.died(hierarchy, &path);
            }
        }
    }

    /// Opens the files that a control group has in a hierarchy.
    fn reopen(&mut self, hierarchy: usize, at: usize) {
        let Hierarchy { dir: root, controllers } = &self.hierarchies[hierarchy];
        let known = &mut self.cgroups[at];
        self.spare += known.close(hierarchy);
        known.stale = true;
        known.io.clear();
        let dir = dir(root, &known.path);
        for file in &FIGURES {
            if controllers.contains(&file.of)
                && self.rules.want(file, &known.path)
                && let Ok(handle) = Handle::open(dir.join(file.name), &mut self.spare)
            {
                known.files.push((hierarchy, file, handle));
            }
        }
        // Where both versions know a figure, that of version 1 is read last and holds.
        known.files.sort_by_key(|(hierarchy, ..)| *hierarchy);
    }

    /// Lets the next ones have their files about devices read.
    pub(super) fn take_turns(&mut self) {
        self.io_turns.next(self.cgroups.len());
    }

    /// Has the kernel add up what its CPUs have counted, branch by branch.
    pub(super) fn flush(&mut self, buffer: &mut Vec<u8>) {
        let branches = || self.cgroups.iter().filter(|known| depth(&known.path) == 1);
        let turn = self.flush_turns.next(branches().count());
        for known in branches().skip(turn.start).take(turn.len()) {
            for (_, _, handle) in known.files.iter().filter(|(_, file, _)| file.group == Group::Flush) {
                // What cannot be read has gone.
                let _ = handle.read(buffer);
            }
        }
    }

    /// Reads what files say about a control group.
    pub(super) fn read(
        &mut self,
        at: usize,
        figures: &mut Figures,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let known = &mut self.cgroups[at];
        let mut closed = None;
        let is_turn = self.io_turns.current().contains(&at);
        let is_wanted = |group| match group {
            Group::Flush => !self.rules.covers(Controller::Unified),
            Group::Io => is_turn,
            Group::Core | Group::More => true,
        };
        let files = known.files.iter().filter(|(_, file, _)| is_wanted(file.group));
        for (hierarchy, file, handle) in files {
            let path = || dir(&self.hierarchies[*hierarchy].dir, &known.path).join(file.name);
            let text = match handle.read(buffer) {
                Ok(text) => text,
                Err(error) if has_gone(&error) => {
                    if !dir(&self.hierarchies[*hierarchy].dir, &known.path).is_dir() {
                        return Err(Trouble::Gone);
                    }
                    // It lives, but has lost a controller.
                    closed = Some(*hierarchy);
                    continue;
                }
                Err(error) => return Err(Trouble::Source(SourceError::Io { path: path(), error })),
            };
            (file.parse)(text, figures).ok_or_else(|| malformed(path(), text))?;
        }
        if is_turn {
            known.io.clear();
            known.io.extend_from_slice(&figures.io);
        }
        if known.stale {
            known.read_limits(&self.hierarchies, &self.rules, buffer)?;
        }
        if let Some(hierarchy) = closed {
            self.reopen(hierarchy, at);
        }
        Ok(())
    }
}

impl Cgroup {
    fn new(path: &[u8]) -> Self {
        Self {
            path: path.into(),
            label: label(path),
            ids: [0; HIERARCHIES],
            places: 0,
            seen: 0,
            files: Vec::new(),
            limits: Limits::default(),
            io: Vec::new(),
            modes: [0; 2],
            record: Record::default(),
            stale: true,
        }
    }

    /// Whether it is in the unified hierarchy, which is the first if there is one.
    pub(super) fn is_unified(&self) -> bool {
        self.ids[0] != 0
    }

    /// Closes what is open in a hierarchy, and says how many descriptors that gave back.
    fn close(&mut self, hierarchy: usize) -> usize {
        let is_kept =
            |(of, _, handle): &&(usize, _, _)| *of == hierarchy && matches!(handle, Handle::Kept(_));
        let kept = self.files.iter().filter(is_kept).count();
        self.files.retain(|(of, ..)| *of != hierarchy);
        kept
    }

    fn read_limits(
        &mut self,
        hierarchies: &[Hierarchy],
        rules: &Rules,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        self.limits = Limits::default();
        let places = self.places;
        let own = hierarchies.iter().enumerate().filter(|(at, _)| places >> at & 1 == 1);
        for (_, hierarchy) in own {
            let dir = dir(&hierarchy.dir, &self.path);
            let wanted = LIMITS.iter().filter(|limit| hierarchy.controllers.contains(&limit.of));
            for limit in wanted.filter(|limit| !rules.covers(limit.of)) {
                let path = dir.join(limit.name);
                match read_path(&path, buffer) {
                    Ok(text) => {
                        (limit.parse)(text, &mut self.limits).ok_or_else(|| malformed(path, text))?;
                    }
                    Err(error) if has_gone(&error) => {}
                    Err(error) => return Err(Trouble::Source(SourceError::Io { path, error })),
                }
            }
        }
        self.stale = false;
        Ok(())
    }
}

#[cold]
fn malformed(path: PathBuf, text: &[u8]) -> Trouble {
    let error = io::Error::new(
        ErrorKind::InvalidData,
        format!("not understood: {:?}", String::from_utf8_lossy(&text[..text.len().min(200)])),
    );
    Trouble::Source(SourceError::Io { path, error })
}

fn dir(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)))
}

/// How many names a path has.
fn depth(path: &[u8]) -> usize {
    path.split(|&b| b == b'/').count() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_names() {
        assert_eq!([&b"/a"[..], b"/a/b.slice", b"/a/b/c"].map(depth), [1, 2, 3]);
    }
}
