//! A host made of files, and a runtime that can be told what to say.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use super::super::super::source::{Description, Found, Later, Source};
use crate::source::Roots;

/// The identity of a container.
pub(super) fn id(number: u32) -> String {
    format!("{number:064x}")
}

/// A host with hierarchies of control groups.
pub(super) struct Host {
    dir: tempfile::TempDir,
    hierarchies: &'static [&'static str],
}

/// A directory of a file system that gives no number twice, as that of control groups: by that a group is told from one
/// that was there before.
fn numbered() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Host {
    pub(super) fn unified() -> Self {
        Self::with(&["unified"])
    }

    pub(super) fn first_version() -> Self {
        Self::with(&["memory"])
    }

    pub(super) fn hybrid() -> Self {
        Self::with(&["unified", "memory"])
    }

    fn with(hierarchies: &'static [&'static str]) -> Self {
        let host = Self { dir: numbered(), hierarchies };
        let mut mounts = Vec::new();
        for name in hierarchies {
            fs::create_dir_all(host.dir.path().join("sys/fs/cgroup").join(name)).unwrap();
            let kind = if *name == "unified" { "cgroup2 cgroup2 rw" } else { "cgroup cgroup rw,memory" };
            mounts.push(format!("30 23 0:26 / /sys/fs/cgroup/{name} rw - {kind}\n"));
        }
        host.write("proc/1/mountinfo", &mounts.concat());
        host.write("proc/stat", "btime 1700000000\n");
        host
    }

    pub(super) fn roots(&self) -> Roots {
        Roots::under(self.dir.path())
    }

    pub(super) fn is_unified(&self) -> bool {
        self.hierarchies.contains(&"unified")
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn dir(&self, hierarchy: &str, path: &str) -> PathBuf {
        self.dir.path().join("sys/fs/cgroup").join(hierarchy).join(path)
    }

    /// A process, which is not in a group yet.
    pub(super) fn process(&self, pid: u32, parent: u32, comm: &str, words: &[&str]) {
        let fields = "1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0";
        self.write(&format!("proc/{pid}/stat"), &format!("{pid} ({comm}) S {parent} {fields} {pid} 0\n"));
        self.write(&format!("proc/{pid}/status"), &format!("NSpid:\t{pid}\t1\n"));
        self.write(&format!("proc/{pid}/cmdline"), &words.join("\0"));
        self.write(&format!("proc/{pid}/cgroup"), "0::/system.slice/some.service\n");
    }

    /// A group without processes.
    pub(super) fn group(&self, path: &str) {
        for hierarchy in self.hierarchies {
            fs::create_dir_all(self.dir(hierarchy, path)).unwrap();
        }
    }

    /// Puts processes into a group that is there.
    pub(super) fn members(&self, path: &str, pids: &[u32]) {
        let list = pids.iter().map(u32::to_string).collect::<Vec<_>>().join("\n");
        for pid in pids {
            self.write(&format!("proc/{pid}/cgroup"), &format!("0::/{path}\n"));
        }
        for hierarchy in self.hierarchies {
            fs::write(self.dir(hierarchy, path).join("cgroup.procs"), &list).unwrap();
        }
    }

    /// A container that has started.
    pub(super) fn start(&self, path: &str, pid: u32) {
        self.process(pid, 1, "sleep", &["sleep", "9"]);
        self.group(path);
        self.members(path, &[pid]);
    }

    /// One of which only one hierarchy knows.
    pub(super) fn start_in(&self, hierarchy: &str, path: &str, pid: u32) {
        self.process(pid, 1, "sleep", &["sleep", "9"]);
        fs::create_dir_all(self.dir(hierarchy, path)).unwrap();
        fs::write(self.dir(hierarchy, path).join("cgroup.procs"), format!("{pid}\n")).unwrap();
    }

    /// A container that has stopped, and left its processes' numbers to others.
    pub(super) fn stop(&self, path: &str) {
        for hierarchy in self.hierarchies {
            fs::remove_dir_all(self.dir(hierarchy, path)).unwrap();
        }
    }
}

/// A runtime that can be told what to say.
#[derive(Clone)]
pub(super) struct Fake {
    name: &'static str,
    known: Arc<Mutex<BTreeMap<String, Description>>>,
    questions: Arc<Mutex<Vec<Vec<String>>>>,
    mood: Arc<Mutex<(bool, bool)>>,
    changed: Arc<(Mutex<Vec<String>>, Notify)>,
}

impl Fake {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            known: Arc::default(),
            questions: Arc::default(),
            mood: Arc::default(),
            changed: Arc::default(),
        }
    }

    pub(super) fn knows(&self, description: Description) {
        self.known.lock().unwrap().insert(description.id.clone(), description);
    }

    pub(super) fn questions(&self) -> Vec<Vec<String>> {
        let mut questions = self.questions.lock().unwrap().clone();
        for ids in &mut questions {
            ids.sort();
        }
        questions
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.mood.lock().unwrap().0 = is_down;
    }

    pub(super) fn set_hanging(&self, hangs: bool) {
        self.mood.lock().unwrap().1 = hangs;
    }

    pub(super) fn tell_changed(&self, ids: Vec<String>) {
        self.changed.0.lock().unwrap().extend(ids);
        self.changed.1.notify_one();
    }
}

impl Source for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn describe<'a>(&'a mut self, found: &'a [Found]) -> Later<'a, Result<Vec<Description>, String>> {
        let ids: Vec<String> = found.iter().map(|found| found.id.clone()).collect();
        let (is_down, hangs) = *self.mood.lock().unwrap();
        self.questions.lock().unwrap().push(ids.clone());
        let known = self.known.lock().unwrap();
        let told = ids.iter().filter_map(|id| known.get(id).cloned()).collect();
        drop(known);
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            if is_down { Err("it is down".to_owned()) } else { Ok(told) }
        })
    }

    fn changed(&mut self) -> Later<'_, Vec<String>> {
        let changed = Arc::clone(&self.changed);
        Box::pin(async move {
            loop {
                let ids = std::mem::take(&mut *changed.0.lock().unwrap());
                if !ids.is_empty() {
                    return ids;
                }
                changed.1.notified().await;
            }
        })
    }

    fn calls(&self) -> u64 {
        self.questions.lock().unwrap().len() as u64
    }
}
