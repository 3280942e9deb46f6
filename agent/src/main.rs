//! The pitot agent.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use pitot::{
    bpf::{self, Pinning},
    cli::{self, Args, Command, EXIT_CONFIG, EXIT_FAILED},
    config::Config,
    cost, explain,
    input::check::CHECKS,
    output::Format,
    pod,
    server::{self, Origin},
    tasks::Setup,
};

fn main() -> ExitCode {
    // A copy of this program that was started for something else.
    if let Some(code) = pod::spawner(CHECKS) {
        return code;
    }
    let args = Args::parse();
    log_to_stderr(args.options.verbose);
    let command = args.command_or_run();
    if let Command::Generate { document } = command {
        return print(cli::generate(document).as_bytes());
    }
    let config = match cli::config(&args) {
        Ok(config) => config,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let done = match command {
        Command::Run => run(Setup::new(config), args),
        Command::Once { format } => once(&whole(config), format),
        Command::Check { json } => check(&Setup::new(config), json),
        Command::Inputs { json, cost: true, seconds } => cost(&whole(config), json, seconds),
        Command::Inputs { json, .. } => inputs(&whole(config), json),
        Command::Clean => clean(&config),
        Command::Generate { .. } => Ok(ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        complain(&format!("pitot: {error}"));
        ExitCode::from(EXIT_FAILED)
    })
}

fn log_to_stderr(verbose: bool) {
    let level = if verbose { tracing::Level::DEBUG } else { tracing::Level::INFO };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_max_level(level)
        // It would say on stderr that it cannot write to stderr, and panic where it does: in the worker, say.
        .log_internal_errors(false)
        .init();
}

/// Says what is wrong. `eprintln` would panic where nobody can be told.
fn complain(what: &str) {
    let _unheard = writeln!(std::io::stderr(), "{what}");
}

/// One thread for everything that waits; collecting has its own.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))
}

/// What runs, with time enough for all of it.
fn whole(config: Config) -> Config {
    Setup::new(config).whole().unhurried()
}

fn run(setup: Setup, args: Args) -> Result<ExitCode, String> {
    let config = setup.whole();
    // The address is the first thing that two agents on a host disagree about: before anything is loaded.
    let listeners = server::bind(&config)?;
    let opened = server::open(&config, Pinning::Own(config.pin.clone()), true);
    let runtime = runtime()?;
    let origin =
        Origin { file: args.options.config.clone(), read: Box::new(move || cli::config_again(&args)) };
    runtime.block_on(server::run(setup, origin, opened, listeners))?;
    // A thread that hangs in the kernel must not hold up the exit.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

fn once(config: &Config, format: cli::Format) -> Result<ExitCode, String> {
    let opened = server::open(config, Pinning::Look(config.pin.clone()), false);
    let format = match format {
        cli::Format::Text => Format::Text,
        cli::Format::Openmetrics => Format::OpenMetrics,
        cli::Format::Protobuf => Format::Protobuf,
    };
    let (page, _) = runtime()?.block_on(server::once(config, opened, format))?;
    Ok(print(&page.body))
}

fn check(setup: &Setup, json: bool) -> Result<ExitCode, String> {
    let config = setup.whole();
    let opened = server::open(&config.clone().unhurried(), Pinning::Ignore, false);
    let (_, reports) =
        runtime()?.block_on(server::once(&config.clone().unhurried(), opened, Format::Text))?;
    let plan = explain::Plan::new(setup, &reports);
    let printed = if json {
        let text = serde_json::to_string_pretty(&plan).map_err(|error| error.to_string())?;
        print((text + "\n").as_bytes())
    } else {
        print(plan.to_string().as_bytes())
    };
    match plan.verdict() {
        Ok(()) => Ok(printed),
        Err(why) => Err(why),
    }
}

fn inputs(config: &Config, json: bool) -> Result<ExitCode, String> {
    let opened = server::open(config, Pinning::Look(config.pin.clone()), false);
    let (_, reports) = runtime()?.block_on(server::once(config, opened, Format::Text))?;
    if json {
        let text = serde_json::to_string_pretty(&reports).map_err(|error| error.to_string())?;
        Ok(print((text + "\n").as_bytes()))
    } else {
        Ok(print(server::table(&reports).as_bytes()))
    }
}

fn cost(config: &Config, json: bool, seconds: u64) -> Result<ExitCode, String> {
    let opened = server::open(config, Pinning::Look(config.pin.clone()), true);
    let costs = runtime()?.block_on(cost::measure(config, opened, Duration::from_secs(seconds)))?;
    if let Some(why) = &costs.untimed {
        complain(&format!("what kernel programs take is not known: {why}"));
    }
    if json {
        let text = serde_json::to_string_pretty(&costs).map_err(|error| error.to_string())?;
        Ok(print((text + "\n").as_bytes()))
    } else {
        Ok(print(costs.table().as_bytes()))
    }
}

fn clean(config: &Config) -> Result<ExitCode, String> {
    let removed = bpf::clean(&config.pin)?;
    let said = if removed.is_empty() {
        format!("nothing is pinned below {}\n", config.pin.display())
    } else {
        removed.iter().fold(String::new(), |said, name| said + "removed " + name + "\n")
    };
    Ok(print(said.as_bytes()))
}

/// Prints bytes; a reader that has gone (`| head`) is no error.
fn print(bytes: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(&format!("pitot: cannot write: {error}"));
            ExitCode::from(EXIT_FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}
