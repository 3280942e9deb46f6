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
    telemetry::Meters,
};

/// A pipeline and what is known about it from outside.
pub(super) struct Cell {
    pub(super) key: String,
    pub(super) schedule: Option<Schedule>,
    pub(super) deadline: Duration,
    /// A thread has been in it for longer than its deadline, and still holds its lock.
    pub(super) stuck: AtomicBool,
    pipeline: Mutex<Box<dyn Pipeline>>,
    report: Mutex<Report>,
    meters: Meters,
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
    /// Series of the last success.
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
    #[serde(skip)]
    last_success: Option<Instant>,
}

impl Cell {
    pub(super) fn new(pipeline: Box<dyn Pipeline>) -> Self {
        let schedule = pipeline.schedule();
        let report = Report {
            input: pipeline.key().to_owned(),
            state: pipeline.state().clone(),
            interval_seconds: schedule.map(|schedule| schedule.interval.as_secs_f64()),
            duration_seconds: 0.0,
            age_seconds: None,
            series: 0,
            errors: 0,
            timeouts: 0,
            skipped_ticks: 0,
            panics: 0,
            debug: serde_json::Value::Null,
            last_success: None,
        };
        let meters = Meters::new(&report.input);
        meters.state(None, &report.state);
        meters.note(&report);
        Self {
            key: report.input.clone(),
            schedule,
            deadline: pipeline.deadline(),
            stuck: AtomicBool::new(false),
            pipeline: Mutex::new(pipeline),
            report: Mutex::new(report),
            meters,
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

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects, and notes how it went. `abandoned` is asked when the collection is over: if the engine has
    /// given this thread up meanwhile, what it brought is too late for anyone.
    pub(super) fn collect(&self, cx: &CollectContext, abandoned: impl FnOnce() -> bool) {
        let Some(mut pipeline) = self.pipeline() else {
            self.note_timeout("still blocked in the kernel since an earlier collection");
            return;
        };
        let outcome = pipeline.collect(cx);
        let took = cx.started.elapsed();
        if abandoned() {
            pipeline.withdraw();
            drop(pipeline);
            self.stuck.store(false, Ordering::Release);
            tracing::info!(input = self.key, seconds = took.as_secs_f64(), "came back from the kernel");
            return;
        }
        self.note(outcome, &**pipeline, took);
    }

    fn note(&self, outcome: Outcome, pipeline: &dyn Pipeline, took: Duration) {
        let mut report = self.report();
        let report = &mut *report;
        match outcome {
            Outcome::Published => {
                report.last_success = Some(Instant::now());
                report.series = pipeline.frame().live();
            }
            Outcome::Skipped => report.series = 0,
            Outcome::Failed => report.errors += 1,
            Outcome::Panicked => report.panics += 1,
        }
        report.duration_seconds = took.as_secs_f64();
        self.change_state(report, pipeline.state());
        self.meters.note(report);
        self.meters.losses(pipeline.losses());
    }

    /// Logs and exports a state when it differs from the last one.
    fn change_state(&self, report: &mut Report, state: &State) {
        if report.state == *state {
            return;
        }
        match state {
            State::Failed { reason } => tracing::warn!(input = self.key, reason, "failed"),
            other => tracing::info!(input = self.key, state = %other, "changed"),
        }
        self.meters.state(Some(&report.state), state);
        report.state = state.clone();
    }

    /// Notes that a collection did not end in time.
    pub(super) fn note_timeout(&self, reason: &str) {
        let mut report = self.report();
        report.timeouts += 1;
        report.series = 0;
        self.change_state(&mut report, &State::Failed { reason: reason.to_owned() });
        self.meters.note(&report);
    }

    /// Leaves it out of this round: what it published before must not pass for new.
    pub(super) fn pass_over(&self, reason: &str) {
        if let Some(mut pipeline) = self.pipeline() {
            pipeline.withdraw();
        }
        self.note_timeout(reason);
    }

    /// Notes ticks that were not taken.
    pub(super) fn note_skipped(&self, ticks: u64) {
        let mut report = self.report();
        report.skipped_ticks += ticks;
        self.meters.note(&report);
    }

    /// Brings the exported age up to date.
    pub(super) fn note_age(&self) {
        self.meters.age(self.report().last_success.map(|at| at.elapsed()));
    }

    /// A consistent snapshot.
    pub(super) fn view(&self) -> Report {
        let debug = self.pipeline().map_or(serde_json::Value::Null, |pipeline| pipeline.debug_info());
        let report = self.report();
        let age_seconds = report.last_success.map(|at| at.elapsed().as_secs_f64());
        Report { age_seconds, debug, ..report.clone() }
    }
}
