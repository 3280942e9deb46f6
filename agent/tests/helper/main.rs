//! Helpers as processes: where they are, what they can do, and what becomes of those that misbehave. This binary is
//! the agent, the spawner, the helpers and the targets, whichever it is called, so it has a `main` of its own.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "tests start processes and wait for them")]

mod bench;
mod checks;
mod churn;
mod crew;
mod fuse;
mod lies;
mod life;
mod locked;
mod network;
mod places;
mod real;
mod stuck;
mod target;

use std::{env, panic, process::ExitCode};

/// A test and its name.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    if let Some(code) = pitot::pod::spawner(checks::CHECKS) {
        return code;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(target::COMMAND) => {
            target::run(&arguments[1..]);
            return ExitCode::SUCCESS;
        }
        Some(locked::UNPRIVILEGED) => {
            locked::as_anybody();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let is_on = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let tests = [
        locked::TESTS,
        places::TESTS,
        real::TESTS,
        lies::TESTS,
        life::TESTS,
        stuck::TESTS,
        churn::TESTS,
        network::TESTS,
    ]
    .concat();
    let chosen = match (is_on("--ignored"), is_on("--include-ignored")) {
        (true, _) => bench::MEASUREMENTS.to_vec(),
        (_, true) => [&tests, bench::MEASUREMENTS].concat(),
        _ => tests,
    };
    let is_chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let chosen: Vec<Test> = chosen.into_iter().filter(|(name, _)| is_chosen(name)).collect();
    if is_on("--list") {
        for (name, _) in chosen {
            eprintln!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: entering namespaces takes root");
        return ExitCode::SUCCESS;
    }
    let failed = chosen.iter().filter(|(name, test)| {
        let passed = panic::catch_unwind(*test).is_ok();
        eprintln!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        !passed
    });
    match failed.count() {
        0 => ExitCode::SUCCESS,
        failures => {
            eprintln!("{failures} of {} tests failed", chosen.len());
            ExitCode::FAILURE
        }
    }
}
