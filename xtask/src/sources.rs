//! The sources of the kernel objects, and their hash, which every object carries.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// The object that is measured against; the agent does not hold it.
pub const REFERENCE: &str = "bare";

/// The folder of the whole project.
pub fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Where the finished object of that name is kept.
pub fn prebuilt(root: &Path, object: &str) -> PathBuf {
    root.join("ebpf/prebuilt").join(object).with_extension("o")
}

/// The names of all objects: one for each file in `ebpf/src/bin`.
pub fn objects(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("ebpf/src/bin"))? {
        let path = entry?.path();
        if is_rust(&path)
            && let Some(name) = path.file_stem()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The hash of everything that an object is made of, in hex.
pub fn hash(root: &Path, object: &str) -> io::Result<String> {
    let mut hash = Sha256::new();
    for file in files(root, object)? {
        let text = fs::read_to_string(root.join(&file))?;
        let compiled = without_tests(&text);
        hash.update(format!("{file} {}\n", compiled.len()));
        hash.update(compiled);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// The files, relative to the root and in a fixed order.
fn files(root: &Path, object: &str) -> io::Result<Vec<String>> {
    let mut paths = vec![
        root.join("ebpf/Cargo.toml"),
        root.join("ebpf/Cargo.lock"),
        root.join("ebpf/src/bin").join(object).with_extension("rs"),
    ];
    let programs = root.join("ebpf/src/bin");
    walk(&root.join("ebpf/src"), &mut |path| path != programs, &mut paths)?;
    walk(&root.join("common/src"), &mut |path| !path.ends_with("tests.rs"), &mut paths)?;
    let mut files: Vec<String> = paths
        .iter()
        .map(|path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/"))
        .collect();
    files.sort();
    Ok(files)
}

/// Every Rust file below a folder, as far as the filter goes along.
fn walk(folder: &Path, wanted: &mut dyn FnMut(&Path) -> bool, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !wanted(&path) {
            continue;
        }
        if path.is_dir() {
            walk(&path, wanted, into)?;
        } else if is_rust(&path) {
            into.push(path);
        }
    }
    Ok(())
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// A new test does not make an object stale. Unit tests are the last thing in a file.
pub(crate) fn without_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod tests").map_or(text, |(compiled, _)| compiled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_made_of_its_own_program_and_of_what_all_share() {
        let files = files(&root(), "sched").unwrap();
        for file in ["common/src/sched.rs", "ebpf/Cargo.lock", "ebpf/src/bin/sched.rs", "ebpf/src/lib.rs"] {
            assert!(files.iter().any(|known| known == file), "{file} is missing");
        }
        assert!(!files.iter().any(|file| file == "ebpf/src/bin/block.rs"));
        assert!(files.is_sorted());
    }

    #[test]
    fn unit_tests_are_not_compiled_in() {
        assert_eq!(without_tests("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), "fn a() {}\n");
        assert_eq!(without_tests("fn a() {}\n"), "fn a() {}\n");
    }

    #[test]
    fn there_is_one_object_for_each_program_file() {
        assert!(objects(&root()).unwrap().contains(&"sched".to_owned()));
    }
}
