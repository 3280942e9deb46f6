//! The agent as a whole: opens inputs, starts the engine, serves its pages.

use std::{
    fmt::Write as _,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    bpf::{Guard, Loader, Pinning, Sampler},
    budget::{self, Keeper},
    config::Config,
    container::{self, Directory, discovery},
    engine::{Engine, Report},
    output::{Door, Format, Page, Refused, Reload, SinkStatus, Want, serve},
    pipeline::{Kit, Opening, Owners, Pipeline, build},
    pod::Helpers,
    privilege, sys,
    tasks::{self, Outputs, Reloader, Requests, Setup},
    telemetry,
};

/// How long a single collection waits for the first look at what runs here.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// What connections get to end after a signal.
const FAREWELL: Duration = Duration::from_millis(700);
/// What outputs get to write what waits.
const LAST_PAGES: Duration = Duration::from_millis(300);
/// Requests to reload that wait.
const RELOADS: usize = 4;
/// What a collection in progress gets to end after that.
const LAST_COLLECTION: Duration = Duration::from_millis(100);

/// Inputs that are open, and what keeps their kernel programs.
pub struct Opened {
    pub(crate) pipelines: Vec<Box<dyn Pipeline>>,
    /// What further ones are built with.
    pub(crate) kit: Kit,
    pub(crate) guard: Guard,
    /// It has the kernel time the programs, if that was asked for and there are any.
    pub(crate) sampler: Sampler,
    /// Why the kernel does not.
    pub(crate) untimed: Option<String>,
}

/// Opens every input of a configuration, then gives back privileges and memory that only this took. No
/// thread may have been started before. `timed` has the kernel time its programs from now on.
pub fn open(config: &Config, pinning: Pinning, timed: bool) -> Opened {
    telemetry::started();
    // First of all: little is open that the spawner could inherit.
    let helpers = start_helpers(config);
    allow_descriptors();
    let mut loader = if config.ebpf {
        Loader::new(&config.roots.sysfs, pinning)
    } else {
        Loader::off("kernel programs are switched off (--no-ebpf, or ebpf.enabled = false)")
    };
    let (publisher, containers) = Directory::new();
    let kit = Kit { owners: owners(config, &containers), containers, helpers, ..Kit::of(&config.roots) };
    let pipelines = config
        .pipelines
        .iter()
        .map(|pipeline| build(pipeline, &kit, Opening::AtStart(&mut loader)))
        .collect();
    loader.tidy();
    let guard = loader.into_guard();
    let mut sampler = Sampler::new(&config.roots.procfs);
    let untimed = if timed && !guard.programs.is_empty() {
        sampler.hold().err().map(|error| error.to_string())
    } else {
        None
    };
    if let Some(error) = &untimed {
        tracing::info!(error, "the kernel does not time its programs, so what they cost is not known");
    }
    telemetry::note_objects(&guard.objects);
    match privilege::drop_capabilities() {
        Ok(dropped) => tracing::debug!(dropped = dropped.join(" "), "gave capabilities back"),
        Err(error) => tracing::warn!(%error, "cannot give capabilities back"),
    }
    sys::trim_memory();
    if config.pods.enabled {
        // A thread keeps the privileges that it was started with.
        let sources = container::sources(&config.pods, &config.roots);
        let found = discovery::run(discovery::Limits::default(), config.roots.clone(), sources, publisher);
        if let Err(error) = kit.runner.spawn(found) {
            tracing::warn!(error, "containers are not looked for");
        }
    }
    Opened { pipelines, kit, guard, sampler, untimed }
}

/// Who names the owners of control groups, if anybody is to.
fn owners(config: &Config, containers: &Directory) -> Option<Owners> {
    let pods = &config.pods;
    (pods.enabled && pods.owner_labels).then(|| Owners::new(containers.clone(), pods.attributes()))
}

/// Starts the spawner if there is a check, or may come to be one. Otherwise nothing keeps privileges.
fn start_helpers(config: &Config) -> Result<Helpers, String> {
    if !config.needs_helpers() {
        return Err(
            "no privileges were kept, because there was no check at start: restart the agent".to_owned()
        );
    }
    let helpers = Helpers::start();
    if let Err(error) = &helpers {
        tracing::warn!(error, "there are no helpers, so no check is executed in a container");
    }
    helpers
}

/// Takes as many descriptors as the process may have: kernel programs and kept files are hundreds, and the lower
/// limit is a courtesy to programs that use `select`, which this one does not.
fn allow_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Collects once and returns the page and the state of every input.
pub async fn once(
    config: &Config,
    mut opened: Opened,
    format: Format,
) -> Result<(Page, Vec<Report>), String> {
    let engine = Engine::start(opened.pipelines, config.scrape_budget);
    let engine = engine.map_err(|error| format!("no thread: {error}"))?;
    telemetry::note_programs(&opened.guard.programs, &opened.guard.figures());
    if config.pods.enabled {
        opened.kit.containers.settled(FIRST_LOOK).await;
    }
    let want = Want { format, gzip: false, timeout: None, names: Vec::new() };
    let page = engine.scrape(want).await.map_err(|refused| refused.to_string())?;
    let reports = engine.reports();
    engine.stop(FAREWELL);
    Ok((page, reports))
}

/// Listens on every address of the configuration.
pub fn bind(config: &Config) -> Result<Vec<TcpListener>, String> {
    config.listen.iter().map(|address| bind_one(*address)).collect()
}

fn bind_one(address: SocketAddr) -> Result<TcpListener, String> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; something else serves there (node_exporter? another pitot?): stop it or choose with --listen"
            }
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
            _ => "",
        };
        format!("cannot listen on {address}: {error}{hint}")
    })
}

/// Where the configuration comes from, to read it again.
pub struct Origin {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Reads it, with the command line.
    pub read: tasks::Read,
}

/// Serves until SIGTERM or SIGINT, and keeps to the configuration as it changes.
pub async fn run(
    setup: Setup,
    origin: Origin,
    mut opened: Opened,
    listeners: Vec<TcpListener>,
) -> Result<(), String> {
    let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    // Where a port was left to the kernel, it is known by now.
    let addresses: Result<_, _> = listeners.iter().map(TcpListener::local_addr).collect();
    let listen: Vec<SocketAddr> = addresses.map_err(said("listener"))?;
    let config = &setup.config;
    // Not before: a thread that was started while inputs were opened would have kept their privileges.
    let outputs = Outputs::default();
    outputs.update(&config.outputs).map_err(said("output"))?;
    for (pipeline, known) in opened.pipelines.iter_mut().zip(setup.pipelines()) {
        pipeline.connect(outputs.connect(&known.outputs, &known.key));
    }
    let engine = Engine::start(opened.pipelines, config.scrape_budget).map_err(said("no thread"))?;
    let outlives = opened.guard.outlives();
    let keeper = Keeper::new(engine.clone(), &config.budget, opened.guard, opened.sampler);
    let (budget, window) = (keeper.board(), config.budget.window);
    let ebpf = config.ebpf;
    let reloader = Reloader::new(origin.read, setup, opened.kit, outputs.clone(), Box::new(engine.clone()));
    let (requests, asked) = mpsc::channel(RELOADS);
    let door = Arc::new(Agent {
        engine: engine.clone(),
        started: Instant::now(),
        listen,
        ebpf,
        budget,
        reload: reloader.board(),
        requests,
        outputs: outputs.clone(),
    });

    // Signals first, so that one that comes during the first collection is not lost.
    let mut terminate = signal(SignalKind::terminate()).map_err(said("no signal handler"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(said("no signal handler"))?;
    let hangup = signal(SignalKind::hangup()).map_err(said("no signal handler"))?;

    let (stop, stopped) = watch::channel(false);
    let mut doors = tokio::task::JoinSet::new();
    for listener in listeners {
        let address = listener.local_addr().map_err(said("listener"))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(said("listener"))?;
        doors.spawn(serve(listener, Arc::clone(&door) as Arc<dyn Door>, stopped.clone()));
        tracing::info!("listening on http://{address}/metrics (state of every input: /status)");
    }
    engine.keep_schedules();
    let farewell = if outlives {
        "stopping; kernel programs stay attached for the next start (`pitot clean` removes them)"
    } else {
        "stopping"
    };
    tokio::spawn(keeper.keep(window));
    tokio::spawn(introduce(engine.clone()));
    tokio::spawn(tasks::keep_current(reloader, origin.file, asked, hangup));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("{farewell}");
    // Nobody listens when the last connection has just ended.
    let _nobody = stop.send(true);
    let _slow = tokio::time::timeout(FAREWELL, doors.join_all()).await;
    engine.stop(LAST_COLLECTION);
    outputs.drain(LAST_PAGES);
    Ok(())
}

/// A first collection: series are born before the first scraper comes, and what does not work is said.
async fn introduce(engine: Engine) {
    let want = Want { format: Format::Text, gzip: false, timeout: None, names: Vec::new() };
    if let Err(error) = engine.scrape(want).await {
        tracing::warn!(%error, "the first collection failed");
    }
    let reports = engine.reports();
    let up = reports.iter().filter(|report| report.state.is_up()).count();
    let series: usize = reports.iter().map(|report| report.series).sum();
    // What is off is off on purpose.
    let (off, on): (Vec<_>, Vec<_>) = reports.iter().partition(|report| report.state.word() == "off");
    let off = if off.is_empty() { String::new() } else { format!(", {} are off", off.len()) };
    tracing::info!("{up} of {} inputs deliver {series} series{off}", on.len());
    for report in on.into_iter().filter(|report| !report.state.reason().is_empty()) {
        tracing::info!("{}: {}", report.input, report.state);
    }
}

/// A table of what each input is doing, for people.
pub fn table(reports: &[Report]) -> String {
    let mut text = format!("{:<12} {:<12} {:>7}  DETAIL\n", "INPUT", "STATE", "SERIES");
    for report in reports {
        let details: Vec<&str> =
            [report.state.variant(), report.state.reason()].into_iter().filter(|d| !d.is_empty()).collect();
        // Writing to a string cannot fail.
        let _ok = writeln!(
            text,
            "{:<12} {:<12} {:>7}  {}",
            report.input,
            report.state.word(),
            report.series,
            details.join(": ")
        );
    }
    text
}

/// What the HTTP door opens to.
struct Agent {
    engine: Engine,
    started: Instant,
    listen: Vec<SocketAddr>,
    ebpf: bool,
    budget: budget::Board,
    reload: tasks::Board,
    requests: Requests,
    outputs: Outputs,
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    uptime_seconds: f64,
    listen: &'a [SocketAddr],
    ebpf: bool,
    budget: budget::Status,
    config: tasks::Status,
    outputs: Vec<SinkStatus>,
    inputs: Vec<Report>,
}

impl Door for Agent {
    fn scrape(&self, want: Want) -> Pin<Box<dyn Future<Output = Result<Page, Refused>> + Send + '_>> {
        Box::pin(self.engine.scrape(want))
    }

    fn status(&self) -> Vec<u8> {
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            listen: &self.listen,
            ebpf: self.ebpf,
            budget: self.budget.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            config: self.reload.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            outputs: self.outputs.statuses(),
            inputs: self.engine.reports(),
        };
        serde_json::to_vec_pretty(&status).unwrap_or_else(|error| error.to_string().into_bytes())
    }

    fn landing(&self) -> String {
        let mut rows = String::from("<table><tr><th>input<th>state<th>series<th>detail</tr>");
        for report in self.engine.reports() {
            let detail = format!("{} {}", report.state.variant(), report.state.reason());
            let detail = detail.replace('&', "&amp;").replace('<', "&lt;");
            // Writing to a string cannot fail.
            let _ok = write!(
                rows,
                "<tr><td>{}<td>{}<td>{}<td>{detail}</tr>",
                report.input,
                report.state.word(),
                report.series
            );
        }
        rows + "</table>"
    }

    fn healthy(&self) -> Result<(), String> {
        self.engine.healthy()
    }

    fn reload(&self) -> Pin<Box<dyn Future<Output = Reload> + Send + '_>> {
        Box::pin(async {
            if !self.reload.lock().unwrap_or_else(PoisonError::into_inner).endpoint {
                return Reload::Off;
            }
            let (reply, answer) = oneshot::channel();
            if self.requests.try_send(reply).is_err() {
                return Reload::Unavailable("a reload is under way".to_owned());
            }
            let json = |value: serde_json::Value| format!("{value:#}\n").into_bytes();
            match answer.await {
                Ok(Ok(changes)) => Reload::Done(json(serde_json::json!({ "changes": changes }))),
                Ok(Err(problems)) => Reload::Refused(json(serde_json::json!({ "problems": problems }))),
                Err(_) => Reload::Unavailable("the agent is shutting down".to_owned()),
            }
        })
    }
}
