//! Habits of this project that no compiler checks.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "git knows which files belong to the project")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pitot::bpf::object::OBJECTS;
use xtask::sources;

/// A longer file has a second idea inside.
const LINES: usize = 500;

/// Where `unsafe` is written; in `ebpf/` it may be anywhere.
const UNSAFE: &[&str] = &["agent/src/bpf/map.rs", "agent/src/sys.rs"];

/// The project's files, relative to its root: what git tracks, or everything where there is no git.
fn files() -> Vec<String> {
    let root = sources::root();
    let listed = Command::new("git").arg("-C").arg(&root).args(["ls-files", "-z"]).output();
    match listed {
        Ok(listed) if listed.status.success() && !listed.stdout.is_empty() => {
            let text = String::from_utf8(listed.stdout).unwrap();
            // A file may be deleted and not yet committed.
            text.split_terminator('\0').filter(|file| root.join(file).is_file()).map(str::to_owned).collect()
        }
        _ => {
            let mut found = Vec::new();
            walk(&root, &mut found);
            found.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect()
        }
    }
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() || path.ends_with("target") || path.ends_with(".git") {
            continue;
        }
        if path.is_dir() {
            walk(&path, into);
        } else {
            into.push(path);
        }
    }
}

/// The project's own Rust code below these folders, with its text.
fn code(folders: &[&str]) -> Vec<(String, String)> {
    let is_rust = |file: &str| Path::new(file).extension().is_some_and(|extension| extension == "rs");
    let ours = |file: &String| is_rust(file) && folders.iter().any(|folder| file.starts_with(folder));
    let read = |file: String| {
        let text = fs::read_to_string(sources::root().join(&file)).unwrap();
        (file, text)
    };
    files().into_iter().filter(ours).map(read).collect()
}

#[test]
fn a_family_of_hooks_has_the_same_name_everywhere() {
    let root = sources::root();
    let mut programs = sources::objects(&root).unwrap();
    // It is measured against, and belongs to no input.
    programs.retain(|name| name != sources::REFERENCE);
    for name in &programs {
        for folder in ["common/src", "agent/src/input"] {
            let file = root.join(folder).join(name).with_extension("rs");
            assert!(file.is_file(), "ebpf/src/bin/{name}.rs has no {folder}/{name}.rs");
        }
    }
    let mut embedded: Vec<&str> = OBJECTS.iter().map(|(name, _)| *name).collect();
    embedded.sort_unstable();
    assert_eq!(embedded, programs, "agent/src/bpf/object.rs and ebpf/src/bin differ");
}

#[test]
fn a_file_holds_one_idea() {
    for (file, text) in code(&["agent/src/", "common/src/", "ebpf/src/", "xtask/src/"]) {
        let lines = text.lines().count();
        assert!(lines <= LINES, "{file} has {lines} lines: is there a second idea inside?");
    }
}

#[test]
fn unsafe_code_is_where_it_is_expected() {
    let is_unsafe = |text: &str| {
        text.lines().map(str::trim_start).any(|line| {
            !line.starts_with("//") && ["unsafe {", "unsafe impl"].iter().any(|word| line.contains(word))
        })
    };
    let mut found = code(&["agent/src/", "common/src/", "xtask/src/"]);
    found.retain(|(_, text)| is_unsafe(text));
    let mut found: Vec<&str> = found.iter().map(|(file, _)| file.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, UNSAFE);
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let places = ["root", "work", "home"].map(|name| format!("/{name}/"));
    for file in files() {
        // Recorded machines may say what they like.
        if file.starts_with("tests/fixtures/") {
            continue;
        }
        // Anything else than text is left alone.
        let Ok(text) = fs::read_to_string(sources::root().join(&file)) else { continue };
        for (at, line) in text.lines().enumerate() {
            for place in &places {
                assert!(!line.contains(place.as_str()), "{file}:{}: {place}", at + 1);
            }
        }
    }
}
