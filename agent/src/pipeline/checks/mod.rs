//! Pipelines of checks: targets that come and go, each checked at its own time, and their newest results.
//!
//! A check is executed on the thread of the [`Runner`], which waits for helpers; the engine collects from memory. To
//! the pipeline around it, all checks of all targets are one input, [`Checks`], which delivers samples with the labels
//! of their targets.

mod desk;
mod follow;
mod labels;
mod plan;
mod queue;
mod runner;
mod samples;
mod seat;
mod selector;
mod targets;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use self::{
    desk::Desk,
    follow::{Shared, follow},
    plan::Plan,
};
pub use self::{
    follow::{Answered, Execute},
    plan::{CheckConfig, PACE},
    runner::Runner,
    selector::Selector,
    template::{Template, TemplateError, WORDS},
};
pub(crate) use self::{
    labels::{MOST_TAGS, delivered},
    plan::{complaint, is_of_the_agent},
    selector::{TABLE_PARTS, TEXT_PARTS, runtimes},
    template::escaped,
};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Unsupported},
    config::PipelineConfig,
    container::Directory,
    input::{CollectContext, Input, InputDef, InputError, Overdue},
    pipeline::build::Kit,
};

/// Where all pipelines count their intervals from, so that checks of the same target and interval come one after the
/// other: its helper is woken once, and what it touches is in the CPU's cache already for all but the first.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What the first collection leaves of its time when it waits for results.
const MARGIN: Duration = Duration::from_millis(25);
/// How long the first collection waits to learn of any container.
const PATIENCE: Duration = Duration::from_secs(1);

/// All checks of a pipeline, as one input: delivers the newest result of every target.
pub struct Checks {
    shared: Arc<Shared>,
    /// What the loop is started with.
    start: Option<Start>,
    is_first: bool,
    directory: Directory,
    def: &'static InputDef,
}

struct Start {
    runner: Runner,
    execute: Arc<dyn Execute>,
}

impl Checks {
    /// The checks of a pipeline whose input is one.
    pub fn new(
        config: &PipelineConfig,
        needs: &'static CheckDef,
        kit: &Kit,
        execute: Arc<dyn Execute>,
    ) -> Self {
        let plan = Plan::of(config, needs, &kit.roots);
        Self {
            shared: Arc::new(Shared::new(Desk::new(plan, *ORIGIN))),
            start: Some(Start { runner: kit.runner.clone(), execute }),
            is_first: true,
            directory: kit.containers.clone(),
            def: delivered(config),
        }
    }

    /// The pipeline around it: without the tags that follow from targets, which are labels by then.
    pub(super) fn around(config: &PipelineConfig) -> PipelineConfig {
        let mut config = config.clone();
        if config.check.target.is_some() {
            for tags in [&mut config.transform.tags, &mut config.transform.target_tags] {
                tags.retain_mut(|(_, text)| match Template::parse(text) {
                    Ok(template) if template.is_plain() => {
                        *text = template.expand(None).unwrap_or_default();
                        true
                    }
                    Ok(_) => false,
                    Err(_) => true,
                });
            }
        }
        config
    }

    fn start(&mut self) -> Result<(), InputError> {
        let Some(start) = &self.start else { return Ok(()) };
        let plan = self.shared.desk().plan().opens();
        plan.map_err(|reason| InputError::Unsupported(Unsupported(reason)))?;
        let task = follow(Arc::clone(&self.shared), self.directory.clone(), Arc::clone(&start.execute));
        start.runner.spawn(task).map_err(InputError::Other)?;
        self.start = None;
        Ok(())
    }
}

impl Input for Checks {
    fn definition(&self) -> &'static InputDef {
        self.def
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.start()?;
        let mut now = cx.started;
        let mut desk = if std::mem::take(&mut self.is_first) {
            let until = cx.deadline.checked_sub(MARGIN).unwrap_or(cx.started);
            drop(
                self.shared.wait(until.min(cx.started + PATIENCE), |desk| desk.is_alone || !desk.is_empty()),
            );
            let desk = self.shared.wait(until, |desk| desk.is_empty() || desk.is_answered());
            now = Instant::now();
            desk
        } else {
            self.shared.desk()
        };
        desk.deliver(now, acc);
        Ok(())
    }

    fn begin(&mut self) {
        // Why it cannot is told when it is collected.
        let _told_again = self.start();
    }

    fn update_from(&mut self, old: &mut dyn Any) {
        if let Some(old) = old.downcast_mut::<Self>() {
            self.shared.desk().take_over(&mut old.shared.desk());
            old.shared.closed.notify_one();
            self.is_first = old.is_first;
        }
    }

    fn debug_info(&self) -> serde_json::Value {
        self.shared.desk().debug_info(Instant::now())
    }

    fn overdue(&self) -> Overdue {
        self.shared.desk().overdue
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.shared.closed.notify_one();
    }
}
