//! What the tests of inputs share: small trees of files, and content that nearly makes sense.

use std::{fs, path::Path, time::Duration};

use proptest::prelude::*;

use super::{CollectContext, Input, InputError};
use crate::{accumulator::MemoryAccumulator, source::Roots};

/// A directory with `proc`, `sys` and whatever else a test puts there.
pub(super) struct Tree(tempfile::TempDir);

impl Tree {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            tree.write(path, content.as_bytes());
        }
        tree
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, path: &str, content: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn roots(&self) -> Roots {
        Roots {
            procfs: self.path().join("proc"),
            sysfs: self.path().join("sys"),
            rootfs: self.path().to_owned(),
        }
    }
}

pub(super) fn now() -> CollectContext {
    CollectContext::new(Duration::from_secs(1))
}

/// One collection, which either fails or delivers.
pub(super) fn collect(input: &mut dyn Input) -> Result<MemoryAccumulator, InputError> {
    let mut acc = MemoryAccumulator::new();
    input.collect(&now(), &mut acc)?;
    Ok(acc)
}

/// Collects twice, so that what was kept from the first is used, and only expects to come back.
pub(super) fn survives(input: &mut dyn Input) {
    let _ = (collect(input), collect(input));
}

/// Content for a parser: the words it knows in any order and number, numbers, blanks, and any bytes.
pub(super) fn soup(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        8 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        8 => prop::sample::select(&[" ", "\n", ":", "=", "\t"][..]).prop_map(|word| word.as_bytes().to_vec()),
        4 => any::<u64>().prop_map(|number| number.to_string().into_bytes()),
        2 => any::<u16>().prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(word, 0..80).prop_map(|words| words.concat())
}

/// Few cases: each one writes files.
pub(super) fn few() -> ProptestConfig {
    ProptestConfig { cases: 64, ..ProptestConfig::default() }
}
