//! Tasks: collections that are described in files of a directory, and how what runs is made to fit what is wanted.

mod directory;
mod file;
mod model;
mod reconcile;
mod resolve;
mod shelf;

pub use self::{
    model::{CollectConfig, CollectTarget, CollectTask, ExecuteRule},
    reconcile::{Build, Changed, Diff, Reconciler, Runtime},
    resolve::{Complaints, Surroundings, resolve},
    shelf::{TaskState, TaskStatus},
};
