//! Pipelines on what another pipeline published.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{Losses, Outcome, Pipeline, Query, Schedule, State};
use crate::{
    accumulator::{Frame, SeriesStore},
    config::{PROMETHEUS, PipelineConfig},
    input::{CollectContext, Input},
    output::Output,
};

/// What is made of the frames of another pipeline.
pub trait Derive: Send {
    /// Publishes in the store what comes of a frame, which is not empty.
    fn derive(&mut self, cx: &CollectContext, source: &Frame, store: &mut SeriesStore) -> Outcome;

    /// Whatever helps to understand it.
    fn debug_info(&self) -> serde_json::Value;

    /// What it left out by itself.
    fn losses(&self) -> Losses {
        Losses::default()
    }

    /// Its queries.
    fn queries(&mut self) -> &mut [Query] {
        &mut []
    }

    /// Takes over what an earlier pipeline of the same key knew.
    fn update_from(&mut self, _old: &mut dyn Pipeline) {}
}

/// A pipeline that takes the frames of another one. When that publishes nothing, this publishes nothing.
pub struct DerivedPipeline<D> {
    config: PipelineConfig,
    derive: D,
    store: SeriesStore,
    outputs: Vec<Arc<dyn Output>>,
    state: State,
}

impl<D: Derive> DerivedPipeline<D> {
    /// The pipeline of a configuration that was checked and takes `from` another.
    pub(super) fn of(config: &PipelineConfig, derive: D, store: SeriesStore) -> Self {
        let state =
            if config.enabled { State::default() } else { State::Off { reason: "not enabled".to_owned() } };
        Self { config: config.clone(), derive, store, outputs: Vec::new(), state }
    }

    fn run(&mut self, cx: &CollectContext, source: &Frame) -> Outcome {
        if source.published() == 0 {
            self.store.withdraw();
            return Outcome::Skipped;
        }
        self.derive.derive(cx, source, &mut self.store)
    }
}

impl<D: Derive> Pipeline for DerivedPipeline<D> {
    fn key(&self) -> &str {
        &self.config.key
    }

    fn schedule(&self) -> Option<Schedule> {
        self.config.schedule()
    }

    fn deadline(&self) -> Duration {
        self.config.deadline
    }

    fn source(&self) -> Option<&str> {
        Some(self.config.source())
    }

    fn collect(&mut self, cx: &CollectContext, source: Option<&Frame>) -> Outcome {
        if matches!(self.state, State::Off { .. }) {
            return Outcome::Skipped;
        }
        let Some(source) = source else {
            self.store.withdraw();
            let reason = format!("there is no pipeline `{}`", self.config.source());
            self.state = State::Failed { reason };
            return Outcome::Failed;
        };
        // What derives reads numbers only; still, one pipeline must never take the others with it.
        if let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| self.run(cx, source))) {
            self.state = State::default();
            outcome
        } else {
            self.store.withdraw();
            self.state = State::Failed { reason: "panicked".to_owned() };
            Outcome::Panicked
        }
    }

    fn frame(&self) -> &Frame {
        self.store.frame()
    }

    fn withdraw(&mut self) {
        self.store.withdraw();
    }

    fn close(&mut self, reason: &str) {
        self.store.withdraw();
        self.state = State::Off { reason: reason.to_owned() };
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn debug_info(&self) -> serde_json::Value {
        let mut info = self.derive.debug_info();
        info["from"] = self.config.source().into();
        info
    }

    fn losses(&self) -> Losses {
        self.derive.losses() + Losses::of(&self.store)
    }

    fn update_from(&mut self, old: &mut dyn Pipeline) {
        self.derive.update_from(old);
        if let Some(old) = old.store() {
            self.store.take_over(old);
        }
    }

    fn input(&mut self) -> Option<&mut dyn Input> {
        None
    }

    fn queries(&mut self) -> &mut [Query] {
        self.derive.queries()
    }

    fn is_scraped(&self) -> bool {
        self.config.outputs.iter().any(|output| output == PROMETHEUS)
    }

    fn outputs(&self) -> &[Arc<dyn Output>] {
        &self.outputs
    }

    fn connect(&mut self, outputs: Vec<Arc<dyn Output>>) {
        self.outputs = outputs;
    }

    fn store(&mut self) -> Option<&mut SeriesStore> {
        Some(&mut self.store)
    }
}
