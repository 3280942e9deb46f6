//! The tasks of /proc.

use std::{fs, path::Path};

pub(super) struct Task {
    pub(super) state: char,
    /// Whether it is the main thread of its process.
    pub(super) is_process: bool,
}

/// All tasks that this process may look into, in the order of /proc.
///
/// There are kernels that hide the first process of a virtual machine: even root may not ask for its namespace,
/// and iterators leave it out.
pub(super) fn tasks() -> Vec<Task> {
    let mut all = Vec::new();
    for process in numbers(Path::new("/proc")) {
        let path = Path::new("/proc").join(&process);
        if fs::read_link(path.join("ns/pid")).is_err_and(|error| error.raw_os_error() == Some(libc::EACCES)) {
            continue;
        }
        for thread in numbers(&path.join("task")) {
            let stat = fs::read_to_string(path.join("task").join(&thread).join("stat")).unwrap_or_default();
            // After the name, which may hold anything.
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            all.extend(state.map(|state| Task { state, is_process: thread == process }));
        }
    }
    all
}

fn numbers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
}
