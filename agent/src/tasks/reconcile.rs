//! Makes what runs fit what is wanted. What is equal is not touched; a change is one replacement, built before
//! anything that runs is given up.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    catalogue::Source,
    config::{Hash, PipelineConfig},
    pipeline::Pipeline,
};

/// Who runs pipelines.
pub trait Runtime: Send {
    /// Takes pipelines in, in place of those of the same key, whose state they take over, and gives up others. Says
    /// what it could not take in.
    fn apply(&mut self, put: Vec<Box<dyn Pipeline>>, remove: Vec<String>) -> Vec<String>;
}

/// Who builds pipelines.
pub trait Build {
    /// Builds one; an heir takes the input over of the pipeline that it replaces.
    fn build(&mut self, config: &PipelineConfig, is_heir: bool) -> Box<dyn Pipeline>;
}

/// What is different after a change of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Pipelines that run from now on.
    pub added: Vec<String>,
    /// Pipelines that run in another way.
    pub changed: Vec<Changed>,
    /// Pipelines that run no more.
    pub removed: Vec<String>,
    /// How many go on as they were.
    pub untouched: usize,
    /// What takes a restart to become true.
    pub needs_restart: Vec<String>,
}

/// A pipeline that runs in another way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its name.
    pub pipeline: String,
    /// The keys that differ.
    pub keys: Vec<String>,
}

impl Diff {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// What runs, by key.
#[derive(Debug, Default)]
pub struct Reconciler {
    running: BTreeMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    hash: Hash,
    config: PipelineConfig,
}

impl Running {
    fn new(config: PipelineConfig) -> Self {
        Self { hash: config.hash(), config }
    }
}

impl Reconciler {
    /// One for pipelines that run as they were built from this.
    pub fn new(started: impl IntoIterator<Item = PipelineConfig>) -> Self {
        let running = started.into_iter().map(|config| (config.key.clone(), Running::new(config)));
        Self { running: running.collect() }
    }

    /// Makes what runs fit what is wanted. Pipelines that use one of the outputs named are replaced whatever they
    /// are, because the output is another.
    pub fn reconcile(
        &mut self,
        wanted: Vec<PipelineConfig>,
        outputs: &[String],
        build: &mut dyn Build,
        runtime: &mut dyn Runtime,
    ) -> Diff {
        let mut diff = Diff::default();
        let mut put = Vec::new();
        let keys: BTreeSet<String> = wanted.iter().map(|config| config.key.clone()).collect();
        for mut config in wanted {
            let Some(running) = self.running.get(&config.key) else {
                put.push(build.build(&config, false));
                diff.added.push(config.key.clone());
                self.running.insert(config.key.clone(), Running::new(config));
                continue;
            };
            let new = Running::new(config.clone());
            let is_connected_anew = config.outputs.iter().any(|output| outputs.contains(output));
            if new.hash == running.hash && !is_connected_anew {
                diff.untouched += 1;
                continue;
            }
            let mut changes = running.config.changes(&config);
            let is_of_kernel = matches!(config.def.source, Source::Bpf(_)) && config.input.is_some();
            if is_of_kernel && running.config.enabled && config.enabled {
                // Programs are loaded at start: what they were given then stays.
                let (fixed, live) = changes.into_iter().partition(|change| change.is_of_input);
                changes = live;
                let fixed: Vec<_> = fixed;
                diff.needs_restart
                    .extend(fixed.iter().map(|change| format!("{}.{}", config.key, change.key)));
                config.options.clone_from(&running.config.options);
                if changes.is_empty() && !is_connected_anew {
                    diff.untouched += 1;
                    continue;
                }
            } else if is_of_kernel && config.enabled {
                diff.needs_restart.push(format!("{}.enabled", config.key));
            }
            let is_heir = !changes.iter().any(|change| change.is_of_input);
            put.push(build.build(&config, is_heir));
            let mut keys: Vec<_> = changes.into_iter().map(|change| change.key).collect();
            if is_connected_anew && !keys.iter().any(|key| key == "outputs") {
                keys.push("outputs".to_owned());
            }
            diff.changed.push(Changed { pipeline: config.key.clone(), keys });
            self.running.insert(config.key.clone(), Running::new(config));
        }
        diff.removed = self.running.keys().filter(|key| !keys.contains(*key)).cloned().collect();
        self.running.retain(|key, _| keys.contains(key));
        if !diff.is_empty() {
            // A configuration that was checked has nothing that cannot run: this is for what a check forgets.
            for why in runtime.apply(put, diff.removed.clone()) {
                tracing::error!("not run: {why}");
            }
        }
        diff
    }

    /// What runs, in the order of its names.
    pub fn running(&self) -> impl Iterator<Item = &PipelineConfig> {
        self.running.values().map(|running| &running.config)
    }
}

#[cfg(test)]
pub(super) mod tests;
