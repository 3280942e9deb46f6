//! The place of a pipeline in the engine: what is collected there, and figures that can be read without waiting
//! for that. The place stays when another pipeline of the same key takes it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    lane::{is_exact, lane_of},
    report::{Report, restricted},
    slot::{Lease, Missing, Slot},
};
use crate::{
    catalogue::Rank,
    pipeline::{Outcome, Pipeline, Schedule, State},
    telemetry::{self, Figures, Pace},
};

/// A page waits for a collection that is shorter. Before a longer one, what was published last is copied.
const SLOW: Duration = Duration::from_millis(10);

/// A place, and what is known about it from outside.
pub(super) struct Cell {
    pub(super) key: String,
    /// Tells it from an earlier one of the same key.
    pub(super) id: u64,
    pub(super) slot: Slot,
    terms: Mutex<Terms>,
    /// How many others stand between it and an input.
    pub(super) depth: AtomicU32,
    /// It is collected at one in so many occasions; 0 for none.
    every: AtomicU32,
    /// Occasions since that was set.
    occasions: AtomicU32,
    /// What it published is from before it was shed. Written with the figures locked.
    hidden: AtomicBool,
    figures: telemetry::Shared,
}

/// What a pipeline asks of the engine.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) schedule: Option<Schedule>,
    pub(super) deadline: Duration,
    pub(super) source: Option<Source>,
    pub(super) rank: Rank,
    /// What it publishes is on the pages of scrapers.
    pub(super) scraped: bool,
}

/// Whose frames it takes.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) key: Arc<str>,
    /// None when there is no such pipeline.
    pub(super) cell: Option<Arc<Cell>>,
}

impl Terms {
    pub(super) fn of(pipeline: &mut dyn Pipeline) -> Self {
        Self {
            schedule: pipeline.schedule(),
            deadline: pipeline.deadline(),
            source: pipeline.source().map(|key| Source { key: key.into(), cell: None }),
            // What is computed was asked for on top of what every dashboard shows.
            rank: if pipeline.source().is_some() || !pipeline.queries().is_empty() {
                Rank::Optional
            } else {
                pipeline.input().map_or(Rank::Basic, |input| input.definition().source.rank())
            },
            scraped: pipeline.is_scraped(),
        }
    }

    fn pace(&self, before: Option<Pace>) -> Option<Pace> {
        let interval = self.schedule?.interval;
        Some(Pace { interval, ..before.unwrap_or_default() })
    }
}

impl Cell {
    pub(super) fn new(mut pipeline: Box<dyn Pipeline>, id: u64) -> Self {
        let key = pipeline.key().to_owned();
        let state = pipeline.state().clone();
        let terms = Terms::of(&mut *pipeline);
        Self {
            figures: telemetry::register(Figures {
                input: key.clone(),
                own_state: state.clone(),
                state,
                every: 1,
                pace: terms.pace(None),
                ..Figures::default()
            }),
            key,
            id,
            terms: Mutex::new(terms),
            depth: AtomicU32::new(0),
            every: AtomicU32::new(1),
            occasions: AtomicU32::new(0),
            hidden: AtomicBool::new(false),
            slot: Slot::new(pipeline),
        }
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its pipeline asks for. Locked for moments.
    pub(super) fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a pipeline in the place of the one that is here; its counters and restrictions go on.
    pub(super) fn put(&self, mut pipeline: Box<dyn Pipeline>) {
        let terms = Terms::of(&mut *pipeline);
        let state = pipeline.state().clone();
        let mut figures = self.figures();
        figures.pace = terms.pace(figures.pace);
        figures.quarantine = pipeline.quarantine();
        figures.earlier_losses = figures.losses;
        // It has delivered nothing yet.
        (figures.series, figures.last_success) = (0, None);
        self.change_state(&mut figures, &state);
        *self.terms() = terms;
        // With the figures locked, so that nobody notes a collection of the old one as one of the new.
        let old = self.slot.replace(pipeline);
        drop(figures);
        drop(old);
    }

    /// Ends it.
    pub(super) fn remove(&self) {
        telemetry::unregister(&self.figures);
        self.slot.clear();
    }

    /// Takes it out for a collection of another one that takes its frames, or says why there is nothing to take.
    pub(super) fn lend(&self, until: Instant) -> Result<Lease<'_>, String> {
        let lease = self.slot.lease(until).map_err(|missing| match missing {
            Missing::Busy => format!("its source `{}` is still being collected", self.key),
            Missing::Stuck => format!("its source `{}` is stuck", self.key),
            Missing::Gone => format!("its source `{}` has been removed", self.key),
        })?;
        let figures = self.figures();
        if !figures.state.is_up() {
            return Err(format!("its source `{}` is {}", self.key, figures.state));
        }
        if figures.last_success.is_none() || !self.is_shown() {
            return Err(format!("its source `{}` has not been collected yet", self.key));
        }
        Ok(lease)
    }

    /// Whether what it publishes is on the pages of scrapers.
    pub(super) fn is_scraped(&self) -> bool {
        self.terms().scraped
    }

    /// Whether it is collected in a lane whose ticks must not wait.
    pub(super) fn is_exact(&self) -> bool {
        self.terms().schedule.is_some_and(|schedule| is_exact(lane_of(schedule)))
    }

    /// Whether its last collection took so long that a page should not wait for the next one.
    pub(super) fn is_slow(&self) -> bool {
        self.figures().took >= SLOW
    }

    /// Notes a tick: when its collection began, when it was due.
    pub(super) fn note_tick(&self, began: Instant, due: Instant) -> Duration {
        let late = began.saturating_duration_since(due);
        if let Some(pace) = &mut self.figures().pace {
            pace.tick(began, late);
        }
        late
    }

    /// Notes a collection that ended in time, and what it took; `reason` is what the engine knows about why it may
    /// have failed.
    pub(super) fn note(
        &self,
        lease: &mut Lease<'_>,
        outcome: Outcome,
        took: Duration,
        cpu: Duration,
        reason: Option<String>,
    ) {
        let mut figures = self.figures();
        figures.cpu += cpu;
        // Another pipeline may have got its place meanwhile.
        let (true, Some(pipeline)) = (lease.is_current(), lease.get()) else { return };
        match outcome {
            Outcome::Published => figures.last_success = Some(Instant::now()),
            Outcome::Skipped => {}
            Outcome::Failed => figures.errors += 1,
            Outcome::Panicked => figures.panics += 1,
        }
        figures.took = took;
        if figures.every > 0 {
            self.hidden.store(false, Ordering::Release);
        }
        figures.series = pipeline.frame().live();
        figures.losses = figures.earlier_losses + pipeline.losses();
        figures.quarantine = pipeline.quarantine();
        match reason.filter(|_| matches!(outcome, Outcome::Failed | Outcome::Panicked)) {
            Some(reason) => self.change_state(&mut figures, &State::Failed { reason }),
            None => self.change_state(&mut figures, pipeline.state()),
        }
    }

    /// Notes what a collection took that ended too late for anyone.
    pub(super) fn note_late(&self, cpu: Duration) {
        self.figures().cpu += cpu;
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
        let Ok(mut lease) = self.slot.lease(Instant::now()) else { return false };
        let Some(pipeline) = lease.get() else { return false };
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
        if let Ok(mut look) = self.slot.look()
            && let Some(pipeline) = look.get_mut()
        {
            pipeline.withdraw();
        }
        self.note_timeout(reason);
    }

    /// Notes ticks that were not taken.
    pub(super) fn note_skipped(&self, ticks: u64) {
        if let Some(pace) = &mut self.figures().pace {
            pace.skipped += ticks;
        }
    }

    /// A consistent snapshot. Whoever asks does not wait for a collection.
    pub(super) fn view(&self) -> Report {
        let look = self.slot.look();
        let debug = look.as_ref().ok().and_then(|look| Some(look.get()?.debug_info()));
        drop(look);
        Report::new(&self.figures(), self.slot.stuck(), debug.unwrap_or_default())
    }
}
