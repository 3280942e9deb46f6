//! The sources that lay out the words in an object's maps, and their hash: maps may be inherited by programs
//! of the same layout.
//!
//! That is the module of `common/src` that is named like the object, and whatever modules these use. Better
//! one too many than one too few: whoever changes one of them, other than in comments and tests, makes
//! counters begin anew.

use std::{collections::BTreeMap, fs, io, path::Path};

use sha2::{Digest, Sha256};

use crate::sources::without_tests;

/// The hash, in hex.
pub fn hash(root: &Path, object: &str) -> io::Result<String> {
    let program = fs::read_to_string(root.join("ebpf/src/bin").join(object).with_extension("rs"))?;
    let mut modules = BTreeMap::new();
    for entry in fs::read_dir(root.join("common/src"))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().map(|name| name.to_string_lossy().into_owned())
            && name != "lib"
        {
            modules.insert(name, code(&fs::read_to_string(&path)?));
        }
    }
    let mut hash = Sha256::new();
    for name in used(&code(&program), &modules) {
        hash.update(format!("{name} {}\n{}", modules[name].len(), modules[name]));
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// What is compiled, without comments of whole lines.
fn code(text: &str) -> String {
    let lines = without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The modules that a text uses, and those that they use, by name.
fn used<'a>(text: &str, modules: &'a BTreeMap<String, String>) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    let mut texts = vec![text];
    while let Some(text) = texts.pop() {
        for (name, code) in modules {
            if uses(text, name) && !found.contains(&name.as_str()) {
                found.push(name);
                texts.push(code);
            }
        }
    }
    found.sort_unstable();
    found
}

/// Whether a text has a path that leads through a module, or calls the macro that is named like it.
fn uses(text: &str, module: &str) -> bool {
    let parts: Vec<&str> = text.split(module).collect();
    parts.windows(2).any(|around| {
        !around[0].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && (around[1].starts_with("::") || around[1].starts_with("! {"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::root;

    fn modules(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
        texts.iter().map(|(name, text)| ((*name).to_owned(), code(text))).collect()
    }

    #[test]
    fn modules_are_found_through_others() {
        let modules = modules(&[
            ("bank", "pub const A: usize = 1;"),
            ("block", "use crate::bank::A;"),
            ("slots", "macro_rules! slots { () => {} }"),
            (
                "tcp",
                "slots! {\n}\nconst W: usize = crate::bank::A;\n#[cfg(test)]\nmod tests { use crate::block::B; }",
            ),
        ]);
        assert_eq!(used("use pitot_common::tcp::{W};", &modules), ["bank", "slots", "tcp"]);
        assert_eq!(used("use pitot_common::{block::B}; // tcp", &modules), ["bank", "block"]);
        assert_eq!(used("subtcp::x(); tcp_block::y();", &modules), [""; 0]);
    }

    #[test]
    fn comments_are_no_layout() {
        assert_eq!(code("//! a\n/// b\nconst C: u8 = 0;\n    // d\n"), "const C: u8 = 0;\n");
    }

    #[test]
    fn the_layout_of_an_object_is_its_own() {
        let names = ["block", "cgroup", "irq", "memory", "net", "process", "sched", "syscall", "tcp"];
        let mut hashes: Vec<_> = names.iter().map(|name| hash(&root(), name).unwrap()).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), names.len());
    }
}
