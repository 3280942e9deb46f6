//! Helpers are where they were sent, or nowhere.

use std::sync::Arc;

use pitot::{container::Process, input::check::HelperError, pod::Target};

use crate::{
    Test,
    checks::{EXEC, FILES, NET, PIDS},
    crew::{self, Crew, LONG, processes},
    life::signal,
    target::{MOVES, Running, container},
};

pub(crate) const TESTS: &[Test] = &[
    ("each_target_answers_for_itself", each_target_answers_for_itself),
    ("exactly_the_namespaces_of_the_check_are_entered", exactly_the_namespaces_of_the_check_are_entered),
    ("a_target_in_the_network_of_the_host_is_entered", a_target_in_the_network_of_the_host_is_entered),
    ("what_is_not_as_expected_is_not_entered", what_is_not_as_expected_is_not_entered),
    ("a_network_that_is_another_one_now_is_not_entered", a_network_that_is_another_one_now_is_not_entered),
    ("a_sandbox_is_not_entered", a_sandbox_is_not_entered),
    ("the_agents_own_binary_is_a_spawner", the_agents_own_binary_is_a_spawner),
    ("programs_run_as_the_target_where_it_is", programs_run_as_the_target_where_it_is),
];

fn each_target_answers_for_itself() {
    let (crew, one, other) = (Crew::new(), Running::start(&["net"]), Running::start(&["net"]));
    assert_ne!(one.inode, other.inode);
    for _ in 0..3 {
        assert_eq!(crew.ask(&one.target(), &NET, "who"), Ok(one.inode as f64));
        assert_eq!(crew.ask(&other.target(), &NET, "who"), Ok(other.inode as f64));
    }
    assert_eq!(processes().len(), 2, "one helper serves many checks");
    assert!(
        matches!(crew.ask(&Target::Host, &NET, "who"), Err(HelperError::Failed(_))),
        "nobody answers here"
    );
}

fn exactly_the_namespaces_of_the_check_are_entered() {
    let target = Running::start(&["net", "pid", "mnt", "uts", "ipc"]);
    let own = std::process::id();
    let kinds = ["net", "pid", "mnt", "uts", "ipc", "user", "cgroup"];
    for (needs, entered) in [
        (&NET, &["net"][..]),
        (&FILES, &[]),
        (&PIDS, &["pid"]),
        (&EXEC, &["net", "pid", "mnt", "uts", "ipc"]),
    ] {
        let crew = Crew::new();
        crew.ask(&target.target(), needs, "echo 1").unwrap();
        let [helper] = processes()[..] else { panic!("one helper") };
        for kind in kinds {
            let expected = if entered.contains(&kind) { target.pid() } else { own };
            assert_eq!(crew::inode(helper, kind), crew::inode(expected, kind), "{kind} for {needs:?}");
        }
    }
    let crew = Crew::new();
    assert_eq!(crew.ask(&target.target(), &PIDS, "processes"), Ok(2.0), "the target and the helper");
    let comm = crew.samples(&target.target(), &FILES, "comm", LONG).unwrap();
    assert_eq!(comm.number("text", &[&crew::status(target.pid(), "Name")]), Some(1.0));
}

fn a_target_in_the_network_of_the_host_is_entered() {
    let (crew, target) = (Crew::new(), Running::start(&["mnt"]));
    assert_eq!(crew.ask(&target.target(), &NET, "echo 3"), Ok(3.0));
    let mut apart = target.container.clone();
    apart.host_network = Some(false);
    let error = crew.ask(&Target::Container(Arc::new(apart)), &PIDS, "echo 3").unwrap_err();
    assert!(matches!(&error, HelperError::Enter(why) if why.contains("host's network")), "{error}");
}

fn a_network_that_is_another_one_now_is_not_entered() {
    let (crew, mut target) = (Crew::new(), Running::start(&["net", MOVES]));
    assert_eq!(crew.ask(&target.target(), &NET, "who"), Ok(target.inode as f64));
    target.go();
    // The one that is there stays where it was sent; the next one finds another network than that one did.
    let [helper] = processes()[..] else { panic!("one helper") };
    signal(helper);
    let mut error = crew.ask(&target.target(), &NET, "who").unwrap_err();
    if matches!(error, HelperError::Died(_)) {
        error = crew.ask(&target.target(), &NET, "who").unwrap_err();
    }
    assert!(matches!(&error, HelperError::Enter(why) if why.contains("network namespace is")), "{error}");
}

fn what_is_not_as_expected_is_not_entered() {
    let (crew, mut target) = (Crew::new(), Running::start(&["net"]));
    let refused = |change: fn(&mut pitot::container::Container)| {
        let mut container = target.container.clone();
        change(&mut container);
        crew.ask(&Target::Container(Arc::new(container)), &NET, "who").unwrap_err()
    };
    let error = refused(|container| {
        container.process =
            container.process.map(|process| Process { started: process.started + 1, ..process });
    });
    assert!(matches!(error, HelperError::NoTarget(_)), "another start is another process: {error}");
    let error = refused(|container| "kubepods/another".clone_into(&mut container.cgroup));
    assert!(matches!(error, HelperError::Enter(_)), "another control group: {error}");
    let error = refused(|container| container.process = None);
    assert!(matches!(error, HelperError::NoTarget(_)), "{error}");
    let error = refused(|container| container.process = Some(Process { pid: 1 << 30, started: 1 }));
    assert!(matches!(error, HelperError::NoTarget(_)), "{error}");
    crew.settle(0);
    assert_eq!(crew.ask(&target.target(), &NET, "who"), Ok(target.inode as f64));
    target.end();
    let gone = Target::Container(Arc::new(target.container.clone()));
    let error = crew.ask(&gone, &NET, "who").unwrap_err();
    assert!(matches!(error, HelperError::NoTarget(_)), "{error}");
    crew.settle(0);
}

fn a_sandbox_is_not_entered() {
    let crew = Crew::new();
    let mut sandboxed = container(std::process::id());
    sandboxed.sandboxed = Some("runs under gVisor".to_owned());
    let error = crew.ask(&Target::Container(Arc::new(sandboxed)), &NET, "who").unwrap_err();
    assert_eq!(error, HelperError::Unsupported("runs under gVisor".to_owned()));
    assert_eq!(crew.helpers.running(), 0, "nothing was started for it");
}

fn the_agents_own_binary_is_a_spawner() {
    use pitot::{input::check::CHECKS, input::check::Request, pod::Helpers};
    let crew = Crew::new();
    let target = Running::start(&["net"]);
    let agent = std::path::Path::new(env!("CARGO_BIN_EXE_pitot"));
    let helpers = Helpers::start_from(agent, CHECKS, 8).unwrap();
    for known in CHECKS {
        let request = Request { input: known.def.name.to_owned(), body: b"{}".to_vec(), timeout: LONG };
        // It is the check that decides what it makes of such a request.
        let result = crew.wait(helpers.execute(&target.target(), &NET, &request));
        assert!(matches!(result, Ok(_) | Err(HelperError::Failed(_))), "{}: {result:?}", known.def.name);
    }
    assert_eq!(helpers.running(), 1);
}

fn programs_run_as_the_target_where_it_is() {
    let (crew, target) = (Crew::new(), Running::start(&["net", "pid", "mnt", "uts", "ipc", "user=4321"]));
    let ran = |script: &str| crew.samples(&target.target(), &EXEC, &format!("run {script}"), LONG).unwrap();
    let said = |script: &str| {
        let memory = ran(script);
        let sample =
            memory.samples().iter().find(|sample| sample.name == "text").unwrap().labels[0].1.clone();
        (sample, memory.number("value", &[]).unwrap())
    };
    let (identity, code) = said("echo $(id -u) $(id -g) $(id -G) $$; exit 3");
    assert!(identity.starts_with("4321 4321 4321 4322 "), "{identity}");
    assert_eq!(code.to_string(), "3");
    assert_eq!(said("ls /proc/self/fd | tr '\\n' ' '").0, "0 1 2 3", "and the last is the list itself");
    assert_eq!(said("unshare --user true 2>/dev/null || echo refused").0, "refused");
    assert_eq!(processes().len(), 1);
}
