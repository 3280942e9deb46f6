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
    source::{Roots, mountinfo, parse},
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
const BUNDLES: &str = "overlay-containers";
/// Searches of mounts for containers that came together.
const SEARCHES: usize = 16;

/// The files of runtimes.
pub(super) struct Files {
    root: Option<Dir>,
    roots: Roots,
    containerd: Vec<String>,
    docker: Vec<String>,
    storage: Vec<String>,
    /// How often mounts may still be searched.
    searches: usize,
}

/// Whose files are looked for.
#[derive(Debug)]
pub(super) struct Sought<'a> {
    pub(super) id: &'a str,
    /// As far as it is known.
    pub(super) runtime: Runtime,
    /// The group above its own, which containerd without Kubernetes calls after its namespace.
    pub(super) above: &'a str,
    /// Who keeps it, with its number.
    pub(super) keeper: Option<(u32, &'a Keeper)>,
}

impl Files {
    pub(super) fn new(roots: &Roots) -> Self {
        let owned = |folders: &[&str]| folders.iter().map(|folder| (*folder).to_owned()).collect();
        Self {
            root: Dir::open(&roots.rootfs).ok(),
            roots: roots.clone(),
            containerd: owned(CONTAINERD),
            docker: owned(DOCKER),
            storage: owned(STORAGE),
            searches: SEARCHES,
        }
    }

    /// Lets mounts be searched again, a few times.
    pub(super) fn refill(&mut self) {
        self.searches = SEARCHES;
    }

    /// What files say about a container.
    pub(super) fn describe(&mut self, sought: &Sought<'_>) -> Option<Description> {
        if let Some((_, keeper)) = sought.keeper {
            self.learn_from(keeper);
        }
        let mut found = self.find(sought);
        // A daemon may have mounts of its own, which who keeps its containers sees.
        for process in [Some(1), sought.keeper.map(|(pid, _)| pid)].into_iter().flatten() {
            if found.is_none() && self.searches > 0 {
                self.searches -= 1;
                found = self.learn_from_mounts(process).then(|| self.find(sought)).flatten();
            }
        }
        let found = found.or_else(|| by_name(sought.keeper?.1));
        found.map(|description| Description { id: sought.id.to_owned(), ..description })
    }

    fn find(&self, sought: &Sought<'_>) -> Option<Description> {
        let may_be = |runtime| matches!(sought.runtime, Runtime::Unknown) || sought.runtime == runtime;
        let containerd = || may_be(Runtime::Containerd).then(|| self.of_containerd(sought)).flatten();
        let docker = || may_be(Runtime::Docker).then(|| self.of_docker(sought.id)).flatten();
        let has_conmon = may_be(Runtime::Podman) || may_be(Runtime::Crio);
        let conmon = || has_conmon.then(|| self.of_conmon(sought)).flatten();
        containerd().or_else(docker).or_else(conmon)
    }

    fn of_containerd(&self, sought: &Sought<'_>) -> Option<Description> {
        let own = sought.keeper.map(|(_, keeper)| keeper.namespace.as_str()).filter(|own| !own.is_empty());
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
        let (storage, mut found) = self.storage.iter().find_map(|storage| {
            let path = format!("{storage}/{BUNDLES}/{}/userdata/config.json", sought.id);
            Some((storage, config::of_bundle(&self.read(&path, LONGEST)?)?))
        })?;
        let is_crio = found.pod.is_some() && sought.runtime != Runtime::Podman;
        found.runtime = Some(if is_crio { Runtime::Crio } else { Runtime::Podman });
        if !is_crio {
            let told = sought.keeper.and_then(|(_, keeper)| by_name(keeper));
            let stored = self.stored(storage, sought.id).unwrap_or_default();
            found.name = Some(stored.name)
                .filter(|name| !name.is_empty())
                .or(told.map(|told| told.name))
                .unwrap_or_default();
            found.image = stored.image;
        }
        Some(found)
    }

    /// What a storage has of a container.
    fn stored(&self, storage: &str, id: &str) -> Option<Stored> {
        ["containers.json", "volatile-containers.json"].iter().find_map(|list| {
            let list = self.read(&format!("{storage}/{BUNDLES}/{list}"), LONGEST_LIST)?;
            config::stored(&list, id)
        })
    }

    /// Whether containerd has a task of this name, whoever it is from.
    pub(super) fn is_task(&self, namespace: &str, id: &str) -> bool {
        let Some(root) = &self.root else { return false };
        self.containerd.iter().any(|folder| root.dir(&format!("{folder}/{TASKS}/{namespace}/{id}")).is_ok())
    }

    /// Where containerd has its files is usually where it listens; conmon is told where they are.
    fn learn_from(&mut self, keeper: &Keeper) {
        if let Some((storage, _)) = keeper.bundle.split_once(&format!("/{BUNDLES}/")) {
            remember(&mut self.storage, storage);
        }
        let Some(folder) = Path::new(&keeper.address).parent().and_then(Path::to_str) else { return };
        for below in ["", "/state", "/daemon"] {
            let folder = format!("{}{below}", folder.trim_start_matches('/'));
            let Some(root) = &self.root else { return };
            if !self.containerd.contains(&folder) && root.dir(&format!("{folder}/{TASKS}")).is_ok() {
                remember(&mut self.containerd, &folder);
            }
        }
    }

    /// What a container needs is mounted in the folders of its runtime. Says whether there are new ones.
    fn learn_from_mounts(&mut self, process: u32) -> bool {
        let mut mounts = self.roots.proc(&format!("{process}/mountinfo"));
        let Ok(content) = mounts.read_to_end() else { return false };
        let mut is_new = false;
        for line in parse::lines(content.bytes()).filter_map(mountinfo::parse_line) {
            let point = mountinfo::strip_root(line.point, &self.roots.rootfs);
            let Ok(point) = std::str::from_utf8(point) else { continue };
            let (folders, mark) = if point.contains(TASKS) {
                (&mut self.containerd, TASKS)
            } else if point.contains(BUNDLES) {
                (&mut self.storage, BUNDLES)
            } else if point.ends_with("/merged") {
                (&mut self.docker, "overlay2")
            } else {
                continue;
            };
            let folder = point.split_once(mark).and_then(|(folder, _)| folder.strip_suffix('/'));
            is_new |= folder.is_some_and(|folder| remember(folders, folder));
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
    let ["k8s", container, pod, namespace, uid, _] = name.split('_').collect::<Vec<_>>()[..] else {
        return Some(Description {
            runtime: Some(Runtime::Podman),
            name: name.to_owned(),
            ..Description::default()
        });
    };
    let is_sandbox = container == "POD";
    let [uid, name, namespace] = [uid, pod, namespace].map(str::to_owned);
    Some(Description {
        runtime: Some(Runtime::Crio),
        role: Some(if is_sandbox { Role::Sandbox } else { Role::Workload }),
        name: if is_sandbox { String::new() } else { container.to_owned() },
        pod: Some(Pod { uid, name, namespace, ..Pod::default() }),
        ..Description::default()
    })
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
