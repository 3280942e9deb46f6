//! `cargo xtask pods`, and what tests with real containers stand on: containerd with pods, docker and podman, on a
//! machine that has none of them.
//!
//! Runtimes come from Debian's packages, which are unpacked and not installed. Everything that they write is in one
//! folder, their networks are in a namespace of their own, and nothing of it is left when a [`Lab`] goes, also when its
//! process was killed: the next one cleans up first.

mod command;
mod containerd;
mod cri;
mod daemon;
mod engine;
mod folder;
mod image;
mod messages;
mod network;
mod packages;
mod spec;
mod sweep;
mod tar;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

pub use self::{
    command::{Options, run},
    engine::Engine,
    image::{BUSYBOX, DISTROLESS},
    spec::{ContainerSpec, Pod, PodSpec, Running},
};
use self::{
    containerd::Containerd,
    folder::{Folder, Shared},
    network::Network,
    packages::Packages,
};

/// Runtimes at work.
#[derive(Debug)]
pub struct Lab {
    folder: Shared,
    packages: Packages,
    network: Network,
    images: Vec<Vec<u8>>,
    docker: OnceLock<Engine>,
    podman: OnceLock<Engine>,
    containerd: Mutex<Containerd>,
    starting: Mutex<u32>,
}

impl Lab {
    /// Starts containerd. Others are started when they are asked for.
    pub fn up() -> Result<Self> {
        ensure!(geteuid().is_root(), "the lab takes root");
        ensure!(Path::new("/sys/fs/cgroup").exists(), "the lab takes control groups: mount /sys/fs/cgroup");
        let packages = Packages::get()?;
        let folder = Arc::new(Folder::new()?);
        let network = Network::new(&packages.busybox())?;
        let images = image::make(&packages)?;
        progress("containerd");
        let containerd = Containerd::new(&folder, &packages, &network)?;
        for image in &images {
            containerd.import(image)?;
        }
        Ok(Self {
            folder,
            packages,
            network,
            images,
            docker: OnceLock::new(),
            podman: OnceLock::new(),
            containerd: Mutex::new(containerd),
            starting: Mutex::new(0),
        })
    }

    /// Starts a pod. Its first processes run when this returns; what they do may take a moment longer.
    pub fn pod(&self, spec: &PodSpec) -> Result<Pod> {
        let uid = self.identity();
        self.containerd().pod(spec, uid).with_context(|| format!("no pod {}", spec.name))
    }

    /// containerd's socket, where CRI is spoken.
    pub fn cri_socket(&self) -> PathBuf {
        self.containerd().socket()
    }

    /// containerd's process, while there is one.
    pub fn containerd_pid(&self) -> Option<u32> {
        self.containerd().pid()
    }

    /// Ends containerd; what runs in pods goes on.
    pub fn containerd_stop(&self) {
        self.containerd().stop();
    }

    /// Starts it again.
    pub fn containerd_start(&self) -> Result<()> {
        self.containerd().start()
    }

    /// Ends it and starts it again.
    pub fn containerd_restart(&self) -> Result<()> {
        self.containerd_stop();
        self.containerd_start()
    }

    /// Brings it back to what it was at first: containerd runs, and there are no pods and no containers.
    pub fn reset(&self) -> Result<()> {
        for engine in [self.docker.get(), self.podman.get()].into_iter().flatten() {
            engine.clear()?;
        }
        let mut containerd = self.containerd();
        if containerd.pid().is_none() {
            containerd.start()?;
        }
        containerd.clear()
    }

    /// Docker, which is started when it is first asked for.
    pub fn docker(&self) -> Result<&Engine> {
        let socket = self.cri_socket();
        self.engine(&self.docker, "docker", || {
            Engine::docker(&self.folder, &self.packages, &self.network, &socket)
        })
    }

    /// Podman, likewise.
    pub fn podman(&self) -> Result<&Engine> {
        self.engine(&self.podman, "podman", || Engine::podman(&self.folder, &self.packages, &self.network))
    }

    fn engine<'l>(
        &'l self,
        place: &'l OnceLock<Engine>,
        name: &str,
        start: impl FnOnce() -> Result<Engine>,
    ) -> Result<&'l Engine> {
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = place.get() {
            return Ok(engine);
        }
        progress(name);
        let engine = start().with_context(|| format!("no {name}"))?;
        for image in &self.images {
            engine.load(image)?;
        }
        Ok(place.get_or_init(|| engine))
    }

    /// A place for files, which goes with the lab.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Removes everything. Dropping does, too, and cannot say what went wrong.
    pub fn down(mut self) -> Result<()> {
        self.clear()
    }

    fn clear(&mut self) -> Result<()> {
        let engines = [self.docker.take(), self.podman.take()].into_iter().flatten();
        let mut done = Ok(());
        for engine in engines {
            done = done.and(engine.clear());
        }
        let mut containerd = self.containerd();
        let done = done.and(containerd.clear());
        containerd.stop();
        sweep::sweep(self.folder.path());
        done
    }

    fn containerd(&self) -> MutexGuard<'_, Containerd> {
        self.containerd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that no pod has had, in the form that Kubernetes gives it.
    fn identity(&self) -> String {
        let mut number = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = format!("{} {number} {now:?}", self.folder().display());
        let hash = image::hex(seed.as_bytes());
        let (words, mut at) = ([8, 4, 4, 4, 12], 0);
        let parts = words.map(|length| {
            at += length;
            hash.get(at - length..at).unwrap_or_default()
        });
        parts.join("-")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            progress(&format!("not everything could be removed in order: {error:#}"));
        }
    }
}

/// Says what takes a moment.
#[expect(clippy::print_stderr, reason = "who waits at a terminal wants to know for what")]
fn progress(line: &str) {
    eprintln!("lab: {line}");
}
