//! Finding what kernel programs are built with: a compiler that comes with the sources of `core`, as the
//! target has no ready-made one, and a linker for it.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::shell::output;

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

const NO_COMPILER: &str =
    "no compiler for the kernel programs. It has to come with the sources of `core`; either of these does:

    apt-get install --no-install-recommends rustc-web cargo-web rust-web-src llvm-22-dev     (Debian)
    rustup toolchain install nightly --component rust-src                                    (anywhere)

The agent itself needs neither: the objects in ebpf/prebuilt are part of it.";

const LINKER: &str = "    LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --no-default-features --features llvm-22 --locked";

/// A compiler with the sources of `core`.
pub(crate) struct Toolchain {
    /// The rustup toolchain; without one, Debian's packages.
    rustup: Option<String>,
    /// Where the compiler's own files are.
    pub(crate) sysroot: PathBuf,
    /// First line of `rustc -vV`.
    pub(crate) version: String,
    /// Major version of its LLVM.
    llvm: String,
}

impl Toolchain {
    /// A rustup nightly if there is a whole one, otherwise Debian's.
    pub(crate) fn find() -> Result<Self> {
        let listed = output("rustup", &["toolchain", "list"]).unwrap_or_default();
        let nightlies = listed.lines().filter_map(|line| line.split_whitespace().next());
        let nightlies =
            nightlies.filter(|name| name.starts_with("nightly")).map(|name| Some(name.to_owned()));
        match nightlies.chain([None]).find_map(Self::probe) {
            Some(found) => Ok(found),
            None => bail!(NO_COMPILER),
        }
    }

    fn probe(rustup: Option<String>) -> Option<Self> {
        let rustc = |argument: &[&str]| match &rustup {
            Some(name) => output("rustup", &[&["run", name, "rustc"], argument].concat()),
            None => Path::new(DEBIAN_CARGO).exists().then(|| output(DEBIAN_RUSTC, argument)).flatten(),
        };
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
        let verbose = rustc(&["-vV"])?;
        let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
        let llvm = llvm.split('.').next()?.to_owned();
        let version = verbose.lines().next()?.to_owned();
        let found = Self { rustup, sysroot, version, llvm };
        found.sources().join("library/core").is_dir().then_some(found)
    }

    /// The compiler's own sources.
    pub(crate) fn sources(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    /// Its cargo, and the variables that make it the one that is used.
    pub(crate) fn cargo(&self) -> (Command, Vec<(&'static str, &'static str)>) {
        let (mut command, mut variables) = match &self.rustup {
            Some(name) => {
                let mut command = Command::new("rustup");
                command.args(["run", name, "cargo"]);
                (command, Vec::new())
            }
            None => (Command::new(DEBIAN_CARGO), vec![("RUSTC", DEBIAN_RUSTC)]),
        };
        // Unstable features, also on a stable compiler.
        variables.push(("RUSTC_BOOTSTRAP", "1"));
        // What the outer cargo leaves to its children would bring its own compiler back.
        for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO", "CARGO_BUILD_TARGET"]
        {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        (command, variables)
    }

    /// What to try when the build fails.
    pub(crate) fn advice(&self) -> String {
        let llvm = &self.llvm;
        let version = &self.version;
        format!(
            "if it was the linker: it has to be made for LLVM {llvm}, as {version} is. For LLVM 22:\n\n{LINKER}"
        )
    }
}

/// A search path on which bpf-linker is found.
pub(crate) fn path_with_linker() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.push(cargo_home().join("bin"));
    if !folders.iter().any(|folder| folder.join("bpf-linker").is_file()) {
        bail!(
            "bpf-linker is neither on PATH nor in {}. To install it:\n\n{LINKER}\n",
            cargo_home().join("bin").display()
        );
    }
    Ok(env::join_paths(folders)?)
}

/// Where cargo keeps the sources of dependencies.
pub(crate) fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

/// The home folder.
pub(crate) fn home() -> PathBuf {
    env::home_dir().unwrap_or_default()
}
