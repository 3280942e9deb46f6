//! Starts and ends of processes against what was started; states and use of processes against /proc.

mod tree;

use std::{
    env, fs,
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
        time::TimeValLike,
        wait::{WaitStatus, waitpid},
    },
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use self::tree::{Task, tasks};
use crate::{
    host::{can_run, note},
    raw,
    watched::{Reading, Watched},
};

const MANY: u64 = 20;
/// Windows in which somebody else may start a process, too.
const WINDOWS: usize = 40;

/// What the tests of this file start is not to be counted by one another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the end of a child.
fn ended(child: Pid) -> WaitStatus {
    waitpid(child, None).unwrap()
}

fn killed(child: Pid) {
    kill(child, Signal::SIGKILL).unwrap();
    assert!(matches!(ended(child), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
}

/// Runs this program with other arguments.
fn run(arguments: &[&str]) -> ExitStatus {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap()
}

/// Starts, further threads, execs, and exits by result.
type Counts = [u64; 6];

fn counts(reading: &Reading) -> Counts {
    let exits = |result| reading.count("process_exits_total", &[result]);
    [
        reading.count("process_starts_total", &[]),
        reading.count("process_thread_starts_total", &[]),
        reading.count("process_execs_total", &[]),
        exits("ok"),
        exits("error"),
        exits("signal"),
    ]
}

/// Works in windows until one has exactly these counts: everybody on this machine starts processes.
fn exactly(wanted: Counts, mut work: impl FnMut()) {
    let _alone = alone();
    let mut process = Watched::open("process", &[]);
    let mut seen = Vec::new();
    for _ in 0..WINDOWS {
        let before = counts(&process.read());
        work();
        let after = counts(&process.read());
        let grown: Counts = std::array::from_fn(|at| after[at] - before[at]);
        if grown == wanted {
            return;
        }
        seen.push(grown);
    }
    panic!("no window with {wanted:?}: {seen:?}");
}

#[test]
fn an_end_is_counted_by_its_status() {
    if !can_run() {
        return;
    }
    for (code, result) in [(0, [MANY, 0, 0]), (3, [0, MANY, 0])] {
        let [ok, error, signal] = result;
        exactly([MANY, 0, 0, ok, error, signal], || {
            for _ in 0..MANY {
                let child = raw::child(|| code);
                assert_eq!(ended(child), WaitStatus::Exited(child, code));
            }
        });
    }
    exactly([MANY, 0, 0, 0, 0, MANY], || (0..MANY).for_each(|_| killed(raw::child(raw::wait_for_ever))));
}

#[test]
fn programs_are_counted() {
    const PROGRAMS: u64 = 5;
    if !can_run() {
        return;
    }
    exactly([PROGRAMS, 0, PROGRAMS, PROGRAMS, 0, 0], || {
        (0..PROGRAMS).for_each(|_| assert!(run(&["--list"]).success()));
    });
}

#[test]
fn threads_are_no_processes() {
    if !can_run() {
        return;
    }
    exactly([0, MANY, 0, 0, 0, 0], || {
        let threads: Vec<_> = (0..MANY).map(|_| thread::spawn(|| ())).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Ends with threads that are still there; started by the test below.
#[test]
#[ignore = "a process for another test"]
fn a_process_of_many_threads() {
    for _ in 0..MANY {
        thread::spawn(|| thread::sleep(Duration::from_secs(1000)));
    }
    panic!("the end of this process");
}

#[test]
fn a_process_of_many_threads_ends_once() {
    if !can_run() {
        return;
    }
    // The harness adds the thread of the test.
    exactly([1, MANY + 1, 1, 0, 1, 0], || {
        let arguments = ["--exact", "process::a_process_of_many_threads", "--ignored"];
        assert_eq!(run(&arguments).code(), Some(101));
    });
}

fn living(reading: &Reading) -> i64 {
    let states = ["R", "S", "D", "T", "t", "P", "I"];
    let count = states.iter().map(|state| reading.count("process_states", &[state])).sum::<u64>();
    i64::try_from(count).unwrap()
}

#[test]
fn what_has_started_has_ended_or_lives() {
    if !can_run() {
        return;
    }
    let _alone = alone();
    let mut process = Watched::open("process", &[]);
    let balance = |reading: &Reading| {
        let [starts, _, _, exits @ ..] = counts(reading);
        i64::try_from(starts).unwrap() - i64::try_from(exits.iter().sum::<u64>()).unwrap()
    };
    // What starts or ends between the counters and the pass is in one of them only, so most windows match.
    for _ in 0..WINDOWS {
        let before = process.read();
        let children: Vec<_> = (0..MANY).map(|_| raw::child(raw::wait_for_ever)).collect();
        let between = process.read();
        children.into_iter().for_each(killed);
        let after = process.read();
        let grown = |later: &Reading| (balance(later) - balance(&before), living(later) - living(&before));
        let (first, last) = (grown(&between), grown(&after));
        if first.0 == first.1 && first.0 >= i64::try_from(MANY).unwrap() && last.0 == last.1 {
            return;
        }
        note(&format!("{first:?}, {last:?}: once more"));
    }
    panic!("starts and exits do not add up to those that live");
}

#[test]
fn states_are_those_of_proc() {
    if !can_run() {
        return;
    }
    let _alone = alone();
    let mut process = Watched::open("process", &[]);
    let stopped: Vec<_> = (0..MANY).map(|_| raw::child(raw::wait_for_ever)).collect();
    for child in &stopped {
        kill(*child, Signal::SIGSTOP).unwrap();
    }
    let zombies: Vec<_> = (0..MANY).map(|_| raw::child(|| 0)).collect();
    thread::sleep(Duration::from_millis(200));

    let in_state = |tasks: &[Task], state, threads: bool| {
        let counted = |task: &&Task| task.state == state && (threads || task.is_process);
        u64::try_from(tasks.iter().filter(counted).count()).unwrap()
    };
    let (before, reading, after) = (tasks(), process.read(), tasks());
    for (name, threads) in [("process_states", false), ("process_thread_states", true)] {
        for (state, least) in [('T', MANY), ('Z', MANY), ('I', 1)] {
            let counted = reading.count(name, &[&state.to_string()]);
            let [first, last] = [&before, &after].map(|tasks| in_state(tasks, state, threads));
            assert!(counted >= least, "{name} {state}: {counted}");
            // Idle threads of the kernel wake up now and then.
            let near = if state == 'I' { 10 } else { 2 };
            assert!(
                first.min(last) <= counted + near && counted <= first.max(last) + near,
                "{name} {state}: {counted}, /proc {first} and {last}"
            );
        }
    }
    let counted = reading.count("process_threads", &[]);
    let [first, last] = [&before, &after].map(|tasks| u64::try_from(tasks.len()).unwrap());
    assert!(
        first.min(last) <= counted + 3 && counted <= first.max(last) + 3,
        "{counted} threads, /proc {first} and {last}"
    );
    stopped.into_iter().for_each(killed);
    for child in zombies {
        ended(child);
    }
}

/// Nanoseconds on a CPU, as the kernel says it of a process of one thread.
fn charged(child: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{child}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_process_that_spins_is_listed_with_its_time() {
    if !can_run() {
        return;
    }
    let _alone = alone();
    let mut process = Watched::open("process", &[]);
    process.read();
    let child = raw::child(|| spin(Duration::MAX));
    let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap();
    let labels = [child.to_string(), name.trim_end().to_owned()];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let mut read = || {
        thread::sleep(Duration::from_millis(100));
        let outer = charged(child);
        let mine = process.read().number("process_cpu_seconds_total", &labels);
        (outer, mine, charged(child))
    };
    let entered = (0..20).map(|_| read()).find_map(|(before, mine, after)| Some((before, mine?, after)));
    let first = entered.expect("it is not in the list");
    let last = (0..9).map(|_| read()).last().unwrap();
    killed(child);

    let grown = last.1.expect("it has left the list") - first.1;
    let seconds = |from: u64, to: u64| (to - from) as f64 * 1e-9;
    let (inner, outer) = (seconds(first.2, last.0), seconds(first.0, last.2));
    assert!(inner > 0.1, "it did not get a CPU");
    assert!(inner <= grown + 1e-6 && grown <= outer + 1e-6, "{grown} s, the kernel says {inner} to {outer}");
}

#[test]
fn nothing_that_short_lives_use_is_lost() {
    if !can_run() {
        return;
    }
    let _alone = alone();
    let mut process = Watched::open("process", &[]);
    let mut before = process.read();
    let (mut grown, mut own) = (0.0, 0.0);
    let clock = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    for _ in 0..10 {
        let used = children();
        for _ in 0..3 {
            // They begin and end between two readings.
            ended(raw::child(|| spin(Duration::from_millis(15))));
        }
        own += children() - used;
        // The kernel frees the dead after a while.
        thread::sleep(Duration::from_millis(100));
        let after = process.read();
        grown += after.growth(&before, "process_cpu_seconds_total");
        before = after;
    }
    let wall = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap() - clock;
    let cpus = thread::available_parallelism().unwrap().get() as f64;
    let most = wall.num_milliseconds() as f64 * 1e-3 * cpus;
    note(&format!("{own:.3} s of short lives, {grown:.3} s in all series, {most:.3} s of all CPUs"));
    assert!(own > 0.1);
    assert!(
        own * 0.99 <= grown && grown <= most * 1.01,
        "{own} s were used, {grown} s counted, {most} s were there"
    );
}

/// Seconds on a CPU of the children that have ended.
fn children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 * 1e-6
}

fn cpu_clock() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Uses a CPU for so long.
fn spin(time: Duration) -> i32 {
    let start = cpu_clock();
    while cpu_clock().saturating_sub(start) < time {}
    0
}

fn cpu_time(work: impl FnOnce()) -> Duration {
    let before = cpu_clock();
    work();
    cpu_clock().saturating_sub(before)
}

#[test]
fn two_thousand_tasks_cost_a_fraction_of_a_walk() {
    const THREADS: usize = 2_000;
    if !can_run() {
        return;
    }
    let _alone = alone();
    let mut process = Watched::open("process", &[]);
    let (stop, stopped) = mpsc::channel::<()>();
    let stopped = Mutex::new(stopped);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let sleep = || assert!(stopped.lock().unwrap().recv().is_err());
            thread::Builder::new().stack_size(64 * 1024).spawn_scoped(scope, sleep).unwrap();
        }
        let mut counted = 0;
        let mut collect = || counted = process.read().count("process_threads", &[]);
        collect();
        let pass = (0..5).map(|_| cpu_time(&mut collect)).min().unwrap();
        let walk = (0..3).map(|_| cpu_time(|| drop(tasks()))).min().unwrap();
        drop(stop);
        note(&format!("{counted} tasks: {pass:?} for a pass, {walk:?} for a walk of /proc"));
        assert!(counted >= THREADS as u64);
        // An optimised build is faster by far.
        assert!(pass * 3 < walk, "{pass:?}, a walk of /proc {walk:?}");
    });
}
