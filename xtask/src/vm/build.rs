//! What runs in a machine: programs without shared libraries, as nothing else is there.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::sources;

use crate::shell;

/// The target is named although it is the host's: otherwise cargo would link build scripts like that, too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The programs.
pub(super) struct Programs {
    pub(super) init: PathBuf,
    pub(super) pitot: PathBuf,
    pub(super) tests: PathBuf,
}

impl Programs {
    /// Builds them in a folder of their own; a little optimised, as a machine takes twenty times as long for what
    /// they do to read the kernel's types.
    pub(super) fn build(into: &Path) -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(sources::root())
            .args(["build", "--quiet", "--locked", "--target", TARGET, "--message-format=json"])
            .args(["-p", "pitot", "-p", "pitot-vm-init", "-p", "pitot-tests", "--bins", "--test", "kernel"])
            .arg("--target-dir")
            .arg(into);
        let variables = [
            ("RUSTFLAGS", "-Ctarget-feature=+crt-static"),
            ("CARGO_PROFILE_DEV_DEBUG", "false"),
            ("CARGO_PROFILE_DEV_OPT_LEVEL", "1"),
            ("CARGO_INCREMENTAL", "0"),
        ];
        println!("$ {}", shell::line(&cargo, &variables));
        let built = cargo.envs(variables).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        ensure!(built.status.success(), "the programs of the machine cannot be built");
        let messages = String::from_utf8(built.stdout)?;
        let program = |name: &str| {
            executable(&messages, name).with_context(|| format!("cargo has built no program `{name}`"))
        };
        Ok(Self { init: program("pitot-vm-init")?, pitot: program("pitot")?, tests: program("kernel")? })
    }
}

/// The program that cargo has made of a target.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ours = messages.filter(|message| message["target"]["name"] == name);
    ours.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_among_libraries_of_its_name() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"pitot"},"executable":null}
text of a build script
{"reason":"compiler-artifact","target":{"name":"pitot"},"executable":"/target/pitot"}"#;
        assert_eq!(executable(messages, "pitot"), Some("/target/pitot".into()));
        assert_eq!(executable(messages, "kernel"), None);
    }
}
