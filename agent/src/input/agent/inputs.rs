//! Figures of the pipelines: most of the agent's own series, read where the engine keeps them.

use std::time::Instant;

use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, Since, Unit},
    telemetry::Figures,
};

const INPUT: &[Label] = &[Label::bounded("input", 64)];

pub(super) static INPUT_UP: Metric = Metric::gauge("agent_input_up", "Whether an input delivers.", INPUT);
pub(super) static INPUT_INFO: Metric = Metric::info(
    "agent_input_info",
    "State of an input, the variant that runs, and why it is not simply running.",
    &[
        Label::bounded("input", 64),
        Label::bounded("state", 1),
        Label::bounded("variant", 1),
        Label::bounded("reason", 1),
    ],
);
pub(super) static INPUT_DURATION: Metric =
    Metric::gauge("agent_input_duration_seconds", "How long the last collection of an input took.", INPUT)
        .unit(Unit::Seconds);
pub(super) static INPUT_AGE: Metric =
    Metric::gauge("agent_input_age_seconds", "Time since an input last delivered.", INPUT)
        .unit(Unit::Seconds);
pub(super) static INPUT_SERIES: Metric =
    Metric::gauge("agent_input_series", "Series that an input delivered last.", INPUT);
pub(super) static INPUT_ERRORS: Metric =
    Metric::counter("agent_input_errors_total", "Collections of an input that brought an error.", INPUT)
        .since(Since::Start);
pub(super) static INPUT_TIMEOUTS: Metric =
    Metric::counter("agent_input_timeouts_total", "Collections of an input that did not end in time.", INPUT)
        .since(Since::Start);
pub(super) static INPUT_PANICS: Metric =
    Metric::counter("agent_input_panics_total", "Collections of an input that panicked.", INPUT)
        .since(Since::Start);
pub(super) static INPUT_SKIPPED: Metric = Metric::counter(
    "agent_input_skipped_ticks_total",
    "Ticks of an input, or of a target of its checks, that were not taken because an earlier one ran too long.",
    INPUT,
)
.since(Since::Start);
pub(super) static INPUT_HELD_UP: Metric = Metric::counter(
    "agent_input_held_up_ticks_total",
    "Ticks of an input's schedule whose rates were left out, because they were held up until they would be wrong.",
    INPUT,
)
.since(Since::Start);
pub(super) static INPUT_TICKS: Metric =
    Metric::counter("agent_input_ticks_total", "Ticks of an input's schedule that were taken.", INPUT)
        .since(Since::Start);
pub(super) static INPUT_INTERVAL: Metric = Metric::gauge(
    "agent_input_interval_seconds",
    "Distance of the ticks of an input's schedule, as it is configured.",
    INPUT,
)
.unit(Unit::Seconds);
pub(super) static INPUT_DISTANCE: Metric = Metric::gauge(
    "agent_input_tick_distance_seconds",
    "Time between the last two collections of an input that has a schedule.",
    INPUT,
)
.unit(Unit::Seconds);
pub(super) static INPUT_LATENESS: Metric = Metric::gauge(
    "agent_input_tick_lateness_max_seconds",
    "How long after its time a collection began, at the worst, in the last minute or two.",
    INPUT,
)
.unit(Unit::Seconds);
pub(super) static INPUT_QUARANTINE: Metric = Metric::gauge(
    "agent_input_quarantine_seconds",
    "For how long an input that panicked is still left alone.",
    INPUT,
)
.unit(Unit::Seconds);
pub(super) static INPUT_DROPPED: Metric = Metric::counter(
    "agent_input_dropped_samples_total",
    "Samples of an input that were left out, by why.",
    &[
        Label::bounded("input", 64),
        Label::fixed("reason", &["series_limit", "duplicate", "label_conflict", "reset", "stale"]),
    ],
)
.since(Since::Start);
pub(super) static INPUT_FOLDED: Metric = Metric::counter(
    "agent_input_folded_samples_total",
    "Samples of an input that are shown as part of a series called `other`, past the limit of series.",
    INPUT,
)
.since(Since::Start);
pub(super) static INPUT_CPU: Metric = Metric::counter(
    "agent_input_cpu_seconds_total",
    "CPU time of an input's collections; too short to be told apart by user and system.",
    INPUT,
)
.unit(Unit::Seconds)
.since(Since::Start);
pub(super) static INPUT_SLOWDOWN: Metric = Metric::gauge(
    "agent_input_slowdown_ratio",
    "An input is collected at one in so many occasions, 1 unless the budget slows it.",
    INPUT,
);
pub(super) static INPUT_SHED: Metric =
    Metric::gauge("agent_input_shed", "Whether the budget has shed an input.", INPUT);

/// Delivers the figures of one pipeline. These are most of the agent's own series, so they do not take the
/// way through the recorder, which would cost more than all other inputs together.
pub(super) fn deliver(figures: &Figures, acc: &mut dyn Accumulator) {
    let (input, state, losses) = (figures.input.as_bytes(), &figures.state, figures.losses);
    acc.put(&INPUT_UP, &[input], state.is_up());
    let info = [state.word(), state.variant(), state.reason()].map(str::as_bytes);
    acc.put(&INPUT_INFO, &[input, info[0], info[1], info[2]], 1.0);
    acc.put(&INPUT_DURATION, &[input], figures.took.as_secs_f64());
    // No age where there never was a success.
    if let Some(at) = figures.last_success {
        acc.put(&INPUT_AGE, &[input], at.elapsed().as_secs_f64());
    }
    acc.put(&INPUT_SERIES, &[input], figures.series as f64);
    for (metric, count) in [
        (&INPUT_ERRORS, figures.errors),
        (&INPUT_TIMEOUTS, figures.timeouts),
        (&INPUT_PANICS, figures.panics),
        (&INPUT_SKIPPED, figures.pace.map_or(0, |pace| pace.skipped) + losses.missed),
    ] {
        acc.put(metric, &[input], count);
    }
    if let Some(pace) = &figures.pace {
        acc.put(&INPUT_TICKS, &[input], pace.ticks);
        acc.put(&INPUT_HELD_UP, &[input], losses.held_up);
        acc.put(&INPUT_INTERVAL, &[input], pace.interval.as_secs_f64());
        acc.put(&INPUT_LATENESS, &[input], pace.worst.get().as_secs_f64());
        if let Some(distance) = pace.distance {
            acc.put(&INPUT_DISTANCE, &[input], distance.as_secs_f64());
        }
    }
    if let Some(quarantine) = figures.quarantine {
        let left = quarantine.until.saturating_duration_since(Instant::now());
        acc.put(&INPUT_QUARANTINE, &[input], left.as_secs_f64());
    }
    acc.put(&INPUT_CPU, &[input], figures.cpu.as_secs_f64());
    acc.put(&INPUT_SLOWDOWN, &[input], f64::from(figures.every.max(1)));
    acc.put(&INPUT_SHED, &[input], figures.every == 0);
    acc.put(&INPUT_DROPPED, &[input, b"series_limit"], losses.over_limit);
    acc.put(&INPUT_DROPPED, &[input, b"duplicate"], losses.duplicates);
    acc.put(&INPUT_DROPPED, &[input, b"label_conflict"], losses.conflicts);
    acc.put(&INPUT_DROPPED, &[input, b"reset"], losses.resets);
    acc.put(&INPUT_DROPPED, &[input, b"stale"], losses.stale);
    acc.put(&INPUT_FOLDED, &[input], losses.folded);
}
