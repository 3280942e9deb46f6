//! Tasks: collections that are described in files of a directory, and how what runs is made to fit what is wanted.

mod directory;
mod file;
mod keep;
mod model;
mod outputs;
mod reconcile;
mod reload;
mod resolve;
mod shelf;
mod watch;

pub use self::{
    keep::{Reloaded, Requests, keep_current},
    model::{CollectConfig, CollectTarget, CollectTask, ExecuteRule},
    outputs::Outputs,
    reconcile::{Build, Changed, Diff, Reconciler, Runtime},
    reload::{Board, Cause, Read, Reloader, Running, Setup, Status},
    resolve::{Complaints, Surroundings, resolve},
    shelf::{TaskState, TaskStatus},
};
use crate::{
    engine::{Edit, Engine},
    pipeline::Pipeline,
};

impl Runtime for Engine {
    fn apply(&mut self, put: Vec<Box<dyn Pipeline>>, remove: Vec<String>) -> Vec<String> {
        let rejected = Self::apply(self, Edit { put, remove });
        rejected.into_iter().map(|rejected| rejected.to_string()).collect()
    }
}
