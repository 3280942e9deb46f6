//! What the agent says about itself.
//!
//! Figures of the process come from metrics-exporter-prometheus as text and are read back, so that they are
//! in the page in every format; that allocates, and this is the one input whose cycle does. The figures of
//! the pipelines, most of the series, are read where the engine keeps them.

mod containers;

use std::time::Instant;

use metrics::gauge;

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, Since, Source, Unit},
    engine::LANES,
    process::{self, Resident},
    source::parse,
    telemetry::{self, Figures, Lane},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "agent",
    about: "The agent itself: the state of every input, what was lost, and what all of it costs.",
    prefix: "pitot_",
    source: Source::Own,
    cost: "rendering a few hundred series; the kernel's figures of its programs every ten seconds",
    metrics: &[
        &BUILD_INFO,
        &INPUT_UP,
        &INPUT_INFO,
        &INPUT_DURATION,
        &INPUT_AGE,
        &INPUT_SERIES,
        &INPUT_ERRORS,
        &INPUT_TIMEOUTS,
        &INPUT_PANICS,
        &INPUT_TICKS,
        &INPUT_SKIPPED,
        &INPUT_HELD_UP,
        &INPUT_INTERVAL,
        &INPUT_DISTANCE,
        &INPUT_LATENESS,
        &INPUT_QUARANTINE,
        &INPUT_DROPPED,
        &INPUT_FOLDED,
        &INPUT_CPU,
        &INPUT_SLOWDOWN,
        &INPUT_SHED,
        &SCRAPES,
        &COLLECTIONS,
        &COLLECTION_SECONDS,
        &TICK_LATENESS,
        &STUCK,
        &LEFT_OUT,
        &CLASHES,
        &DUPLICATES,
        &HTTP_REFUSED,
        &HTTP_ACCEPT_ERRORS,
        &CPU_SECONDS,
        &ENCODE_CPU,
        &RESIDENT,
        &COUNTING_SINCE,
        &MAP_BYTES,
        &MISSED_RUNS,
        &SAMPLED_RUNS,
        &SAMPLED_SECONDS,
        &SAMPLED_WINDOW,
        &BUDGET_CPU_LIMIT,
        &BUDGET_CPU_USED,
        &BUDGET_MEMORY_LIMIT,
        &BUDGET_MEMORY_USED,
        &BUDGET_STEPS,
        &TASKS,
        &CONFIG_CURRENT,
        &RELOADS,
        &containers::KNOWN,
        &containers::LEFT_OUT,
        &containers::SNAPSHOTS,
        &containers::DROPPED,
        &containers::WATCHES,
        &containers::UNWATCHED,
        &containers::OVERFLOWS,
        &containers::SOURCE_UP,
        &containers::SOURCE_AGE,
        &containers::SOURCE_CALLS,
        &containers::SOURCE_ERRORS,
        &OUTPUT_WRITTEN,
        &OUTPUT_DROPPED,
        &OUTPUT_ERRORS,
        &UNKNOWN,
    ],
    options: &[],
    open: |_| Ok(Box::new(Agent::new())),
};

static TASKS: Metric = Metric::gauge(
    "agent_tasks",
    "Tasks that run as their files say, in an earlier version because their file is wrong, or not at all.",
    &[Label::fixed("state", &["loaded", "stale", "refused"])],
);
static CONFIG_CURRENT: Metric = Metric::gauge(
    "agent_config_current",
    "Whether what runs is what the configuration says: 0 after a reload that was refused.",
    &[],
);
static RELOADS: Metric = Metric::counter(
    "agent_reloads_total",
    "Times that the configuration was read again.",
    &[Label::fixed("result", &["changed", "unchanged", "refused"])],
)
.since(Since::Start);
const OUTPUT: &[Label] = &[Label::bounded("output", 16)];
static OUTPUT_WRITTEN: Metric =
    Metric::counter("agent_output_written_total", "Pages of pipelines that an output wrote.", OUTPUT)
        .since(Since::Start);
static OUTPUT_DROPPED: Metric = Metric::counter(
    "agent_output_dropped_total",
    "Pages of pipelines for which an output had no room, or which it could not write.",
    OUTPUT,
)
.since(Since::Start);
static OUTPUT_ERRORS: Metric =
    Metric::counter("agent_output_errors_total", "Attempts of an output to write that failed.", OUTPUT)
        .since(Since::Start);
const INPUT: &[Label] = &[Label::bounded("input", 64)];

static BUILD_INFO: Metric =
    Metric::info("agent_build_info", "Version of the running agent.", &[Label::bounded("version", 1)]);
static INPUT_UP: Metric = Metric::gauge("agent_input_up", "Whether an input delivers.", INPUT);
static INPUT_INFO: Metric = Metric::info(
    "agent_input_info",
    "State of an input, the variant that runs, and why it is not simply running.",
    &[
        Label::bounded("input", 64),
        Label::bounded("state", 1),
        Label::bounded("variant", 1),
        Label::bounded("reason", 1),
    ],
);
static INPUT_DURATION: Metric =
    Metric::gauge("agent_input_duration_seconds", "How long the last collection of an input took.", INPUT)
        .unit(Unit::Seconds);
static INPUT_AGE: Metric =
    Metric::gauge("agent_input_age_seconds", "Time since an input last delivered.", INPUT)
        .unit(Unit::Seconds);
static INPUT_SERIES: Metric =
    Metric::gauge("agent_input_series", "Series that an input delivered last.", INPUT);
static INPUT_ERRORS: Metric =
    Metric::counter("agent_input_errors_total", "Collections of an input that brought an error.", INPUT)
        .since(Since::Start);
static INPUT_TIMEOUTS: Metric =
    Metric::counter("agent_input_timeouts_total", "Collections of an input that did not end in time.", INPUT)
        .since(Since::Start);
static INPUT_PANICS: Metric =
    Metric::counter("agent_input_panics_total", "Collections of an input that panicked.", INPUT)
        .since(Since::Start);
static INPUT_SKIPPED: Metric = Metric::counter(
    "agent_input_skipped_ticks_total",
    "Ticks of an input's schedule that were not taken because an earlier one ran too long.",
    INPUT,
)
.since(Since::Start);
static INPUT_HELD_UP: Metric = Metric::counter(
    "agent_input_held_up_ticks_total",
    "Ticks of an input's schedule whose rates were left out, because they were held up until they would be wrong.",
    INPUT,
)
.since(Since::Start);
static INPUT_TICKS: Metric =
    Metric::counter("agent_input_ticks_total", "Ticks of an input's schedule that were taken.", INPUT)
        .since(Since::Start);
static INPUT_INTERVAL: Metric = Metric::gauge(
    "agent_input_interval_seconds",
    "Distance of the ticks of an input's schedule, as it is configured.",
    INPUT,
)
.unit(Unit::Seconds);
static INPUT_DISTANCE: Metric = Metric::gauge(
    "agent_input_tick_distance_seconds",
    "Time between the last two collections of an input that has a schedule.",
    INPUT,
)
.unit(Unit::Seconds);
static INPUT_LATENESS: Metric = Metric::gauge(
    "agent_input_tick_lateness_max_seconds",
    "How long after its time a collection began, at the worst, in the last minute or two.",
    INPUT,
)
.unit(Unit::Seconds);
static INPUT_QUARANTINE: Metric = Metric::gauge(
    "agent_input_quarantine_seconds",
    "For how long an input that panicked is still left alone.",
    INPUT,
)
.unit(Unit::Seconds);
static INPUT_DROPPED: Metric = Metric::counter(
    "agent_input_dropped_samples_total",
    "Samples of an input that were left out, by why.",
    &[
        Label::bounded("input", 64),
        Label::fixed("reason", &["series_limit", "duplicate", "label_conflict", "reset"]),
    ],
)
.since(Since::Start);
static INPUT_FOLDED: Metric = Metric::counter(
    "agent_input_folded_samples_total",
    "Samples of an input that are shown as part of a series called `other`, past the limit of series.",
    INPUT,
)
.since(Since::Start);
static INPUT_CPU: Metric = Metric::counter(
    "agent_input_cpu_seconds_total",
    "CPU time of an input's collections; too short to be told apart by user and system.",
    INPUT,
)
.unit(Unit::Seconds)
.since(Since::Start);
static INPUT_SLOWDOWN: Metric = Metric::gauge(
    "agent_input_slowdown_ratio",
    "An input is collected at one in so many occasions, 1 unless the budget slows it.",
    INPUT,
);
static INPUT_SHED: Metric = Metric::gauge("agent_input_shed", "Whether the budget has shed an input.", INPUT);
static SCRAPES: Metric =
    Metric::counter("agent_scrapes_total", "Pages handed to scrapers.", &[]).since(Since::Start);
static COLLECTIONS: Metric = Metric::counter(
    "agent_collections_total",
    "Collections; scrapers that come while one runs share it.",
    &[],
)
.since(Since::Start);
static COLLECTION_SECONDS: Metric =
    Metric::gauge("agent_collection_duration_seconds", "How long the last collection took.", &[])
        .unit(Unit::Seconds);
static TICK_LATENESS: Metric = Metric::histogram(
    "agent_tick_lateness_seconds",
    "How long after their time the collections of inputs with a schedule began, by the thread that runs them.",
    Lane::LATENESS,
    &[Label::fixed("lane", LANES)],
)
.unit(Unit::Seconds)
.since(Since::Start);
static STUCK: Metric = Metric::gauge(
    "agent_stuck_threads",
    "Threads that an input keeps beyond its deadline; the states of inputs say which.",
    &[],
);
static LEFT_OUT: Metric = Metric::counter(
    "agent_pages_without_busy_inputs_total",
    "Times that an input was left out of a page because its scheduled collection took longer than the page could wait.",
    &[],
)
.since(Since::Start);
static CLASHES: Metric = Metric::gauge(
    "agent_clashing_families",
    "Families left out of the page because another one of the same name has another type.",
    &[],
);
static DUPLICATES: Metric = Metric::gauge(
    "agent_duplicate_series",
    "Series left out of the page because another input delivers the same one.",
    &[],
);
static HTTP_REFUSED: Metric = Metric::counter(
    "agent_http_connections_refused_total",
    "Connections refused because too many were open.",
    &[],
)
.since(Since::Start);
static HTTP_ACCEPT_ERRORS: Metric =
    Metric::counter("agent_http_accept_errors_total", "Connections that could not be accepted.", &[])
        .since(Since::Start);
static CPU_SECONDS: Metric = Metric::counter(
    "agent_cpu_seconds_total",
    "CPU time of the agent's own threads; what kernel programs take is charged to whoever triggers them.",
    &[Label::fixed("mode", &["user", "system"])],
)
.unit(Unit::Seconds)
.since(Since::Start);
static ENCODE_CPU: Metric =
    Metric::counter("agent_encode_cpu_seconds_total", "CPU time of encoding and compressing pages.", &[])
        .unit(Unit::Seconds)
        .since(Since::Start);
static RESIDENT: Metric =
    Metric::gauge("agent_resident_memory_bytes", "Resident memory of the agent.", &[]).unit(Unit::Bytes);
static COUNTING_SINCE: Metric = Metric::gauge(
    "agent_ebpf_counting_since_seconds",
    "Unix time at which the counters of a kernel object began at zero, by the clock of that moment.",
    &[Label::bounded("object", 32)],
)
.unit(Unit::Seconds);
static MAP_BYTES: Metric = Metric::gauge(
    "agent_ebpf_map_bytes",
    "Kernel memory of a map that a kernel program writes.",
    &[Label::bounded("map", 64)],
)
.unit(Unit::Bytes);
static MISSED_RUNS: Metric = Metric::counter(
    "agent_ebpf_missed_runs_total",
    "Runs of a kernel program that the kernel skipped because it was already running on that CPU.",
    &[Label::bounded("program", 64)],
)
.since(Since::Attach);
static SAMPLED_RUNS: Metric = Metric::counter(
    "agent_ebpf_sampled_runs_total",
    "Runs of a kernel program while the kernel's BPF statistics were on.",
    &[Label::bounded("program", 64)],
)
.since(Since::Start);
static SAMPLED_SECONDS: Metric = Metric::counter(
    "agent_ebpf_sampled_seconds_total",
    "CPU time of a kernel program while the kernel's BPF statistics were on.",
    &[Label::bounded("program", 64)],
)
.unit(Unit::Seconds)
.since(Since::Start);
static SAMPLED_WINDOW: Metric = Metric::counter(
    "agent_ebpf_sampled_window_seconds_total",
    "How long the kernel's BPF statistics were on: what the sampled figures are to be divided by.",
    &[],
)
.unit(Unit::Seconds)
.since(Since::Start);
static BUDGET_CPU_LIMIT: Metric =
    Metric::gauge("agent_budget_cpu_limit_ratio", "What the agent may take of one CPU.", &[])
        .unit(Unit::Ratio);
static BUDGET_CPU_USED: Metric = Metric::gauge(
    "agent_budget_cpu_used_ratio",
    "What the agent took of one CPU in the last window, with its kernel programs while they are timed.",
    &[],
)
.unit(Unit::Ratio);
static BUDGET_MEMORY_LIMIT: Metric =
    Metric::gauge("agent_budget_memory_limit_bytes", "Memory that the agent may hold.", &[])
        .unit(Unit::Bytes);
static BUDGET_MEMORY_USED: Metric = Metric::gauge(
    "agent_budget_memory_used_bytes",
    "Resident memory and kernel maps; pages of maps that were read are in both.",
    &[],
)
.unit(Unit::Bytes);
static BUDGET_STEPS: Metric = Metric::counter(
    "agent_budget_steps_total",
    "Times that the budget slowed an input, shed it, closed it for good, or gave something back.",
    &[Label::fixed("to", &["slower", "shed", "closed", "back"])],
)
.since(Since::Start);
static UNKNOWN: Metric = Metric::gauge(
    "agent_unknown_samples",
    "Figures of the agent that have no definition and were left out.",
    &[],
);

/// The input that reads the facade's recorder.
struct Agent {
    resident: Resident,
    text: Vec<u8>,
}

impl Agent {
    fn new() -> Self {
        Self { resident: Resident::new(), text: Vec::new() }
    }

    /// CPU time and memory of the process.
    fn note_process(&mut self) {
        for (mode, seconds) in
            ["user", "system"].into_iter().zip(process::cpu_seconds().into_iter().flatten())
        {
            gauge!("pitot_agent_cpu_seconds_total", "mode" => mode).set(seconds);
        }
        if let Some(bytes) = self.resident.bytes() {
            gauge!("pitot_agent_resident_memory_bytes").set(bytes);
        }
    }
}

impl Input for Agent {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        telemetry::for_each(|figures| deliver_figures(figures, acc));
        telemetry::for_each_lane(|lane| {
            acc.put(&TICK_LATENESS, &[lane.name.as_bytes()], &lane.lateness);
        });
        self.note_process();
        self.text.clear();
        telemetry::recorder()
            .render_to_write(&mut self.text)
            .map_err(|error| InputError::Other(error.to_string()))?;
        let mut unknown = 0u64;
        for line in parse::lines(&self.text).filter(|line| !line.starts_with(b"#")) {
            if !deliver(line, acc) {
                unknown += 1;
            }
        }
        acc.put(&UNKNOWN, &[], unknown);
        Ok(())
    }
}

/// Delivers the figures of one pipeline. These are most of the agent's own series, so they do not take the
/// way through the recorder, which would cost more than all other inputs together.
fn deliver_figures(figures: &Figures, acc: &mut dyn Accumulator) {
    let input = figures.input.as_bytes();
    let (state, losses) = (&figures.state, figures.losses);
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
        (&INPUT_SKIPPED, figures.pace.map_or(0, |pace| pace.skipped)),
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
    acc.put(&INPUT_FOLDED, &[input], losses.folded);
}

/// Delivers one rendered line; false when it has no definition or not the labels that it should have.
fn deliver(line: &[u8], acc: &mut dyn Accumulator) -> bool {
    let Some(split) = line.iter().rposition(|&b| b == b' ') else { return false };
    let (series, Some(value)) = (&line[..split], parse::float(&line[split + 1..])) else { return false };
    let (name, labels) = parse::split_once(series, b'{').unwrap_or((series, b"}"));
    let own = |metric: &&&Metric| name.strip_prefix(DEF.prefix.as_bytes()) == Some(metric.name.as_bytes());
    let Some(metric) = DEF.metrics.iter().find(own) else { return false };
    let values: Vec<Vec<u8>> = label_values(labels).collect();
    let borrowed: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    if borrowed.len() != metric.labels.len() {
        return false;
    }
    acc.put(metric, &borrowed, value);
    true
}

/// The values of `a="x",b="y"}`, with their escapes undone.
fn label_values(labels: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        let start = rest.windows(2).position(|pair| pair == b"=\"")? + 2;
        let mut value = Vec::new();
        let mut at = start;
        loop {
            match *rest.get(at)? {
                b'"' => break,
                b'\\' => {
                    at += 1;
                    let escaped = *rest.get(at)?;
                    value.push(if escaped == b'n' { b'\n' } else { escaped });
                }
                byte => value.push(byte),
            }
            at += 1;
        }
        rest = &rest[at + 1..];
        Some(value)
    })
}

#[cfg(test)]
mod tests;
