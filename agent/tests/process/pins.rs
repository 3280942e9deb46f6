//! What lies in a pin folder, and what the kernel has.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramInfo,
    links::{FdLink, PinnedLink},
};

/// The folders of objects, by object.
pub(crate) fn objects(root: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    named
        .map(|(name, path)| {
            assert!(!name.ends_with("-new"), "{name} was left behind");
            (name.split('-').next().unwrap().to_owned(), path)
        })
        .collect()
}

fn pinned(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(kind)).collect()
}

/// That a root holds the objects of all inputs, complete, and that each of their programs is attached
/// exactly once in the whole kernel.
pub(crate) fn assert_whole(root: &Path) {
    let objects = objects(root);
    assert_eq!(objects.keys().collect::<Vec<_>>(), ["block", "irq", "sched", "syscall", "tcp"]);
    for (folder, hooks) in objects.values().zip([2, 5, 2, 1, 5]) {
        assert_eq!(fs::read_dir(root).unwrap().count(), 5, "an object twice");
        let mut programs = programs(folder);
        let mut linked: Vec<u32> = pinned(folder, "link-").iter().map(|path| program_of(path)).collect();
        programs.sort_unstable();
        linked.sort_unstable();
        assert_eq!(programs.len(), hooks, "{}", folder.display());
        assert_eq!(linked, programs, "{}", folder.display());
        for program in programs {
            assert_eq!(links_of(program), 1, "program {program}");
        }
    }
}

/// The kernel's numbers of the programs of an object.
pub(crate) fn programs(folder: &Path) -> Vec<u32> {
    pinned(folder, "prog-").iter().map(|path| ProgramInfo::from_pin(path).unwrap().id()).collect()
}

/// How many links a program has in the whole kernel.
pub(crate) fn links_of(program: u32) -> usize {
    let links = aya::programs::loaded_links().filter_map(Result::ok);
    links.filter(|link| link.program_id() == program).count()
}

/// The program of a pinned link.
fn program_of(path: &Path) -> u32 {
    let link: FdLink = PinnedLink::from_pin(path).unwrap().into();
    link.info().unwrap().program_id()
}

/// Removes a root and all below it.
pub(crate) fn remove(root: &Path) {
    for folder in fs::read_dir(root).into_iter().flatten().flatten() {
        for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let _gone = fs::remove_file(file.path());
        }
        let _gone = fs::remove_dir(folder.path());
    }
    let _gone = fs::remove_dir(root);
}
