//! What the agent says about itself.
//!
//! Figures of the process come from metrics-exporter-prometheus as text and are read back, so that they are
//! in the page in every format; that allocates, and this is the one input whose cycle does. The figures of
//! the pipelines, most of the series, are read where the engine keeps them.

mod containers;
mod inputs;
mod helpers;
mod outputs;

use metrics::gauge;

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, Since, Source, Unit},
    engine::LANES,
    process::{self, Resident},
    source::parse,
    telemetry::{self, Lane},
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
        &inputs::INPUT_UP,
        &inputs::INPUT_INFO,
        &inputs::INPUT_DURATION,
        &inputs::INPUT_AGE,
        &inputs::INPUT_SERIES,
        &inputs::INPUT_ERRORS,
        &inputs::INPUT_TIMEOUTS,
        &inputs::INPUT_PANICS,
        &inputs::INPUT_TICKS,
        &inputs::INPUT_SKIPPED,
        &inputs::INPUT_HELD_UP,
        &inputs::INPUT_INTERVAL,
        &inputs::INPUT_DISTANCE,
        &inputs::INPUT_LATENESS,
        &inputs::INPUT_QUARANTINE,
        &inputs::INPUT_DROPPED,
        &inputs::INPUT_FOLDED,
        &inputs::INPUT_CPU,
        &inputs::INPUT_SLOWDOWN,
        &inputs::INPUT_SHED,
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
        &outputs::WRITTEN,
        &outputs::DROPPED,
        &outputs::ERRORS,
        &helpers::RUNNING,
        &helpers::STUCK,
        &helpers::STARTED,
        &helpers::SPAWNER_REPLACEMENTS,
        &helpers::KILLED,
        &helpers::REQUESTS,
        &helpers::SECONDS,
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

static BUILD_INFO: Metric =
    Metric::info("agent_build_info", "Version of the running agent.", &[Label::bounded("version", 1)]);
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
        telemetry::for_each(|figures| inputs::deliver(figures, acc));
        telemetry::for_each_lane(|lane| {
            acc.put(&TICK_LATENESS, &[lane.name.as_bytes()], &lane.lateness);
        });
        self.note_process();
        self.text.clear();
        telemetry::recorder().render_to_write(&mut self.text).map_err(InputError::other)?;
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
