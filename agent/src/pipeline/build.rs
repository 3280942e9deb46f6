//! From a configuration to its pipeline.

use std::sync::Arc;

use super::{
    InputPipeline, Owners, Pipeline, QueryPipeline,
    cadvisor::{self, CadvisorPipeline},
    checks::{Checks, Runner},
};
use crate::{
    bpf::Loader, catalogue::Source, config::PipelineConfig, container::Directory, pod::Helpers, source::Roots,
};

/// What pipelines are built with.
#[derive(Clone, Debug)]
pub struct Kit {
    /// Where the host's trees are.
    pub roots: Roots,
    /// What runs on this host and what it is called.
    pub containers: Directory,
    /// Whose control group it is, if metrics are to say so.
    pub owners: Option<Owners>,
    /// Where checks are executed, or why they cannot be.
    pub helpers: Result<Helpers, String>,
    /// The thread that checks and discovery run on.
    pub runner: Runner,
}

impl Kit {
    /// One for the host's own numbers, and nothing else.
    pub fn of(roots: &Roots) -> Self {
        let helpers = Err("checks need helpers, which are started with the agent: restart it".to_owned());
        let (containers, runner) = (Directory::none(), Runner::default());
        Self { roots: roots.clone(), containers, owners: None, helpers, runner }
    }
}

/// When a pipeline is built, and what it begins with.
pub enum Opening<'l> {
    /// At start, while kernel programs can be loaded.
    AtStart(&'l mut Loader),
    /// While the agent runs.
    Late,
    /// The same, in place of one whose input it takes over.
    Heir,
}

/// The pipeline of a configuration.
pub fn build(config: &PipelineConfig, kit: &Kit, opening: Opening<'_>) -> Box<dyn Pipeline> {
    if config.key == cadvisor::KEY && config.from.is_some() {
        return Box::new(CadvisorPipeline::new(config, kit.owners.clone()));
    }
    if config.from.is_some() {
        return Box::new(QueryPipeline::new(config));
    }
    if let Source::Check(needs) = config.def.source
        && config.enabled
    {
        return Box::new(match &kit.helpers {
            // What it replaces hands over what it knows, whatever it is.
            Ok(helpers) => {
                let checks = Checks::new(config, needs, kit, Arc::new(helpers.clone()));
                InputPipeline::new(&Checks::around(config), Box::new(checks))
            }
            Err(reason) => InputPipeline::unsupported(config, reason),
        });
    }
    let pipeline = match opening {
        Opening::AtStart(loader) => InputPipeline::open(config, &kit.roots, loader),
        Opening::Heir if config.enabled => InputPipeline::heir(config, &kit.roots),
        Opening::Heir | Opening::Late => InputPipeline::open_late(config, &kit.roots),
    };
    Box::new(pipeline.owned(kit.owners.clone()))
}
