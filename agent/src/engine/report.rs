//! What `/status` shows of a pipeline.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    pipeline::State,
    telemetry::{Figures, Pace},
};

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
    /// Ticks of its schedule that were taken.
    pub ticks: u64,
    /// Ticks of its schedule that were not taken.
    pub skipped_ticks: u64,
    /// How long after its time a collection began, at the worst, in the last minute or two.
    pub lateness_max_seconds: f64,
    /// Collections that panicked.
    pub panics: u64,
    /// It panicked so often in a row; 0 unless it is left alone because of that.
    pub quarantines: u32,
    /// For how long it is still left alone.
    pub quarantine_seconds: Option<f64>,
    /// For how long a thread that was given up has been in it.
    pub stuck_seconds: Option<f64>,
    /// CPU time of its collections in seconds.
    pub cpu_seconds: f64,
    /// It is collected at one in so many occasions; 0 when the budget has shed it.
    pub slowdown: u32,
    /// Whatever the input says about itself.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub debug: serde_json::Value,
}

impl Report {
    pub(super) fn new(figures: &Figures, stuck: Option<Instant>, debug: serde_json::Value) -> Self {
        let pace = figures.pace.unwrap_or_default();
        Self {
            input: figures.input.clone(),
            state: figures.state.clone(),
            interval_seconds: figures.pace.map(|Pace { interval, .. }| interval.as_secs_f64()),
            duration_seconds: figures.took.as_secs_f64(),
            age_seconds: figures.last_success.map(age),
            series: figures.series,
            errors: figures.errors,
            timeouts: figures.timeouts,
            ticks: pace.ticks,
            skipped_ticks: pace.skipped,
            lateness_max_seconds: pace.worst.get().as_secs_f64(),
            panics: figures.panics,
            quarantines: figures.quarantine.map_or(0, |quarantine| quarantine.panics),
            quarantine_seconds: figures
                .quarantine
                .map(|quarantine| quarantine.until.saturating_duration_since(Instant::now()).as_secs_f64()),
            stuck_seconds: stuck.map(age),
            cpu_seconds: figures.cpu.as_secs_f64(),
            slowdown: figures.every,
            debug,
        }
    }
}

fn age(since: Instant) -> f64 {
    Duration::as_secs_f64(&since.elapsed())
}

/// The state of a pipeline that is collected at one in so many occasions. What is off, unsupported or failed
/// is that, however often it is tried.
pub(super) fn restricted(state: &State, every: u32) -> State {
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
