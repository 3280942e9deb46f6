//! `cargo xtask ebpf`: from `ebpf/src/bin/*.rs` to `ebpf/prebuilt/*.o`.
//!
//! The same sources and the same compiler give the same bytes, wherever the project lies: no path of the
//! machine gets in.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use xtask::{
    elf::{self, Stamp},
    layout, sources,
};

use crate::{
    shell,
    strip::finish,
    toolchain::{Toolchain, cargo_home, home, path_with_linker},
};

/// `v3`: 32-bit jumps and arithmetic, which kernels know since 5.1.
const CODE: [&str; 4] = ["-Ctarget-cpu=v3", "-Clinker=bpf-linker", "-Clink-arg=--btf", "-Cdebuginfo=2"];
const TARGET: &str = "bpfel-unknown-none";

/// Compares what each object says it is made of with the sources.
pub(crate) fn check() -> Result<()> {
    let root = sources::root();
    let names = sources::objects(&root)?;
    let mut stale = Vec::new();
    for name in &names {
        let current = sources::hash(&root, name)?;
        let stamp =
            fs::read(sources::prebuilt(&root, name)).ok().and_then(|bytes| elf::read(&bytes).ok()?.stamp);
        match stamp {
            Some(stamp) if stamp.sources == current => println!("{name}: current ({})", stamp.compiler),
            Some(_) => stale.push(format!("{name}: its sources have changed")),
            None => stale.push(format!("{name}: missing, or not finished by this command")),
        }
    }
    for entry in fs::read_dir(root.join("ebpf/prebuilt"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !names.contains(&name) {
            stale.push(format!("{name}: an object without a source"));
        }
    }
    ensure!(stale.is_empty(), "{}\nrun `cargo xtask ebpf`", stale.join("\n"));
    Ok(())
}

/// Builds them all.
pub(crate) fn build() -> Result<()> {
    let root = sources::root();
    let toolchain = Toolchain::find()?;
    let path = path_with_linker()?;
    println!("# {}", toolchain.version);
    let linked = root.join("target/ebpf");
    compile(&root, &toolchain, &path, &linked).inspect_err(|_| eprintln!("{}\n", toolchain.advice()))?;

    let private = [home(), cargo_home(), root.clone(), toolchain.sources()];
    for name in sources::objects(&root)? {
        let stamp = Stamp {
            sources: sources::hash(&root, &name)?,
            layout: layout::hash(&root, &name)?,
            compiler: toolchain.version.clone(),
        };
        let bytes = fs::read(linked.join(TARGET).join("release").join(&name))?;
        let bytes = finish(&bytes, &stamp).with_context(|| format!("cannot finish {name}"))?;
        no_path_of(&private, &bytes).with_context(|| name.clone())?;
        report(&name, &bytes, &sources::prebuilt(&root, &name))?;
    }
    Ok(())
}

fn compile(root: &Path, toolchain: &Toolchain, path: &OsStr, into: &Path) -> Result<()> {
    let folder = root.join("ebpf");
    let (mut fetch, variables) = toolchain.cargo();
    // First, because only then it is known where the dependencies lie.
    fetch.current_dir(&folder).args(["fetch", "--locked", "--quiet"]);
    shell::run(&mut fetch, &variables)?;

    let mut flags: Vec<String> = CODE.iter().map(|&flag| flag.to_owned()).collect();
    let mut rename =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    rename(root, "pitot");
    rename(&toolchain.sources(), "rust");
    for registry in fs::read_dir(cargo_home().join("registry/src"))? {
        rename(&registry?.path(), "cargo");
    }

    let (mut build, mut variables) = toolchain.cargo();
    build.current_dir(&folder).args(["build", "--release", "--locked", "--quiet", "-Zbuild-std=core"]);
    build.args(["--target", TARGET, "--target-dir"]).arg(into);
    // The same as RUSTFLAGS, for paths with spaces.
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("PATH", path);
    let flags = flags.join(" ");
    variables.push(("RUSTFLAGS", &flags));
    shell::run(&mut build, &variables)
}

/// Objects are published: nothing of the machine may be in them.
fn no_path_of(private: &[PathBuf], bytes: &[u8]) -> Result<()> {
    for path in private.iter().filter(|path| path.parent().is_some()) {
        let text = path.as_os_str().as_encoded_bytes();
        if bytes.windows(text.len()).any(|window| window == text) {
            bail!("the object holds the path {}", path.display());
        }
    }
    Ok(())
}

fn report(name: &str, bytes: &[u8], path: &Path) -> Result<()> {
    let before = fs::read(path).unwrap_or_default();
    let changed = before != bytes;
    println!("{name}: {} bytes, {}", bytes.len(), if changed { "changed" } else { "unchanged" });
    let old = elf::read(&before).map(|contents| contents.programs).unwrap_or_default();
    for program in elf::read(bytes)?.programs {
        let was = old.iter().find(|old| old.name == program.name).map(|old| old.instructions);
        let was = was.filter(|was| *was != program.instructions).map(|was| format!(" (was {was})"));
        println!("  {:16} {:4} instructions{}", program.name, program.instructions, was.unwrap_or_default());
    }
    if changed {
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
