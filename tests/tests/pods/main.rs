//! What holds with real containers: containerd with pods, docker and podman. Takes root, Debian and its packages.
//!
//! The runtimes are started once and the tests run one after the other, as they share the machine. This is no test of
//! the usual kind, because something has to come after the last one: that nothing is left.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![expect(clippy::print_stdout, reason = "it says what it does, as other tests do")]
#![expect(clippy::disallowed_methods, reason = "agents are started, waited for, and told by the environment")]

mod agent;
mod built;
mod checks;
mod churn;
mod engines;
mod figures;
mod follow;
mod hostile;
mod left;
mod owners;
mod page;
mod runtimes;

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

use xtask::pods::Lab;

type Test = (&'static str, fn(&Lab));

const TESTS: &[Test] = &[
    ("runtimes::pods_have_what_they_should", runtimes::pods_have_what_they_should),
    ("runtimes::a_pod_with_the_hosts_network", runtimes::a_pod_with_the_hosts_network),
    ("runtimes::nothing_is_left_of_a_deleted_pod", runtimes::nothing_is_left_of_a_deleted_pod),
    ("runtimes::pods_survive_their_runtime", runtimes::pods_survive_their_runtime),
    ("runtimes::a_killed_lab_is_cleaned_up_by_the_next", runtimes::a_killed_lab_is_cleaned_up_by_the_next),
    ("runtimes::docker_and_podman_run_containers", runtimes::docker_and_podman_run_containers),
    ("checks::each_pod_answers_for_itself", checks::each_pod_answers_for_itself),
    ("checks::every_check_runs_in_a_pod", checks::every_check_runs_in_a_pod),
    ("checks::nothing_is_needed_of_an_image", checks::nothing_is_needed_of_an_image),
    ("checks::a_pod_with_the_hosts_network", checks::a_pod_with_the_hosts_network),
    ("checks::a_pod_that_is_down_delays_nobody", checks::a_pod_that_is_down_delays_nobody),
    ("hostile::a_pod_sets_traps", hostile::a_pod_sets_traps),
    ("hostile::a_pod_poses_as_another", hostile::a_pod_poses_as_another),
    ("hostile::a_helper_has_nothing_to_take", hostile::a_helper_has_nothing_to_take),
    (
        "owners::control_groups_have_the_labels_of_their_pods",
        owners::control_groups_have_the_labels_of_their_pods,
    ),
    ("follow::pods_are_seen_when_they_start_and_stop", follow::pods_are_seen_when_they_start_and_stop),
    ("follow::a_pod_is_deleted_under_a_check", follow::a_pod_is_deleted_under_a_check),
    ("follow::a_runtime_restarts_under_the_agent", follow::a_runtime_restarts_under_the_agent),
    ("follow::there_is_no_runtime", follow::there_is_no_runtime),
    ("engines::containers_of_docker", engines::containers_of_docker),
    ("engines::containers_of_podman", engines::containers_of_podman),
    ("churn::no_check_is_made_in_the_wrong_pod", churn::no_check_is_made_in_the_wrong_pod),
    ("figures::a_warm_check", figures::a_warm_check),
];

/// Those that take long and are made only when they are asked for by name.
const LONG: &[Test] = &[
    ("figures::a_hundred_pods", figures::a_hundred_pods),
    ("figures::five_hundred_containers", figures::five_hundred_containers),
];

/// Whether a test that cannot be made is one that has failed.
const REQUIRED: &str = "PITOT_REQUIRE_PODS";

fn main() -> ExitCode {
    let (options, names): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let named = |name: &str| names.iter().any(|part| name.contains(part.as_str()));
    let chosen = TESTS.iter().filter(|(name, _)| names.is_empty() || named(name));
    let chosen: Vec<&Test> = chosen.chain(LONG.iter().filter(|(name, _)| named(name))).collect();
    if options.iter().any(|option| option == "--list") {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    let before = left::traces();
    let lab = match Lab::up() {
        Ok(lab) => lab,
        Err(error) => {
            println!("no containers to test with: {error:#}");
            return if env::var_os(REQUIRED).is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let folder = lab.folder().display().to_string();
    let mut failed = Vec::new();
    for (name, test) in &chosen {
        let began = Instant::now();
        println!("test {name} ..");
        let passed = catch_unwind(AssertUnwindSafe(|| test(&lab))).is_ok();
        println!(
            "test {name} .. {} ({:.1} s)",
            if passed { "ok" } else { "FAILED" },
            began.elapsed().as_secs_f64()
        );
        // What one has left is not to disturb the next.
        if let Err(error) = lab.reset() {
            println!("what it has left cannot be removed: {error:#}");
        }
        if !passed {
            failed.push(*name);
        }
    }
    if let Err(error) = lab.down() {
        println!("the runtimes could not be taken down in order: {error:#}");
        failed.push("down");
    }
    let more = left::new_since(&before, &folder);
    if !more.is_empty() {
        println!("left behind:\n{}", more.join("\n"));
        failed.push("nothing is left");
    }
    let what = if failed.is_empty() { "none".to_owned() } else { failed.join(", ") };
    println!("\n{} tests, failed: {what}", chosen.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
