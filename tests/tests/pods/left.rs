//! What runtimes could leave on a host: processes, mounts, control groups, devices and folders.

use std::{collections::BTreeSet, fs, path::Path};

/// Where they leave things.
const FOLDERS: [&str; 5] = ["/run", "/etc", "/var/lib", "/var/lib/cni", "/sys/class/net"];

/// Everything of the kind that there is now.
pub(crate) fn traces() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    found
}

/// What was not there before, and of mounts and processes what has to do with a folder: others may run containers
/// meanwhile.
pub(crate) fn new_since(before: &BTreeSet<String>, folder: &str) -> Vec<String> {
    let mut new: Vec<String> = traces().difference(before).cloned().collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    new.extend(mounts.lines().filter(|line| line.contains(folder)).map(str::to_owned));
    new.extend(processes(folder));
    new
}

/// Processes with a text on their command line, beside this one.
pub(crate) fn processes(with: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(with) && entry.file_name() != *std::process::id().to_string() {
            found.push(format!("process {}: {line}", entry.file_name().display()));
        }
    }
    found
}

/// Whether a control group exists in any hierarchy.
pub(crate) fn has_cgroup(path: &str) -> bool {
    let trees = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    trees.chain([Path::new("/sys/fs/cgroup").to_owned()]).any(|tree| tree.join(path).exists())
}
