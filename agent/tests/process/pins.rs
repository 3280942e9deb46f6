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
use pitot::{
    catalogue::{Hook, ProgramKind, Source},
    input::find,
};

use crate::agent::COUNTING;

/// The folders of objects, by object.
pub(crate) fn objects(root: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    named
        .map(|(name, path)| {
            assert!(!name.ends_with("-new") && !name.ends_with("-old"), "{name} was left behind");
            (name.split('-').next().unwrap().to_owned(), path)
        })
        .collect()
}

/// The folder of an object's programs, which is the only one in that of its maps.
fn of_programs(object: &Path) -> PathBuf {
    let folders: Vec<_> = fs::read_dir(object)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    let name = folders[0].file_name().to_string_lossy().into_owned();
    assert!(name.starts_with("programs-") && name.len() == "programs-".len() + 16, "{name}");
    folders[0].path()
}

/// The numbers of an object's pinned programs.
pub(crate) fn programs(object: &Path) -> Vec<u32> {
    let pins = pinned(&of_programs(object), "prog-");
    pins.iter().map(|path| ProgramInfo::from_pin(path).unwrap().id()).collect()
}

/// A pinned link of an object.
pub(crate) fn link(object: &Path, hook: &str) -> PathBuf {
    of_programs(object).join(format!("link-{hook}"))
}

fn pinned(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(kind)).collect()
}

/// That a root holds the objects of all inputs, complete, and that each of their programs is attached
/// exactly once in the whole kernel.
pub(crate) fn assert_whole(root: &Path) {
    let mut objects = objects(root);
    assert!(objects.remove("shared").is_some(), "the maps of owners");
    assert_eq!(objects.keys().collect::<Vec<_>>(), COUNTING.iter().collect::<Vec<_>>());
    assert_eq!(fs::read_dir(root).unwrap().count(), COUNTING.len() + 1, "an object twice");
    for (object, folder) in &objects {
        let mut programs = programs(folder);
        let mut linked: Vec<u32> =
            pinned(&of_programs(folder), "link-").iter().map(|path| program_of(path)).collect();
        programs.sort_unstable();
        linked.sort_unstable();
        assert!(programs.len() >= hooks(object), "{}", folder.display());
        assert_eq!(linked, programs, "{}", folder.display());
        for program in programs {
            assert_eq!(links_of(program), 1, "program {program}");
        }
    }
}

/// The hooks that an object attaches to whatever its settings and the kernel.
fn hooks(object: &str) -> usize {
    let Source::Bpf(def) = find(object).unwrap().source else { panic!("{object} has no object") };
    let optional = |hook: &Hook| hook.variants.iter().any(|variant| variant.kind == ProgramKind::Nothing);
    def.hooks.iter().filter(|hook| hook.when.is_empty() && !optional(hook)).count()
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
    let _gone = fs::remove_dir_all(root);
}
