//! What the agent knows about itself: the board of the pipelines' figures, and the figures of the process,
//! which go through the `metrics` facade into metrics-exporter-prometheus. `input::agent` exports both.

mod pace;

use std::{
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};

use metrics::{Counter, Gauge, counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub(crate) use self::pace::{Lane, Pace, for_each_lane, open_lane};
use crate::{
    bpf::{self, Program, Sampler},
    pipeline::{Losses, Quarantine, State},
};

/// The recorder behind the facade, installed once for the process.
pub(crate) fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // Another recorder may have been installed by a program that uses the library: it keeps the figures.
        if let Err(error) = metrics::set_global_recorder(recorder) {
            tracing::warn!(%error, "the agent's own figures go to another recorder");
        }
        handle
    })
}

/// The figures of one pipeline, kept by the engine and read by the agent's own input.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) input: String,
    /// What is shown.
    pub(crate) state: State,
    /// The pipeline's own, without what the budget makes of it.
    pub(crate) own_state: State,
    /// It is collected at one in so many occasions; 0 when it is shed.
    pub(crate) every: u32,
    /// CPU time of its collections.
    pub(crate) cpu: Duration,
    /// Last duration.
    pub(crate) took: Duration,
    pub(crate) last_success: Option<Instant>,
    pub(crate) series: usize,
    pub(crate) errors: u64,
    pub(crate) timeouts: u64,
    pub(crate) panics: u64,
    pub(crate) losses: Losses,
    /// Of which those of pipelines that had its place before.
    pub(crate) earlier_losses: Losses,
    /// Ticks of its schedule; none while it has none.
    pub(crate) pace: Option<Pace>,
    /// It is left alone because it panicked.
    pub(crate) quarantine: Option<Quarantine>,
}

/// Figures that are written after every collection. Locked for moments only.
pub(crate) type Shared = Arc<Mutex<Figures>>;

/// Where the agent's own input finds the figures of all pipelines that live.
static BOARD: Mutex<Vec<Weak<Mutex<Figures>>>> = Mutex::new(Vec::new());

/// Puts the figures of a new pipeline on the board.
pub(crate) fn register(figures: Figures) -> Shared {
    let shared = Arc::new(Mutex::new(figures));
    let mut board = BOARD.lock().unwrap_or_else(PoisonError::into_inner);
    board.retain(|other| other.strong_count() > 0);
    board.push(Arc::downgrade(&shared));
    shared
}

/// Takes the figures of a pipeline that was removed off the board: a thread that is stuck in it may hold them.
pub(crate) fn unregister(figures: &Shared) {
    let mut board = BOARD.lock().unwrap_or_else(PoisonError::into_inner);
    board.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(figures)));
}

/// Visits the figures of every pipeline that lives.
pub(crate) fn for_each(mut visit: impl FnMut(&Figures)) {
    let board = BOARD.lock().unwrap_or_else(PoisonError::into_inner);
    for figures in board.iter().filter_map(Weak::upgrade) {
        visit(&figures.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The figures of the engine.
pub(crate) struct EngineMeters {
    scrapes: Counter,
    collections: Counter,
    duration: Gauge,
    encoding: Gauge,
    clashes: Gauge,
    duplicates: Gauge,
    stuck: Gauge,
    left_out: Counter,
}

impl EngineMeters {
    pub(crate) fn new() -> Self {
        recorder();
        gauge!("pitot_agent_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Self {
            scrapes: counter!("pitot_agent_scrapes_total"),
            collections: counter!("pitot_agent_collections_total"),
            duration: gauge!("pitot_agent_collection_duration_seconds"),
            encoding: gauge!("pitot_agent_encode_cpu_seconds_total"),
            clashes: gauge!("pitot_agent_clashing_families"),
            duplicates: gauge!("pitot_agent_duplicate_series"),
            stuck: gauge!("pitot_agent_stuck_threads"),
            left_out: counter!("pitot_agent_pages_without_busy_inputs_total"),
        }
    }

    pub(crate) fn collected(&self, took: Duration) {
        self.collections.increment(1);
        self.duration.set(took.as_secs_f64());
    }

    pub(crate) fn encoded(&self, cpu: Duration) {
        self.encoding.increment(cpu.as_secs_f64());
    }

    pub(crate) fn scraped(&self) {
        self.scrapes.increment(1);
    }

    /// Threads that were given up and have not come back.
    pub(crate) fn stuck(&self, threads: usize) {
        self.stuck.set(threads as f64);
    }

    /// An input was not in a page because its collection went on.
    pub(crate) fn left_out(&self, inputs: usize) {
        self.left_out.increment(inputs as u64);
    }

    pub(crate) fn layout(&self, clashes: u64, duplicates: u64) {
        self.clashes.set(clashes as f64);
        self.duplicates.set(duplicates as f64);
    }
}

/// When the agent began to count: the first time that anybody asks, which its start does.
pub fn started() -> SystemTime {
    static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
    *STARTED
}

/// Exports since when the kernel objects count.
pub fn note_objects(objects: &[(&'static str, SystemTime)]) {
    recorder();
    for (object, since) in objects {
        if let Ok(since) = since.duration_since(SystemTime::UNIX_EPOCH) {
            gauge!("pitot_agent_ebpf_counting_since_seconds", "object" => *object).set(since.as_secs_f64());
        }
    }
}

/// Exports what the kernel says about the agent's programs and maps.
pub fn note_programs(programs: &[Program], figures: &[bpf::Figures]) {
    recorder();
    for (program, figures) in programs.iter().zip(figures) {
        if program.is_map {
            gauge!("pitot_agent_ebpf_map_bytes", "map" => program.name).set(figures.memlock as f64);
        } else {
            counter!("pitot_agent_ebpf_missed_runs_total", "program" => program.name)
                .absolute(figures.missed);
        }
    }
}

/// Exports what the programs cost while the kernel's statistics were on.
pub(crate) fn note_sampled(sampler: &Sampler) {
    for program in sampler.sampled() {
        counter!("pitot_agent_ebpf_sampled_runs_total", "program" => program.name).absolute(program.runs);
        gauge!("pitot_agent_ebpf_sampled_seconds_total", "program" => program.name)
            .set(program.nanos as f64 / 1e9);
    }
    gauge!("pitot_agent_ebpf_sampled_window_seconds_total").set(sampler.window().as_secs_f64());
}

/// Exports how many tasks there are in each state, and whether what runs is what the configuration says.
pub(crate) fn note_tasks(tasks: impl IntoIterator<Item = (&'static str, usize)>, is_current: bool) {
    recorder();
    for (state, count) in tasks {
        gauge!("pitot_agent_tasks", "state" => state).set(count as f64);
    }
    gauge!("pitot_agent_config_current").set(if is_current { 1.0 } else { 0.0 });
}
