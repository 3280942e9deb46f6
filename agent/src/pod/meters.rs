//! What the agent says about its helpers.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use crate::{input::check::HelperError, telemetry};

/// Figures of all helpers together.
#[derive(Debug)]
pub(super) struct Meters {
    running: Gauge,
    stuck: Gauge,
    started: Counter,
    seconds: Gauge,
    answered: Counter,
}

impl Meters {
    pub(super) fn new() -> Self {
        telemetry::recorder();
        Self {
            running: gauge!("pitot_agent_helpers"),
            stuck: gauge!("pitot_agent_helpers_stuck"),
            started: counter!("pitot_agent_helpers_started_total"),
            seconds: gauge!("pitot_agent_helper_seconds_total"),
            answered: counter!("pitot_agent_helper_requests_total", "result" => "answered"),
        }
    }

    pub(super) fn running(&self, helpers: usize) {
        self.running.set(helpers as f64);
    }

    pub(super) fn stuck(&self, helpers: usize) {
        self.stuck.set(helpers as f64);
    }

    pub(super) fn started(&self) {
        self.started.increment(1);
    }

    /// There is another spawner in place of one that has ended.
    pub(super) fn spawner_replaced() {
        counter!("pitot_agent_spawner_replacements_total").increment(1);
    }

    /// A helper was given up.
    pub(super) fn killed(reason: &'static str) {
        counter!("pitot_agent_helpers_killed_total", "reason" => reason).increment(1);
    }

    /// A request is over.
    pub(super) fn asked(&self, outcome: Option<&HelperError>, took: Duration) {
        match outcome {
            None => self.answered.increment(1),
            Some(error) => {
                counter!("pitot_agent_helper_requests_total", "result" => error.reason()).increment(1);
            }
        }
        self.seconds.increment(took.as_secs_f64());
    }
}
