//! Measurements, for people.

use std::{net::TcpListener, time::Instant};

use pitot::pod::Target;

use crate::{
    Test,
    checks::{NET, PIDS},
    crew::{Crew, children, spawners},
    target::Running,
};

/// Run by `--ignored` only.
pub(crate) const MEASUREMENTS: &[Test] = &[("measure_warm_and_first_checks", measure)];

const WARM: u32 = 2000;
const FIRST: u32 = 50;

fn measure() {
    let crew = Crew::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let script = format!("dial {address}");
    assert_eq!(crew.ask(&Target::Host, &NET, &script), Ok(1.0));
    let (cpu, begun) = (all_cpu(), Instant::now());
    for _ in 0..WARM {
        crew.ask(&Target::Host, &NET, &script).unwrap();
    }
    let cpu = all_cpu() - cpu;
    eprintln!(
        "warm dial check: {:.0} us of CPU in agent, helper, spawner (and the listener), {:.0} us of time",
        cpu * 1e6 / f64::from(WARM),
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(WARM),
    );
    for needs in [&NET, &PIDS] {
        let mut took = Vec::new();
        let cpu = all_cpu();
        for _ in 0..FIRST {
            let target = Running::start(&["net", "pid"]);
            let begun = Instant::now();
            crew.ask(&target.target(), needs, "echo 1").unwrap();
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        eprintln!(
            "first check in a new target ({:?}): median {:?}, worst {:?}; CPU, targets included: {:.1} ms",
            needs.namespaces,
            took[took.len() / 2],
            took[took.len() - 1],
            (all_cpu() - cpu) * 1e3 / f64::from(FIRST),
        );
    }
}

/// CPU seconds of this process, its spawners and their helpers, ended ones included.
fn all_cpu() -> f64 {
    let mut processes = vec![std::process::id()];
    processes.extend(spawners());
    processes.extend(spawners().into_iter().flat_map(children));
    processes.into_iter().map(cpu).sum()
}

fn cpu(pid: u32) -> f64 {
    // Nanoseconds of the main thread, which is all there is of a helper.
    let own = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    own.split_whitespace().next().map_or(0.0, |nanos| nanos.parse::<f64>().unwrap() / 1e9)
}
