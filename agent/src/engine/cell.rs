//! A pipeline in the engine: locked by whoever collects it, with figures that can be read without its lock.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    input::CollectContext,
    pipeline::{Outcome, Pipeline, Schedule, State},
    telemetry::{self, Figures},
};

/// A pipeline and what is known about it from outside.
pub(super) struct Cell {
    pub(super) key: String,
    pub(super) schedule: Option<Schedule>,
    pub(super) deadline: Duration,
    /// A thread has been in it for longer than its deadline, and still holds its lock.
    pub(super) stuck: AtomicBool,
    pipeline: Mutex<Box<dyn Pipeline>>,
    figures: telemetry::Shared,
}

/// What `/status` shows of a pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub input: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: State,
    /// Distance of its ticks in seconds; none when it is collected at scrapes.
    pub interval_seconds: Option<f64>,
    /// How long the last collection took.
    pub duration_seconds: f64,
    /// Time since the last success.
    pub age_seconds: Option<f64>,
    /// Series of the last collection.
    pub series: usize,
    /// Collections that brought an error.
    pub errors: u64,
    /// Collections that did not end in time.
    pub timeouts: u64,
    /// Ticks of its schedule that were not taken.
    pub skipped_ticks: u64,
    /// Collections that panicked.
    pub panics: u64,
    /// Whatever the input says about itself.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub debug: serde_json::Value,
}

impl Cell {
    pub(super) fn new(pipeline: Box<dyn Pipeline>) -> Self {
        let key = pipeline.key().to_owned();
        let state = pipeline.state().clone();
        Self {
            figures: telemetry::register(Figures { input: key.clone(), state, ..Figures::default() }),
            key,
            schedule: pipeline.schedule(),
            deadline: pipeline.deadline(),
            stuck: AtomicBool::new(false),
            pipeline: Mutex::new(pipeline),
        }
    }

    /// The pipeline, unless a stuck thread is inside.
    pub(super) fn pipeline(&self) -> Option<MutexGuard<'_, Box<dyn Pipeline>>> {
        if self.stuck.load(Ordering::Acquire) {
            return None;
        }
        // Others hold the lock for moments only: a panic inside it has been caught, so poison means nothing.
        Some(self.pipeline.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects, and notes how it went. `abandoned` is asked when the collection is over: if the engine has
    /// given this thread up meanwhile, what it brought is too late for anyone.
    pub(super) fn collect(&self, cx: &CollectContext, abandoned: impl FnOnce() -> bool) {
        let Some(mut pipeline) = self.pipeline() else {
            self.note_timeout("still busy with an earlier collection");
            return;
        };
        let outcome = pipeline.collect(cx);
        let took = cx.started.elapsed();
        if abandoned() {
            pipeline.withdraw();
            drop(pipeline);
            self.stuck.store(false, Ordering::Release);
            tracing::info!(input = self.key, seconds = took.as_secs_f64(), "came back, too late");
            return;
        }
        let mut figures = self.figures();
        match outcome {
            Outcome::Published => figures.last_success = Some(Instant::now()),
            Outcome::Skipped => {}
            Outcome::Failed => figures.errors += 1,
            Outcome::Panicked => figures.panics += 1,
        }
        figures.took = took;
        figures.series = pipeline.frame().live();
        figures.losses = pipeline.losses();
        self.change_state(&mut figures, pipeline.state());
    }

    /// Takes over a state, and logs it when it differs from the last one.
    fn change_state(&self, figures: &mut Figures, state: &State) {
        if figures.state == *state {
            return;
        }
        match state {
            State::Failed { reason } => tracing::warn!(input = self.key, reason, "failed"),
            other => tracing::info!(input = self.key, state = %other, "changed"),
        }
        figures.state = state.clone();
    }

    /// Notes that a collection did not end in time.
    pub(super) fn note_timeout(&self, reason: &str) {
        let mut figures = self.figures();
        figures.timeouts += 1;
        figures.series = 0;
        self.change_state(&mut figures, &State::Failed { reason: reason.to_owned() });
    }

    /// Leaves it out of this round: what it published before must not pass for new. One that would have
    /// brought nothing is not missed: it stays what it is.
    pub(super) fn pass_over(&self, reason: &str) {
        if matches!(self.figures().state, State::Off { .. } | State::Unsupported { .. }) {
            return;
        }
        if let Some(mut pipeline) = self.pipeline() {
            pipeline.withdraw();
        }
        self.note_timeout(reason);
    }

    /// Notes ticks that were not taken.
    pub(super) fn note_skipped(&self, ticks: u64) {
        self.figures().skipped_ticks += ticks;
    }

    /// A consistent snapshot.
    pub(super) fn view(&self) -> Report {
        // Whoever asks must not wait for a collection: it may be about to hang, and it is the thread that
        // asks which would have to notice.
        let debug =
            self.pipeline.try_lock().map_or(serde_json::Value::Null, |pipeline| pipeline.debug_info());
        let figures = self.figures();
        Report {
            input: self.key.clone(),
            state: figures.state.clone(),
            interval_seconds: self.schedule.map(|schedule| schedule.interval.as_secs_f64()),
            duration_seconds: figures.took.as_secs_f64(),
            age_seconds: figures.last_success.map(|at| at.elapsed().as_secs_f64()),
            series: figures.series,
            errors: figures.errors,
            timeouts: figures.timeouts,
            skipped_ticks: figures.skipped_ticks,
            panics: figures.panics,
            debug,
        }
    }
}
