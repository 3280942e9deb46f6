//! Removing whatever a lab has left on the host: after one that ended as it should nothing, after one that was killed
//! everything.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::folder::Notes;

/// Programs that belong to a lab when its folder is on their command line; the kernel keeps 15 bytes of a name.
const PROGRAMS: [&str; 7] =
    ["containerd", "containerd-shim", "dockerd", "docker-proxy", "podman", "conmon", "runc"];
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const CGROUPS: &str = "/sys/fs/cgroup";

/// Removes everything that belongs to the lab in a folder, except the folder.
pub(super) fn sweep(folder: &Path) {
    let mut notes = Notes::read(folder);
    // Somebody else may have asked the same runtimes for more.
    notes.cgroups.extend(bundles(folder).iter().filter_map(|bundle| cgroup(bundle)));
    // Shims first say where their sockets are.
    let sockets = sockets(folder);
    let trees = trees();
    let began = Instant::now();
    loop {
        let mut left = daemons(folder);
        left.extend(trees.iter().flat_map(|tree| {
            notes.cgroups.iter().flat_map(|path| members(&tree.join(path)).into_iter().collect::<Vec<_>>())
        }));
        if left.is_empty() || began.elapsed() > PATIENCE {
            break;
        }
        for pid in left {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(POLL);
    }
    unmount(folder);
    for tree in &trees {
        for path in notes.cgroups.iter().chain(&notes.shared) {
            remove_cgroup(tree, path);
        }
    }
    for socket in sockets {
        let _gone = fs::remove_file(socket);
    }
    remove_traces(folder);
    for path in notes.new {
        // Another lab may have come to use it.
        remove_empty(&path);
    }
}

/// Processes of runtimes that were told of this folder.
fn daemons(folder: &Path) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if !PROGRAMS.contains(&name.trim_end()) {
            continue;
        }
        // That of a zombie is empty.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let path = folder.as_os_str().as_bytes();
        if line.windows(path.len()).any(|part| part == path) {
            found.insert(pid);
        }
    }
    found
}

/// Every hierarchy of control groups that is mounted.
fn trees() -> Vec<PathBuf> {
    let folders = fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut trees: Vec<PathBuf> =
        folders.filter(|path| path.join("cgroup.procs").exists() && !path.is_symlink()).collect();
    if Path::new(CGROUPS).join("cgroup.procs").exists() {
        trees = vec![CGROUPS.into()];
    }
    trees
}

/// Processes in a group and those below.
fn members(group: &Path) -> BTreeSet<i32> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut found: BTreeSet<i32> = listed.lines().filter_map(|pid| pid.parse().ok()).collect();
    for below in folders(group) {
        found.extend(members(&below));
    }
    found
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a group that is empty from every hierarchy.
pub(super) fn remove_cgroups(path: &str) {
    for tree in trees() {
        remove_cgroup(&tree, path);
    }
}

/// Removes a group, those below, and those above that are empty then.
fn remove_cgroup(tree: &Path, path: &str) {
    fn below(group: &Path) {
        for group in folders(group) {
            below(&group);
        }
        let _busy = fs::remove_dir(group);
    }
    below(&tree.join(path));
    let mut above = Path::new(path).parent();
    while let Some(path) = above.filter(|path| *path != OsStr::new("")) {
        if fs::remove_dir(tree.join(path)).is_err() && tree.join(path).exists() {
            break;
        }
        above = path.parent();
    }
}

fn unmount(folder: &Path) {
    let mounted = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    // What was mounted last is on top.
    for path in mounted.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(path).starts_with(folder) {
            let _gone = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

/// Identities of containers, by the name of what containerd calls a namespace.
fn tasks(folder: &Path) -> Vec<(String, PathBuf)> {
    let spaces = folders(&folder.join("state/io.containerd.runtime.v2.task"));
    let named = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    spaces.iter().flat_map(|space| folders(space).into_iter().map(move |task| (named(space), task))).collect()
}

/// What runc was given for each container.
fn bundles(folder: &Path) -> Vec<PathBuf> {
    let podman = folders(&folder.join("podman/storage/overlay-containers"));
    let podman = podman.into_iter().map(|container| container.join("userdata"));
    tasks(folder).into_iter().map(|(_, task)| task).chain(podman).collect()
}

/// The control group that a container was to be in; one called as systemd calls it is written down in any case.
fn cgroup(bundle: &Path) -> Option<String> {
    let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).ok()?).ok()?;
    let path = config["linux"]["cgroupsPath"].as_str()?.strip_prefix('/')?;
    (!path.contains("..") && path.contains('/')).then(|| path.to_owned())
}

/// Where shims listen: in a folder that the runtime does not let choose.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let addresses =
        tasks(folder).into_iter().filter_map(|(_, task)| fs::read_to_string(task.join("address")).ok());
    addresses.filter_map(|address| Some(address.strip_prefix("unix://")?.into())).collect()
}

/// What runtimes write elsewhere under the identity of a container.
fn remove_traces(folder: &Path) {
    for (space, task) in tasks(folder) {
        let id = task.file_name().unwrap_or_default();
        let _gone = fs::remove_dir_all(Path::new("/run/containerd/runc").join(space).join(id));
        let id = id.to_string_lossy();
        let results = fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten();
        for result in results.filter(|result| result.file_name().to_string_lossy().contains(&*id)) {
            let _gone = fs::remove_file(result.path());
        }
    }
    for container in folders(&folder.join("podman/storage/overlay-containers")) {
        let _gone =
            fs::remove_dir_all(Path::new("/run/runc").join(container.file_name().unwrap_or_default()));
    }
}

/// Removes a folder with nothing but folders, caches and locks inside.
fn remove_empty(path: &Path) {
    const OF_NO_ONE: [&str; 3] = ["blob-info-cache-v1.boltdb", "key.json", "alive.lck"];
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        } else if OF_NO_ONE.iter().any(|name| entry.file_name() == *name) {
            let _gone = fs::remove_file(entry.path());
        }
    }
    let _others = fs::remove_dir(path);
}
