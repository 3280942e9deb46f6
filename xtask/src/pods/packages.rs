//! Runtimes from Debian's packages: downloaded and unpacked, never installed. Nothing of them is started by itself, and
//! nothing of them is left anywhere else.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::progress;
use crate::sources;

/// What the lab runs, and the libraries of that which a minimal system lacks.
const NAMES: [&str; 12] = [
    "busybox-static",
    "catatonit",
    "conmon",
    "containerd",
    "containernetworking-plugins",
    "docker.io",
    "libassuan0",
    "libgpgme11",
    "libsubid4",
    "libyajl2",
    "podman",
    "runc",
];

/// The folder where they are.
#[derive(Clone, Debug)]
pub(super) struct Packages {
    folder: PathBuf,
}

impl Packages {
    /// Downloads what has not been yet.
    pub(super) fn get() -> Result<Self> {
        let cache = sources::root().join("target/pods");
        let packages = Self { folder: cache.join("packages") };
        let complete = cache.join("complete");
        if fs::read_to_string(&complete).is_ok_and(|names| names == NAMES.join(" ")) {
            return Ok(packages);
        }
        fs::create_dir_all(&cache)?;
        // Another lab may be about to do the same.
        let lock = fs::File::create(cache.join("lock"))?;
        lock.lock()?;
        if fs::read_to_string(&complete).is_ok_and(|names| names == NAMES.join(" ")) {
            return Ok(packages);
        }
        progress(&format!("packages: {}", NAMES.join(" ")));
        let archives = tempfile::tempdir_in(&cache)?;
        download(archives.path())?;
        if packages.folder.exists() {
            fs::remove_dir_all(&packages.folder)?;
        }
        for archive in fs::read_dir(archives.path())? {
            let archive = archive?.path();
            let done = Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&packages.folder).status();
            ensure!(done.context("cannot run dpkg-deb")?.success(), "{} is no package", archive.display());
        }
        fs::write(complete, NAMES.join(" "))?;
        Ok(packages)
    }

    /// A file of theirs.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// A shell that needs nothing else.
    pub(super) fn busybox(&self) -> PathBuf {
        // Debian moves programs from one folder to the other.
        let usual = self.file("bin/busybox");
        if usual.exists() { usual } else { self.file("usr/bin/busybox") }
    }

    /// The tools that are in it.
    pub(super) fn applets(&self) -> Result<String> {
        let listed = Command::new(self.busybox()).arg("--list").output().context("cannot run busybox")?;
        Ok(String::from_utf8(listed.stdout)?)
    }

    /// A program of theirs that finds the others, and its libraries.
    pub(super) fn program(&self, path: &str) -> Command {
        let mut command = Command::new(self.file(path));
        let mut paths = vec![self.file("usr/sbin"), self.file("usr/bin")];
        paths.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        command.env("PATH", env::join_paths(paths).unwrap_or_else(|_| OsString::from("/usr/sbin:/usr/bin")));
        let libraries = format!("{}-linux-gnu", env::consts::ARCH);
        let folders = [self.file("usr/lib").join(&libraries), self.file("lib").join(&libraries)];
        command.env("LD_LIBRARY_PATH", env::join_paths(folders).unwrap_or_default());
        command
    }
}

fn download(into: &Path) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        // As the user who runs this: apt's own may not write here.
        apt.current_dir(into).args(["-qq", "-o", "APT::Sandbox::User=root"]).args(arguments);
        apt.output().context("cannot run apt-get: the lab is for Debian 12")
    };
    let wanted = [&["download"], &NAMES[..]].concat();
    let first = apt(&wanted)?;
    if first.status.success() {
        return Ok(());
    }
    // What apt knows may be from before a package was replaced, or nothing.
    apt(&["update"])?;
    let second = apt(&wanted)?;
    if !second.status.success() {
        bail!("cannot download packages: {}", String::from_utf8_lossy(&second.stderr).trim());
    }
    Ok(())
}
