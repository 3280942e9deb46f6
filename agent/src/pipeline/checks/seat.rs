//! One target of a pipeline, and all that is kept of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    labels::{Labelled, TARGET},
    plan::{Plan, Settings},
    queue::Turn,
    samples::Samples,
    targets::Found,
};
use crate::{
    accumulator::Accumulator,
    input::{
        Input,
        check::{EXECUTED, FAILURES, HelperError, NetworkMode, Request},
    },
    pod::Target,
};

/// One that took longer than this is slow.
const SLOW: Duration = Duration::from_millis(500);

/// A target.
pub(super) struct Seat {
    pub(super) found: Found,
    labelled: Labelled,
    /// The agent's own instance of the check, or why there is none for this target.
    input: Result<Box<dyn Input>, String>,
    settings: Settings,
    /// Rises when an answer to an earlier request would mislead.
    pub(super) version: u64,
    /// Since when it is being checked.
    pub(super) flight: Option<Instant>,
    /// It is not there any more, and is forgotten once its check has ended.
    pub(super) is_gone: bool,
    /// Checks that were not executed, by reason.
    failures: [u64; HelperError::REASONS.len()],
    samples: Samples,
    pub(super) result: Option<Answer>,
    /// Its place within the interval.
    phase: Duration,
    pub(super) due: Instant,
    pub(super) is_slow: bool,
}

/// How a check ended.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// When it was started.
    pub(super) at: Instant,
    /// How long it might have taken.
    pub(super) timeout: Duration,
    /// Why it was not executed, if it was not.
    pub(super) error: Option<HelperError>,
}

impl Answer {
    /// Whether it still tells something.
    pub(super) fn is_fresh(&self, now: Instant, interval: Duration) -> bool {
        now.saturating_duration_since(self.at) <= interval * 2 + self.timeout
    }
}

impl Seat {
    /// A target that has just been found: it is due at once.
    pub(super) fn new(plan: &Plan, found: Found, now: Instant) -> Self {
        let mut seat = Self {
            labelled: Labelled::new(plan.def, &found.labels),
            input: Err(String::new()),
            settings: Vec::new(),
            version: 0,
            flight: None,
            is_gone: false,
            failures: [0; HelperError::REASONS.len()],
            samples: Samples::of(plan.def),
            result: None,
            phase: plan.schedule.delay(&found.identity),
            due: now,
            is_slow: false,
            found,
        };
        seat.open(plan);
        seat
    }

    /// Takes what is known of the target now. True when it is to be checked anew, because it or what is asked of it has
    /// become another.
    pub(super) fn update(&mut self, plan: &Plan, found: Found, is_other_plan: bool) -> bool {
        self.is_gone = false;
        if self.found == found && !is_other_plan {
            return false;
        }
        let process = |found: &Found| found.container.as_ref().map(|container| container.process);
        let is_restarted = process(&self.found) != process(&found);
        if self.found.labels != found.labels {
            self.labelled = Labelled::new(plan.def, &found.labels);
        }
        self.found = found;
        self.phase = plan.schedule.delay(&self.found.identity);
        let is_asked_otherwise = self.open(plan);
        if is_asked_otherwise {
            // What was found out by other settings is no answer to these.
            self.result = None;
            self.samples.clear();
        }
        if is_restarted || is_asked_otherwise {
            self.version += 1;
        }
        is_restarted || is_asked_otherwise
    }

    /// Makes the check for the target as it is now, unless it is that already.
    fn open(&mut self, plan: &Plan) -> bool {
        let settings = match plan.settings(self.found.container.as_deref()) {
            Ok(settings) => settings,
            Err(error) => {
                let is_other = !matches!(&self.input, Err(known) if *known == error);
                (self.input, self.settings) = (Err(error), Vec::new());
                return is_other;
            }
        };
        if self.input.is_ok() && settings == self.settings {
            return false;
        }
        let mut input = plan.open(&settings);
        if let (Ok(new), Ok(old)) = (&mut input, &mut self.input) {
            new.update_from(&mut **old);
        }
        (self.input, self.settings) = (input, settings);
        true
    }

    /// Its turn.
    pub(super) fn turn(&self, seat: u64) -> Turn {
        Turn { due: self.due, seat, is_slow: self.is_slow }
    }

    /// What the helper is asked, and where; or why it is not asked at all.
    pub(super) fn request(&mut self, mode: NetworkMode) -> Result<(Target, Request), HelperError> {
        let input = self.input.as_mut().map_err(|error| HelperError::Failed(error.clone()))?;
        let check = input.check().ok_or_else(|| HelperError::Failed("its input is no check".to_owned()))?;
        let target = match &self.found.container {
            Some(container) if (mode, check.network_mode()) == (NetworkMode::Pod, NetworkMode::Pod) => {
                if let Some(runtime) = &container.sandboxed {
                    return Err(HelperError::Unsupported(runtime.clone()));
                }
                Target::Container(container.clone())
            }
            _ => Target::Host,
        };
        let request = check.serialize_request().map_err(|error| HelperError::Failed(error.to_string()))?;
        Ok((target, request))
    }

    /// Takes the end of a check that was started at a time.
    pub(super) fn answer(
        &mut self,
        result: Result<&[u8], HelperError>,
        at: Instant,
        now: Instant,
        timeout: Duration,
    ) {
        self.samples.clear();
        let error = result.and_then(|response| self.process(response)).err();
        if let Some(error) = &error {
            let reason = HelperError::REASONS.iter().position(|reason| *reason == error.reason());
            if let Some(count) = reason.and_then(|at| self.failures.get_mut(at)) {
                *count += 1;
            }
            self.explain(error);
        }
        self.is_slow = now.saturating_duration_since(at) >= SLOW;
        self.result = Some(Answer { at, timeout, error });
    }

    /// Processes a response, which may hold anything: that of a check that panics at it is none.
    fn process(&mut self, response: &[u8]) -> Result<(), HelperError> {
        let (input, samples) = (&mut self.input, &mut self.samples);
        let done = catch_unwind(AssertUnwindSafe(|| match input {
            Ok(input) => match input.check() {
                Some(check) => check.process_response(response, samples),
                None => Err(HelperError::Failed("its input is no check".to_owned())),
            },
            Err(error) => Err(HelperError::Failed(error.clone())),
        }));
        done.unwrap_or_else(|_| Err(HelperError::Failed("the check panicked at the response".to_owned())))
    }

    /// Leaves the samples that say that the check was not executed.
    fn explain(&mut self, error: &HelperError) {
        let (input, samples) = (&mut self.input, &mut self.samples);
        samples.clear();
        let said = catch_unwind(AssertUnwindSafe(|| {
            let check = input.as_mut().ok()?.check()?;
            check.generate_error_metrics(error, samples);
            Some(())
        }));
        if !matches!(said, Ok(Some(()))) {
            samples.clear();
            (samples as &mut dyn Accumulator).put(&EXECUTED, &[], false);
        }
    }

    /// Sets when it is due next: at its place within an interval, counted from an origin. Returns how many of those have
    /// passed untaken.
    pub(super) fn schedule(&mut self, plan: &Plan, origin: Instant, started: Instant, now: Instant) -> u64 {
        let interval = plan.schedule.interval;
        // After a first check, which waits for nothing, the next one is not too soon.
        let earliest = started + interval / 2;
        let (regular, next) =
            (self.place(interval, origin, earliest), self.place(interval, origin, now.max(earliest)));
        self.due = next;
        let passed = next.saturating_duration_since(regular).as_nanos() / interval.as_nanos().max(1);
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// The first of its places at or after a time.
    fn place(&self, interval: Duration, origin: Instant, from: Instant) -> Instant {
        let first = origin + self.phase;
        let since = from.saturating_duration_since(first).as_nanos();
        let times = since.div_ceil(interval.as_nanos().max(1));
        let nanos = times.saturating_mul(interval.as_nanos());
        first + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4))
    }

    /// Delivers its newest result while that tells something, and why checks of it were not executed. False when there
    /// is a result that does not.
    pub(super) fn deliver(&self, now: Instant, interval: Duration, acc: &mut dyn Accumulator) -> bool {
        let fresh = self.result.as_ref().map(|result| result.is_fresh(now, interval));
        if fresh == Some(true) {
            self.samples.deliver(&self.labelled, acc);
        }
        for (reason, count) in HelperError::REASONS.iter().zip(self.failures).filter(|(_, count)| *count > 0)
        {
            self.labelled.count(&FAILURES, reason, count, acc);
        }
        fresh != Some(false)
    }

    /// Whatever helps to understand it.
    pub(super) fn debug_info(&self, now: Instant) -> serde_json::Value {
        let labels: serde_json::Map<String, serde_json::Value> =
            self.found.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let (outcome, message) = match &self.result {
            None => ("none", String::new()),
            Some(Answer { error: None, .. }) => ("executed", String::new()),
            Some(Answer { error: Some(error), .. }) => (error.reason(), error.to_string()),
        };
        serde_json::json!({
            "target": self.name(),
            "labels": labels,
            "outcome": outcome,
            "message": message,
            "age_seconds": self.result.as_ref().map(|result| now.saturating_duration_since(result.at).as_secs_f64()),
            "check": self.input.as_ref().map_or(serde_json::Value::Null, |input| input.debug_info()),
        })
    }

    /// What it is called, for people.
    fn name(&self) -> String {
        if self.found.container.is_none() {
            return "the host".to_owned();
        }
        let known = |(name, _): &&(String, String)| TARGET.iter().any(|(known, _)| known == name);
        let names = self.found.labels.iter().filter(known).map(|(_, value)| value.as_str());
        names.collect::<Vec<_>>().join("/")
    }
}
