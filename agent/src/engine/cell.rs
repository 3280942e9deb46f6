//! A pipeline in the engine: locked by whoever collects it, with figures that can be read without its lock.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;

use super::clock::CpuClock;
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
    /// It is collected at one in so many occasions; 0 for none.
    every: AtomicU32,
    /// Occasions since that was set.
    occasions: AtomicU32,
    /// What it published is from before it was shed. Written with the figures locked.
    hidden: AtomicBool,
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
    /// CPU time of its collections in seconds.
    pub cpu_seconds: f64,
    /// It is collected at one in so many occasions; 0 when the budget has shed it.
    pub slowdown: u32,
    /// Whatever the input says about itself.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub debug: serde_json::Value,
}

impl Cell {
    pub(super) fn new(pipeline: Box<dyn Pipeline>) -> Self {
        let key = pipeline.key().to_owned();
        let state = pipeline.state().clone();
        Self {
            figures: telemetry::register(Figures {
                input: key.clone(),
                own_state: state.clone(),
                state,
                every: 1,
                ..Figures::default()
            }),
            key,
            schedule: pipeline.schedule(),
            deadline: pipeline.deadline(),
            stuck: AtomicBool::new(false),
            every: AtomicU32::new(1),
            occasions: AtomicU32::new(0),
            hidden: AtomicBool::new(false),
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

    /// Collects, and notes how it went and what it cost by the thread's clock. `abandoned` is asked when the
    /// collection is over: if the engine has given this thread up meanwhile, what it brought is too late for
    /// anyone.
    pub(super) fn collect(
        &self,
        cx: &CollectContext,
        clock: &mut CpuClock,
        abandoned: impl FnOnce() -> bool,
    ) {
        let Some(mut pipeline) = self.pipeline() else {
            self.note_timeout("still busy with an earlier collection");
            return;
        };
        let outcome = pipeline.collect(cx, None);
        let took = cx.started.elapsed();
        let cpu = clock.lap();
        if abandoned() {
            self.figures().cpu += cpu;
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
        figures.cpu += cpu;
        if figures.every > 0 {
            self.hidden.store(false, Ordering::Release);
        }
        figures.series = pipeline.frame().live();
        figures.losses = pipeline.losses();
        self.change_state(&mut figures, pipeline.state());
    }

    /// Takes over a state of the pipeline.
    fn change_state(&self, figures: &mut Figures, state: &State) {
        if figures.own_state == *state {
            return;
        }
        figures.own_state = state.clone();
        self.show_state(figures);
    }

    /// Shows the state of the pipeline under its restriction, and logs it when it differs from the last one.
    fn show_state(&self, figures: &mut Figures) {
        let state = restricted(&figures.own_state, figures.every);
        if figures.state == state {
            return;
        }
        match &state {
            State::Failed { reason } => tracing::warn!(input = self.key, reason, "failed"),
            other => tracing::info!(input = self.key, state = %other, "changed"),
        }
        figures.state = state;
    }

    /// Lets it be collected at one in so many occasions from now on; 0 sheds it.
    pub(super) fn restrict(&self, every: u32) {
        let mut figures = self.figures();
        self.every.store(every, Ordering::Release);
        self.occasions.store(0, Ordering::Relaxed);
        figures.every = every;
        if every == 0 {
            self.hidden.store(true, Ordering::Release);
            figures.series = 0;
        }
        self.show_state(&mut figures);
    }

    /// Gives the input up, for a reason. False while a collection is in it: try again.
    pub(super) fn close(&self, reason: &str) -> bool {
        let Ok(mut pipeline) = self.pipeline.try_lock() else { return false };
        pipeline.close(reason);
        let mut figures = self.figures();
        figures.series = 0;
        self.change_state(&mut figures, pipeline.state());
        true
    }

    /// Whether it takes part in a round that is laid out.
    pub(super) fn takes_part(&self) -> bool {
        match self.every.load(Ordering::Acquire) {
            0 => false,
            1 => true,
            every => self.occasions.fetch_add(1, Ordering::Relaxed).is_multiple_of(every),
        }
    }

    /// Whether what it published last may be shown.
    pub(super) fn is_shown(&self) -> bool {
        !self.hidden.load(Ordering::Acquire)
    }

    /// CPU time of its collections.
    pub(super) fn cpu(&self) -> Duration {
        self.figures().cpu
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
            cpu_seconds: figures.cpu.as_secs_f64(),
            slowdown: figures.every,
            debug,
        }
    }
}

/// The state of a pipeline that is collected at one in so many occasions. What is off, unsupported or failed
/// is that, however often it is tried.
fn restricted(state: &State, every: u32) -> State {
    match (every, state) {
        (0, State::Running { .. } | State::Degraded { .. } | State::Failed { .. }) => {
            State::Off { reason: "shed: the agent was over its budget".to_owned() }
        }
        (2.., State::Running { variant } | State::Degraded { variant, .. }) => {
            let slowed = format!("slowed by the budget: collected at one in {every} occasions");
            let reason = match state.reason() {
                "" => slowed,
                reason => format!("{reason}; {slowed}"),
            };
            State::Degraded { variant: variant.clone(), reason }
        }
        _ => state.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restriction_shows_in_the_state_of_what_would_run() {
        let said = |state: &State, every| restricted(state, every).to_string();
        let running = State::Running { variant: Some("tp_btf".to_owned()) };
        assert_eq!(said(&running, 1), "running (tp_btf)");
        let slowed = "slowed by the budget: collected at one in 4 occasions";
        assert_eq!(said(&running, 4), format!("degraded (tp_btf) ({slowed})"));
        assert_eq!(said(&running, 0), "off (shed: the agent was over its budget)");
        let degraded = State::Degraded { variant: None, reason: "no x".to_owned() };
        assert_eq!(said(&degraded, 4), format!("degraded (no x; {slowed})"));
        let unsupported = State::Unsupported { reason: "no y".to_owned() };
        assert_eq!(said(&unsupported, 0), "unsupported (no y)");
    }
}
