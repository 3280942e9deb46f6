//! How helpers end.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pitot::{input::check::HelperError, pod::Target};

use crate::{
    Test,
    checks::{EXEC, FILES, NET, PIDS, request},
    crew::{Crew, children, keepers, processes, spawners},
    target::Running,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_helper_that_hangs_is_killed_at_the_deadline", a_helper_that_hangs_is_killed_at_the_deadline),
    ("what_a_program_has_started_ends_with_it", what_a_program_has_started_ends_with_it),
    ("what_a_program_has_started_ends_with_the_spawner", what_a_program_has_started_ends_with_the_spawner),
    ("a_helper_that_is_killed_is_replaced", a_helper_that_is_killed_is_replaced),
    ("a_helper_leaves_with_its_target", a_helper_leaves_with_its_target),
    ("requests_of_a_target_share_few_helpers", requests_of_a_target_share_few_helpers),
    ("there_are_never_more_helpers_than_there_may_be", there_are_never_more_helpers_than_there_may_be),
    ("who_gives_up_waiting_leaves_nothing_behind", who_gives_up_waiting_leaves_nothing_behind),
    ("a_spawner_that_ends_is_replaced", a_spawner_that_ends_is_replaced),
    ("helpers_end_with_the_keeper_and_with_the_agent", helpers_end_with_the_keeper_and_with_the_agent),
];

pub(crate) fn signal(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

fn a_helper_that_hangs_is_killed_at_the_deadline() {
    let (crew, target) = (Crew::new(), Running::start(&["net", "pid"]));
    for needs in [&NET, &PIDS] {
        let timeout = Duration::from_millis(200);
        let begun = Instant::now();
        let error = crew.samples(&target.target(), needs, "hang", timeout).unwrap_err();
        assert_eq!(error, HelperError::Timeout(timeout));
        assert!(
            begun.elapsed() >= timeout && begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        crew.settle(0);
        assert_eq!(crew.ask(&target.target(), needs, "echo 2"), Ok(2.0));
        crew.ask(&target.target(), needs, "panic").unwrap_err();
        crew.settle(0);
    }
}

fn what_a_program_has_started_ends_with_it() {
    let (crew, target) = (Crew::new(), Running::start(&["net", "pid", "mnt"]));
    crew.ask(&target.target(), &PIDS, "echo 1").unwrap();
    let before = running_in(target.pid());
    let script = "run (sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' & setsid sleep 1000 & sleep 1000)";
    let error = crew.samples(&target.target(), &EXEC, script, Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error, HelperError::Timeout(_)), "{error}");
    crew.settle(1);
    let begun = Instant::now();
    // How many zombies stay with the first process of the container is a matter of how busy this machine is.
    while running_in(target.pid()) > before {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} run", running_in(target.pid()));
    }
}

fn what_a_program_has_started_ends_with_the_spawner() {
    let (crew, target) = (Crew::new(), Running::start(&["net", "pid", "mnt"]));
    let before = running_in(target.pid());
    let script = "run sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' & setsid sleep 1000";
    let (target_of, request) = (target.target(), request(script, Duration::from_secs(20)));
    crew.wait(async {
        // Whether it can still say that its program was killed is a matter of who is faster.
        let ((), _result) = tokio::join!(
            async {
                while running_in(target.pid()) < before + 4 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                for spawner in spawners() {
                    kill(Pid::from_raw(i32::try_from(spawner).unwrap()), Signal::SIGTERM).unwrap();
                }
            },
            crew.helpers.execute(&target_of, &EXEC, &request)
        );
    });
    drop(crew);
    assert!(keepers().is_empty());
    let begun = Instant::now();
    while running_in(target.pid()) > before {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} run", running_in(target.pid()));
    }
}

/// Processes in the PID namespace of this one, zombies aside.
fn running_in(pid: u32) -> usize {
    let namespace = crate::crew::inode(pid, "pid");
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        let link = std::fs::metadata(format!("/proc/{pid}/ns/pid"));
        link.is_ok_and(|link| std::os::unix::fs::MetadataExt::ino(&link) == namespace)
            && !crate::crew::status(*pid, "State").starts_with('Z')
    })
    .count()
}

fn a_helper_that_is_killed_is_replaced() {
    let (crew, target) = (Crew::new(), Running::start(&["net"]));
    assert_eq!(crew.ask(&target.target(), &NET, "echo 1"), Ok(1.0));
    let [first] = processes()[..] else { panic!("one helper") };
    // While it is idle nobody notices.
    signal(first);
    while processes().contains(&first) {
        std::thread::yield_now();
    }
    assert_eq!(crew.ask(&target.target(), &NET, "echo 2"), Ok(2.0));
    // While it is asked, that is an error.
    let request = request("hang", Duration::from_secs(20));
    let target_of = target.target();
    let (error, ()) = crew.wait(async {
        tokio::join!(crew.helpers.execute(&target_of, &NET, &request), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            processes().into_iter().for_each(signal);
        })
    });
    assert_eq!(error, Err(HelperError::Died("SIGKILL".to_owned())));
    assert_eq!(crew.ask(&target.target(), &NET, "echo 3"), Ok(3.0));
    crew.settle(1);
}

fn a_helper_leaves_with_its_target() {
    let (crew, mut target) = (Crew::new(), Running::start(&["net", "pid"]));
    for needs in [&NET, &FILES, &PIDS] {
        crew.ask(&target.target(), needs, "echo 1").unwrap();
    }
    assert_eq!(processes().len(), 3);
    target.end();
    crew.settle(0);
    let error = crew.ask(&target.target(), &NET, "echo 1").unwrap_err();
    assert!(matches!(error, HelperError::NoTarget(_)), "{error}");
}

fn requests_of_a_target_share_few_helpers() {
    let (crew, target) = (Crew::new(), Running::start(&["net"]));
    let requests: Vec<_> = (0..30).map(|at| request(&format!("echo {at}"), crate::crew::LONG)).collect();
    let target_of = target.target();
    let answers = crew.wait(async {
        let mut set = tokio::task::JoinSet::new();
        for request in requests {
            let (helpers, target) = (crew.helpers.clone(), target_of.clone());
            set.spawn(async move { helpers.execute(&target, &NET, &request).await });
        }
        set.join_all().await
    });
    assert!(answers.iter().all(Result::is_ok) && answers.len() == 30);
    assert!((1..=3).contains(&processes().len()), "{:?}", processes());
}

fn there_are_never_more_helpers_than_there_may_be() {
    let crew = Crew::of(3);
    let targets: Vec<Running> = (0..8).map(|_| Running::start(&["net"])).collect();
    for _ in 0..2 {
        for target in &targets {
            assert_eq!(crew.ask(&target.target(), &NET, "who"), Ok(target.inode as f64));
            assert!(processes().len() <= 3 && crew.helpers.running() <= 3);
        }
    }
    // None is idle: whoever comes next waits as long as it can.
    let timeout = Duration::from_millis(600);
    let error = crew.wait(async {
        let mut set = tokio::task::JoinSet::new();
        for target in &targets[..3] {
            let (helpers, target) = (crew.helpers.clone(), target.target());
            set.spawn(async move { helpers.execute(&target, &NET, &request("hang", 2 * timeout)).await });
        }
        tokio::time::sleep(timeout / 2).await;
        let late = targets[3].target();
        let error = crew.helpers.execute(&late, &NET, &request("who", timeout / 4)).await.unwrap_err();
        set.join_all().await;
        error
    });
    assert!(matches!(error, HelperError::Timeout(_)), "{error}");
}

fn who_gives_up_waiting_leaves_nothing_behind() {
    let (crew, target) = (Crew::new(), Running::start(&["net"]));
    let (target_of, hang) = (target.target(), request("hang", Duration::from_secs(20)));
    for wait in [0, 1, 2, 5, 50, 100] {
        let asked = crew.helpers.execute(&target_of, &NET, &hang);
        let given_up = crew.wait(async { tokio::time::timeout(Duration::from_millis(wait), asked).await });
        assert!(given_up.is_err());
        crew.settle(0);
    }
}

/// Waits until all of these are gone, zombies aside.
fn await_the_end_of(helpers: &[u32]) {
    let begun = Instant::now();
    while helpers.iter().any(|pid| std::path::Path::new(&format!("/proc/{pid}/ns/net")).exists()) {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

fn a_spawner_that_ends_is_replaced() {
    let (crew, target) = (Crew::new(), Running::start(&["net", "pid"]));
    // The second one ends too soon, so that the third one is put off.
    for end in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
        for needs in [&NET, &PIDS] {
            crew.ask(&target.target(), needs, "echo 1").unwrap();
        }
        let helpers = processes();
        let [spawner] = spawners()[..] else { panic!("one spawner") };
        kill(Pid::from_raw(i32::try_from(spawner).unwrap()), end).unwrap();
        await_the_end_of(&helpers);
        // Those that were asked when it ended have no answer; the next one waits for the next spawner.
        let begun = Instant::now();
        while let Err(error) = crew.ask(&target.target(), &NET, "echo 2") {
            assert!(matches!(error, HelperError::Died(_)), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        let [next] = spawners()[..] else { panic!("one spawner") };
        assert_ne!(next, spawner);
        crew.settle(1);
    }
}

fn helpers_end_with_the_keeper_and_with_the_agent() {
    let (crew, target) = (Crew::new(), Running::start(&["net", "pid"]));
    for needs in [&NET, &PIDS] {
        crew.ask(&target.target(), needs, "echo 1").unwrap();
    }
    let helpers = processes();
    let ([keeper], [spawner]) = (&keepers()[..], &spawners()[..]) else { panic!("one of each") };
    signal(*keeper);
    let error = crew.ask(&Target::Host, &NET, "echo 1");
    await_the_end_of(&helpers);
    await_the_end_of(&[*spawner]);
    assert!(error.is_err() || crew.ask(&Target::Host, &NET, "echo 1").is_err());
    drop(crew);
    assert!(keepers().is_empty(), "no zombie is left");

    let crew = Crew::new();
    for needs in [&NET, &PIDS] {
        crew.ask(&target.target(), needs, "echo 1").unwrap();
    }
    let helpers = processes();
    let [spawner] = spawners()[..] else { panic!("one spawner") };
    assert_eq!(children(spawner).len(), 2);
    drop(crew);
    await_the_end_of(&helpers);
}
