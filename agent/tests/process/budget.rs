//! An agent over its budget: what it slows, sheds and detaches, and that this is said.

use std::{
    fs,
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    agent::{Agent, BINARY, Place},
    host::can_run,
    pins, raw,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn wait(agent: &Agent, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "still not: {what}\n{}", agent.log());
        thread::sleep(Duration::from_millis(50));
    }
}

/// The steps of the budget in the log, from one input's point of view.
fn steps(agent: &Agent, input: &str) -> Vec<String> {
    let log = agent.log();
    let lines =
        log.lines().filter(|line| line.contains("in the budget: ") || line.contains("over the budget: "));
    let own = lines.filter(|line| line.contains(&format!("input=\"{input}\"")));
    own.filter_map(|line| Some(line.split("budget: ").nth(1)?.split(';').next()?.to_owned())).collect()
}

fn gauge(agent: &Agent, name: &str) -> Option<f64> {
    agent.scrape().get(name).copied()
}

#[test]
fn an_input_made_dear_is_slowed_then_shed_and_the_agent_goes_on() {
    let place = Place::new("budget");
    let config = "[budget]\ncpu_percent = 0.05\nwindow = \"100ms\"\n[input.netstat]\ninterval = \"10ms\"\n";
    let arguments = ["--no-ebpf", "--input", "netstat,loadavg,agent", "--listen", "127.0.0.1:0"];
    let agent = place.serve(place.command(config, &arguments));
    wait(&agent, "netstat is shed", || agent.state("netstat")[2].starts_with("shed"));
    assert_eq!(agent.state("netstat")[0], "off");
    let expected = [2, 4, 8].map(|ratio| format!("collected at one in {ratio} occasions"));
    let seen = steps(&agent, "netstat");
    assert_eq!(seen[..3], expected);
    assert_eq!(seen[3], "shed");

    let page = agent.scrape();
    assert!(page.keys().all(|series| !series.starts_with("node_netstat")), "{page:?}");
    assert_eq!(page.get("pitot_agent_input_shed{input=\"netstat\"}").copied(), Some(1.0));
    assert_eq!(page.get("pitot_agent_input_up{input=\"netstat\"}").copied(), Some(0.0));
    assert_eq!(page.get("pitot_agent_input_shed{input=\"agent\"}").copied(), Some(0.0));
    assert_eq!(page.get("pitot_agent_input_slowdown_ratio{input=\"agent\"}").copied(), Some(1.0));
    assert_eq!(page.get("pitot_agent_budget_cpu_limit_ratio").copied(), Some(0.0005));
    assert!(page["pitot_agent_budget_steps_total{to=\"slower\"}"] >= 3.0);
    assert!(page["pitot_agent_input_cpu_seconds_total{input=\"netstat\"}"] > 0.0);
    assert!(page["pitot_agent_encode_cpu_seconds_total"] > 0.0);
    let status = agent.status();
    let restricted = status["budget"]["restricted"].as_array().unwrap();
    assert!(restricted.iter().any(|one| one["input"] == "netstat" && one["how"] == "shed"), "{status}");
}

#[test]
fn scraped_without_pause_it_slows_down_and_recovers() {
    let place = Place::new("scraped");
    let config = "[budget]\ncpu_percent = 5\nwindow = \"100ms\"\n";
    let inputs = "cpu,stat,meminfo,vmstat,netdev,netstat,loadavg,agent";
    let agent =
        place.serve(place.command(config, &["--no-ebpf", "--input", inputs, "--listen", "127.0.0.1:0"]));
    let restricted = || agent.status()["budget"]["restricted"].as_array().map_or(0, Vec::len);
    wait(&agent, "it is slowed", || {
        (0..20).for_each(|_| drop(agent.scrape()));
        restricted() > 0
    });
    // It is quiet now, but for this question.
    let start = Instant::now();
    while restricted() > 0 {
        assert!(start.elapsed() < PATIENCE, "{}", agent.log());
        thread::sleep(Duration::from_millis(500));
    }
    let log = agent.log();
    assert!(log.contains("room in the budget: collected in full"), "{log}");
    let page = agent.scrape();
    for input in inputs.split(',') {
        assert_eq!(
            page.get(&format!("pitot_agent_input_slowdown_ratio{{input=\"{input}\"}}")).copied(),
            Some(1.0),
            "{log}"
        );
        assert_eq!(
            page.get(&format!("pitot_agent_input_up{{input=\"{input}\"}}")).copied(),
            Some(1.0),
            "{log}"
        );
    }
    assert!(page["pitot_agent_budget_steps_total{to=\"back\"}"] >= 1.0);
}

#[test]
fn a_second_agent_leaves_the_programs_of_the_first_alone() {
    if !can_run() {
        return;
    }
    let place = Place::new("guest");
    let first = place.start("", &[]);
    let config = "[budget]\ncpu_percent = 0.01\nwindow = \"100ms\"\nmemory_mib = 1\nkernel_programs = true\n";
    let second = place.start(config, &[]);
    // It is collected by being asked.
    let shed = "pitot_agent_budget_steps_total{to=\"shed\"}";
    wait(&second, "it sheds something", || gauge(&second, shed) > Some(0.0));
    assert!(!second.log().contains("until the agent is started again"), "{}", second.log());
    assert_eq!(first.state("syscall"), ["running", "tp_btf", ""]);
    pins::assert_whole(&place.pins);
}

/// An agent with one input that has kernel programs, a budget for them, and a load that breaks it.
fn storm(name: &str, input: &str, load: impl Fn() + Sync) {
    if !can_run() {
        return;
    }
    let place = Place::new(name);
    let config = "[budget]\ncpu_percent = 4\nwindow = \"200ms\"\nkernel_programs = true\n";
    let inputs = format!("{input},loadavg,agent");
    let arguments = ["--input", &inputs, "--listen", "127.0.0.1:0"];
    let agent = place.serve(place.command(config, &arguments));
    assert_eq!(agent.state(input), ["running", "tp_btf", ""]);
    let programs = pins::programs(&pins::objects(&place.pins)[input]);
    assert!(programs.iter().all(|program| pins::links_of(*program) == 1));

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    load();
                }
            });
        }
        // In any case, or the test would never end.
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait(&agent, "its programs are detached", || agent.state(input)[2].contains("detached"));
        }));
        over.store(true, Ordering::Relaxed);
        waited.unwrap();
    });
    assert_eq!(agent.state(input)[0], "off");
    assert_eq!(steps(&agent, input), ["shed until the agent is started again"]);
    wait(&agent, "no program is attached", || programs.iter().all(|program| pins::links_of(*program) == 0));
    assert!(!pins::objects(&place.pins).contains_key(input));
    let page = agent.scrape();
    assert!(page.keys().all(|series| !series.starts_with(&format!("pitot_{input}_"))), "{page:?}");
    assert!(page["pitot_agent_ebpf_sampled_window_seconds_total"] > 0.0);
    assert_eq!(page.get("pitot_agent_budget_steps_total{to=\"closed\"}").copied(), Some(1.0));
    assert_eq!(agent.state("loadavg")[0], "running");

    // The next one has the privileges of its start.
    drop(agent);
    let agent = place.serve(place.command("", &arguments));
    assert_eq!(agent.state(input), ["running", "tp_btf", ""]);
}

#[test]
fn a_storm_of_system_calls_costs_their_counting() {
    storm("calls", "syscall", || {
        (0..1_000).for_each(|_| {
            nix::unistd::getppid();
        });
    });
}

#[test]
fn a_storm_of_context_switches_costs_their_counting() {
    storm("switches", "sched", || {
        let (mut there, mut back) = (io::pipe().unwrap(), io::pipe().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| echo(&mut there.0, &mut back.1));
            for _ in 0..1_000 {
                there.1.write_all(b"x").unwrap();
                back.0.read_exact(&mut [0]).unwrap();
            }
        });
    });
}

fn echo(from: &mut PipeReader, to: &mut PipeWriter) {
    for _ in 0..1_000 {
        let mut byte = [0];
        from.read_exact(&mut byte).unwrap();
        to.write_all(&byte).unwrap();
    }
}

#[test]
fn programs_are_timed_for_a_slice_of_the_start_only() {
    if !can_run() {
        return;
    }
    let place = Place::new("slice");
    let agent = place.start("", &[]);
    let window = "pitot_agent_ebpf_sampled_window_seconds_total";
    wait(&agent, "a slice", || gauge(&agent, window) > Some(0.0));
    (0..100).for_each(|_| raw::call(libc::SYS_nfsservctl));
    let page = agent.scrape();
    assert!(page["pitot_agent_ebpf_sampled_runs_total{program=\"sys_enter\"}"] > 0.0);
    assert!(page["pitot_agent_ebpf_sampled_seconds_total{program=\"sys_enter\"}"] > 0.0);
    wait(&agent, "nothing keeps the statistics on", || {
        agent.open_files().iter().all(|file| !file.contains("bpf-stats"))
    });
    // Unless the host has them on for good.
    if fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").unwrap().trim() == "0" {
        assert_eq!(gauge(&agent, window), Some(page[window]));
    }
}

#[test]
fn without_root_the_cost_of_collecting_is_printed_and_what_the_rest_needs() {
    if !can_run() {
        return;
    }
    let place = Place::new("poor");
    let binary = place.path().join("pitot");
    fs::copy(BINARY, &binary).unwrap();
    for path in [place.path(), &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = place.command_of(&binary, "", &["inputs", "--cost", "--input", "syscall,loadavg"]);
    let output = command.uid(65534).gid(65534).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("what kernel programs take is not known") && said.contains("needs root"), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    let of = |input: &str| table.lines().find(|line| line.starts_with(input)).unwrap();
    assert!(of("syscall").contains("unsupported"), "{table}");
    let collect: f64 = of("loadavg").split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(collect > 0.0, "{table}");
}

#[test]
fn the_cost_of_inputs_is_printed() {
    if !can_run() {
        return;
    }
    let place = Place::new("cost");
    let agent = place.start("", &[]);
    let arguments = ["inputs", "--cost", "--seconds", "1", "--json", "--input", "syscall,loadavg"];
    let output = place.command("", &arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let costs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(costs["timed_seconds"].as_f64().unwrap() >= 1.0, "{costs}");
    let loadavg = &costs["inputs"].as_array().unwrap().iter().find(|one| one["input"] == "loadavg").unwrap();
    assert!(loadavg["collect_us"].as_f64().unwrap() > 0.0, "{costs}");
    let syscall = &costs["inputs"].as_array().unwrap().iter().find(|one| one["input"] == "syscall").unwrap();
    let program = &syscall["programs"][0];
    assert_eq!(program["program"], "sys_enter");
    assert!(program["runs_per_second"].as_f64().unwrap() > 0.0, "{costs}");
    assert!(program["ns_per_run"].as_f64().unwrap() > 0.0 && syscall["map_kib"].as_f64().unwrap() > 0.0);
    // It looked at the programs of the agent, which still has them.
    assert_eq!(agent.state("syscall"), ["running", "tp_btf", ""]);
    pins::assert_whole(&place.pins);
}
