//! What containers are called, without asking anybody: from the files that runtimes keep for themselves.
//!
//! ```text
//! <state>/io.containerd.runtime.v2.task/<namespace>/<id>/config.json     containerd, by its CRI or without
//! /run/containerd/runc/<namespace>/<id>/state.json                       the same, kept by runc
//! <data>/containers/<id>/config.v2.json                                  Docker
//! <storage>/overlay-containers/<id>/userdata/config.json                 CRI-O and Podman
//! <storage>/overlay-containers/containers.json                           names and images of Podman
//! ```
//!
//! They are read below the host's `/`, which no link leads out of, and up to a length. Folders that are not where they
//! usually are show in the options of the process that keeps a container, and in the host's mounts.

mod config;

use std::path::Path;

use self::config::Stored;
use super::{Pod, Role, Runtime, process::Keeper, source::Description};
use crate::{
    input::check::Dir,
    source::{File, Roots, mountinfo, parse},
};

/// Longest file of one container.
const LONGEST: u64 = 1 << 20;
/// Longest list of all containers of a storage.
const LONGEST_LIST: u64 = 8 << 20;
/// Folders of one kind that are remembered.
const MOST_FOLDERS: usize = 8;

const CONTAINERD: &[&str] = &["run/containerd", "run/k3s/containerd", "run/docker/containerd/daemon"];
const RUNC: &[&str] = &["run/containerd/runc", "run/k3s/containerd/runc", "run/docker/runtime-runc"];
const DOCKER: &[&str] = &["var/lib/docker"];
const STORAGE: &[&str] = &["var/lib/containers/storage", "run/containers/storage"];
const TASKS: &str = "io.containerd.runtime.v2.task";

/// The files of runtimes.
pub(super) struct Files {
    root: Option<Dir>,
    mounts: File,
    containerd: Vec<String>,
    docker: Vec<String>,
}

/// Whose files are looked for.
#[derive(Debug)]
pub(super) struct Sought<'a> {
    pub(super) id: &'a str,
    /// As far as it is known.
    pub(super) runtime: Runtime,
    /// The group above its own, which containerd without Kubernetes calls after its namespace.
    pub(super) above: &'a str,
    /// Who keeps it.
    pub(super) keeper: Option<&'a Keeper>,
}

impl Files {
    pub(super) fn new(roots: &Roots) -> Self {
        let owned = |folders: &[&str]| folders.iter().map(|folder| (*folder).to_owned()).collect();
        Self {
            root: Dir::open(&roots.rootfs).ok(),
            mounts: roots.proc("1/mountinfo"),
            containerd: owned(CONTAINERD),
            docker: owned(DOCKER),
        }
    }

    /// What files say about a container.
    pub(super) fn describe(&mut self, sought: &Sought<'_>) -> Option<Description> {
        if let Some(keeper) = sought.keeper {
            self.learn_from(keeper);
        }
        let mut found = self.find(sought);
        if found.is_none() && self.learn_from_mounts() {
            found = self.find(sought);
        }
        found.map(|description| Description { id: sought.id.to_owned(), ..description })
    }

    fn find(&self, sought: &Sought<'_>) -> Option<Description> {
        let may_be = |runtime| matches!(sought.runtime, Runtime::Unknown) || sought.runtime == runtime;
        let containerd = || may_be(Runtime::Containerd).then(|| self.of_containerd(sought)).flatten();
        let docker = || may_be(Runtime::Docker).then(|| self.of_docker(sought.id)).flatten();
        let has_conmon = may_be(Runtime::Podman) || may_be(Runtime::Crio);
        let conmon = || has_conmon.then(|| self.of_conmon(sought)).flatten();
        containerd().or_else(docker).or_else(conmon).or_else(|| sought.keeper.and_then(by_name))
    }

    fn of_containerd(&self, sought: &Sought<'_>) -> Option<Description> {
        let own = sought.keeper.map(|keeper| keeper.namespace.as_str()).filter(|own| !own.is_empty());
        let namespaces: &[&str] = match own {
            Some("moby") => return None,
            Some(own) => &[own],
            None => &["k8s.io", sought.above],
        };
        for namespace in namespaces.iter().filter(|namespace| !namespace.is_empty()) {
            let bundle = self.containerd.iter().find_map(|folder| {
                let path = format!("{folder}/{TASKS}/{namespace}/{}/config.json", sought.id);
                config::of_bundle(&self.read(&path, LONGEST)?)
            });
            let state = || {
                RUNC.iter().find_map(|folder| {
                    let path = format!("{folder}/{namespace}/{}/state.json", sought.id);
                    config::of_runc(&self.read(&path, LONGEST)?)
                })
            };
            if let Some(found) = bundle.or_else(state) {
                return Some(Description { runtime: Some(Runtime::Containerd), ..found });
            }
        }
        None
    }

    fn of_docker(&self, id: &str) -> Option<Description> {
        self.docker.iter().find_map(|folder| {
            let about = self.read(&format!("{folder}/containers/{id}/config.v2.json"), LONGEST)?;
            let host = self.read(&format!("{folder}/containers/{id}/hostconfig.json"), LONGEST);
            config::of_docker(&about, host.as_deref())
        })
    }

    fn of_conmon(&self, sought: &Sought<'_>) -> Option<Description> {
        let keeper = sought.keeper.filter(|keeper| keeper.is_conmon && keeper.id == sought.id);
        let bundle = keeper.map(|keeper| keeper.bundle.trim_start_matches('/').to_owned());
        let usual = STORAGE.iter().map(|at| format!("{at}/overlay-containers/{}/userdata", sought.id));
        let bundle = bundle.into_iter().filter(|bundle| !bundle.is_empty()).chain(usual).find_map(|bundle| {
            let content = self.read(&format!("{bundle}/config.json"), LONGEST)?;
            Some((config::of_bundle(&content)?, bundle))
        });
        let (mut found, bundle) = bundle?;
        let is_crio = found.pod.is_some() && sought.runtime != Runtime::Podman;
        found.runtime = Some(if is_crio { Runtime::Crio } else { Runtime::Podman });
        if !is_crio {
            let stored = self.stored(&bundle, sought.id);
            let told = keeper.map(|keeper| keeper.name.clone()).unwrap_or_default();
            let (name, image) =
                stored.map_or((told.clone(), String::new()), |stored| (stored.name, stored.image));
            found.name = if name.is_empty() { told } else { name };
            found.image = image;
        }
        Some(found)
    }

    /// What the storage that a bundle lies in has of a container.
    fn stored(&self, bundle: &str, id: &str) -> Option<Stored> {
        let storage = bundle.split("/overlay-containers/").next()?;
        let graph = STORAGE.first().copied().filter(|usual| *usual != storage);
        [Some(storage), graph].into_iter().flatten().find_map(|storage| {
            ["containers.json", "volatile-containers.json"].iter().find_map(|list| {
                let list = self.read(&format!("{storage}/overlay-containers/{list}"), LONGEST_LIST)?;
                config::stored(&list, id)
            })
        })
    }

    /// Whether containerd has a task of this name, whoever it is from.
    pub(super) fn is_task(&self, namespace: &str, id: &str) -> bool {
        let Some(root) = &self.root else { return false };
        self.containerd.iter().any(|folder| root.dir(&format!("{folder}/{TASKS}/{namespace}/{id}")).is_ok())
    }

    /// Where containerd has its files is usually where it listens.
    fn learn_from(&mut self, keeper: &Keeper) {
        let Some(folder) = Path::new(&keeper.address).parent().and_then(Path::to_str) else { return };
        for below in ["", "/state", "/daemon"] {
            let folder = format!("{}{below}", folder.trim_start_matches('/'));
            let Some(root) = &self.root else { return };
            if !self.containerd.contains(&folder) && root.dir(&format!("{folder}/{TASKS}")).is_ok() {
                remember(&mut self.containerd, &folder);
            }
        }
    }

    /// The root of a container is mounted in the folder of its runtime. Says whether there are new ones.
    fn learn_from_mounts(&mut self) -> bool {
        let Ok(content) = self.mounts.read_to_end() else { return false };
        let mut is_new = false;
        for line in parse::lines(content.bytes()).filter_map(mountinfo::parse_line) {
            let Ok(point) = std::str::from_utf8(line.point) else { continue };
            if let Some((folder, _)) = point.split_once(&format!("/{TASKS}/")) {
                is_new |= remember(&mut self.containerd, folder);
            } else if point.ends_with("/merged")
                && let Some((folder, _)) = point.split_once("/overlay2/")
            {
                is_new |= remember(&mut self.docker, folder);
            }
        }
        is_new
    }

    fn read(&self, path: &str, longest: u64) -> Option<Vec<u8>> {
        self.root.as_ref()?.read(path, longest).ok()
    }
}

/// What conmon was told that a container is called: as in `k8s_<container>_<pod>_<namespace>_<uid>_<times>`, or simply
/// its name.
fn by_name(keeper: &Keeper) -> Option<Description> {
    let name = Some(keeper.name.as_str()).filter(|name| keeper.is_conmon && !name.is_empty())?;
    let mut found = Description::default();
    match name.split('_').collect::<Vec<_>>()[..] {
        ["k8s", container, pod, namespace, uid, _] => {
            let is_sandbox = container == "POD";
            found.runtime = Some(Runtime::Crio);
            found.role = Some(if is_sandbox { Role::Sandbox } else { Role::Workload });
            found.name = if is_sandbox { String::new() } else { container.to_owned() };
            let [uid, name, namespace] = [uid, pod, namespace].map(str::to_owned);
            found.pod = Some(Pod { uid, name, namespace, ..Pod::default() });
        }
        _ => (found.runtime, found.name) = (Some(Runtime::Podman), name.to_owned()),
    }
    Some(found)
}

/// Adds a folder, if it is new and there is room.
fn remember(folders: &mut Vec<String>, folder: &str) -> bool {
    let folder = folder.trim_start_matches('/');
    let is_new = folders.len() < MOST_FOLDERS && !folders.iter().any(|known| known == folder);
    if is_new {
        folders.push(folder.to_owned());
    }
    is_new
}

#[cfg(test)]
mod tests;
