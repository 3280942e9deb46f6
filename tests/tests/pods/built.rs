//! The project's own programs, made of the sources that are here.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

use xtask::sources;

/// One of them.
pub(crate) fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // With this test, so that libraries have the same features and none is made twice.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(sources::root()).args(["build", "--quiet", "--locked", "--workspace"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let status = cargo.args(["--bin", "pitot", "--bin", "xtask", "--test", "pods"]).status().unwrap();
        assert!(status.success(), "the programs cannot be built");
        // Beside the folder of this test.
        env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned()
    });
    folder.join(name)
}
