//! The tasks that are wanted, and the last good version of those that are broken now.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    directory::{Scan, Scanned},
    model::{CollectTask, Text},
    resolve::{Surroundings, resolve},
};
use crate::config::PipelineConfig;

/// What is known of tasks from one look at their directory to the next.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    held: BTreeMap<String, Held>,
}

/// A task that runs.
#[derive(Clone, Debug)]
struct Held {
    file: String,
    task: CollectTask,
}

/// What becomes of tasks.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) pipelines: Vec<PipelineConfig>,
    pub(super) statuses: Vec<TaskStatus>,
}

/// What `/status` shows of a task, or of a file that holds none that can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskStatus {
    /// Its key; empty for a file, and for a task without one.
    pub task: String,
    /// Where it stands.
    pub file: String,
    /// What became of it.
    pub state: TaskState,
    /// The version that its file gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it is resolved to: equal for what runs in the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Why it does not run as its file says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It runs as its file says.
    Loaded,
    /// Its file is wrong now: an earlier version runs.
    Stale,
    /// It does not run.
    Refused,
}

impl TaskState {
    /// Every state, with its name in metrics.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Loaded, "loaded"), (Self::Stale, "stale"), (Self::Refused, "refused")];
}

impl Shelf {
    /// Decides which tasks run. Files are taken in the order of their names, and a key belongs to the first that has
    /// it. What is wrong leaves everything else as it is, and its own last good version running.
    pub(super) fn settle(&mut self, scan: Scan, around: Surroundings<'_>) -> Wanted {
        let mut desk = Desk {
            before: &self.held,
            around,
            next: BTreeMap::new(),
            wanted: Wanted::default(),
            undecided: Vec::new(),
        };
        match scan {
            Ok(files) => {
                for file in &files {
                    desk.file(file);
                }
                desk.rest();
            }
            Err(why) => {
                desk.wanted.statuses.push(refused("", "", why.clone()));
                for key in self.held.keys() {
                    desk.keep(key, &why);
                }
            }
        }
        let Desk { next, wanted, .. } = desk;
        self.held = next;
        wanted
    }
}

/// One decision about all tasks.
struct Desk<'a> {
    before: &'a BTreeMap<String, Held>,
    around: Surroundings<'a>,
    next: BTreeMap<String, Held>,
    wanted: Wanted,
    /// Tasks that are wrong: key, file and why.
    undecided: Vec<(String, String, String)>,
}

impl Desk<'_> {
    fn file(&mut self, scanned: &Scanned) {
        let file = scanned.file.as_str();
        let entries = match &scanned.entries {
            Ok(entries) => entries.as_slice(),
            Err(why) => {
                self.wanted.statuses.push(refused("", file, why.clone()));
                for key in self.held_of(file) {
                    self.keep(&key, why);
                }
                return;
            }
        };
        let mut good = Vec::new();
        let mut wrong: Vec<(Option<&str>, String)> = Vec::new();
        for entry in entries {
            let resolved = match &entry.task {
                Ok(task) => resolve(task, self.around)
                    .map(|config| (task, config))
                    .map_err(|complaints| entry.place.problem(complaints.join("; ")).to_string()),
                Err(problem) => Err(problem.to_string()),
            };
            match resolved {
                Ok(resolved) => good.push(resolved),
                Err(why) => wrong.push((entry.key.as_deref(), why)),
            }
        }
        // First what the file had before and has broken now, so that no later file takes its key over.
        let is_good = |key: &str| good.iter().any(|(task, _)| task.key == key);
        let nameless = wrong.iter().find(|(key, _)| key.is_none()).map(|(_, why)| why.clone());
        for key in self.held_of(file).into_iter().filter(|key| !is_good(key)) {
            if let Some(own) = wrong.iter().position(|(wrong, _)| *wrong == Some(key.as_str())) {
                let (_, why) = wrong.remove(own);
                self.keep_or_refuse(&key, file, &why, &why);
            } else if let Some(why) = &nameless {
                self.keep(&key, why);
            }
        }
        for (task, config) in good {
            self.take(file, task, config);
        }
        for (key, why) in wrong {
            match key {
                Some(key) => self.undecided.push((key.to_owned(), file.to_owned(), why)),
                None => self.wanted.statuses.push(refused("", file, why)),
            }
        }
    }

    /// Decides about what is wrong, once it is known what all files have: a task that was moved to another file and
    /// broken on the way goes on.
    fn rest(&mut self) {
        for (key, file, why) in std::mem::take(&mut self.undecided) {
            self.keep_or_refuse(&key, &file, &why, &format!("{file}:{why}"));
        }
    }

    fn keep_or_refuse(&mut self, key: &str, file: &str, why: &str, why_kept: &str) {
        if self.next.contains_key(key) || !self.before.contains_key(key) {
            self.wanted.statuses.push(refused(key, file, why.to_owned()));
        } else {
            self.keep(key, why_kept);
        }
    }

    fn held_of(&self, file: &str) -> Vec<String> {
        let of_file = self.before.iter().filter(|(_, held)| held.file == file);
        of_file.map(|(key, _)| key.clone()).collect()
    }

    /// Lets a task run as its file says.
    fn take(&mut self, file: &str, task: &CollectTask, config: PipelineConfig) {
        if let Some(other) = self.next.get(&task.key) {
            let why = format!("key `{}` is taken by a task of {}", task.key, other.file);
            self.wanted.statuses.push(refused(&task.key, file, why));
            return;
        }
        self.run(file, task, config, TaskState::Loaded, "");
    }

    /// Lets the last good version of a task go on, for a reason.
    fn keep(&mut self, key: &str, why: &str) {
        let Some(held) = self.before.get(key).filter(|_| !self.next.contains_key(key)) else { return };
        match resolve(&held.task, self.around) {
            Ok(config) => self.run(&held.file, &held.task, config, TaskState::Stale, why),
            // What is around it has changed so that it cannot go on.
            Err(complaints) => {
                let why = format!("{why}; the version before: {}", complaints.join("; "));
                self.wanted.statuses.push(refused(key, &held.file, why));
            }
        }
    }

    fn run(&mut self, file: &str, task: &CollectTask, config: PipelineConfig, state: TaskState, why: &str) {
        let version =
            task.version.as_ref().or(task.config.version.as_ref()).map(|Text(version)| version.clone());
        self.wanted.statuses.push(TaskStatus {
            task: task.key.clone(),
            file: file.to_owned(),
            state,
            version,
            hash: Some(config.hash().to_string()),
            reason: why.to_owned(),
        });
        self.wanted.pipelines.push(config);
        self.next.insert(task.key.clone(), Held { file: file.to_owned(), task: task.clone() });
    }
}

fn refused(task: &str, file: &str, reason: String) -> TaskStatus {
    TaskStatus {
        task: task.to_owned(),
        file: file.to_owned(),
        state: TaskState::Refused,
        version: None,
        hash: None,
        reason,
    }
}

#[cfg(test)]
pub(super) mod tests;
