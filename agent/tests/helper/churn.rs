//! Targets come and go, and their numbers come back.

use std::{fs, time::Instant};

use pitot::input::check::HelperError;

use crate::{Test, checks::NET, crew::Crew, target::Running};

pub(crate) const TESTS: &[Test] = &[("ten_thousand_checks_are_never_in_the_wrong_place", churn)];

const CHECKS: usize = 10_000;
/// Checks of a target while it lives, and as many after it has ended.
const EACH: usize = 50;

fn churn() {
    let crew = Crew::new();
    let (mut answered, mut refused, mut repeated) = (0, 0, 0);
    let begun = Instant::now();
    let mut before: Option<Running> = None;
    while answered + refused < CHECKS {
        if let Some(before) = &before {
            // The next one is to get the number of the one before, if it is free.
            let _otherwise = fs::write("/proc/sys/kernel/ns_last_pid", (before.pid() - 1).to_string());
        }
        let mut target = Running::start(&["net"]);
        repeated += usize::from(before.as_ref().is_some_and(|before| before.pid() == target.pid()));
        let stale = before.as_ref().map(Running::target);
        for _ in 0..EACH {
            assert_eq!(crew.ask(&target.target(), &NET, "who"), Ok(target.inode as f64));
            answered += 1;
            // Whoever asks for the one before must not be told about this one.
            if let Some(stale) = &stale {
                let error = crew.ask(stale, &NET, "who").unwrap_err();
                assert!(matches!(error, HelperError::NoTarget(_)), "{error}");
                refused += 1;
            }
        }
        // It ends while it is asked.
        let asked = target.target();
        let inode = target.inode as f64;
        std::thread::scope(|scope| {
            scope.spawn(|| target.end());
            for _ in 0..5 {
                match crew.ask(&asked, &NET, "who") {
                    answer @ Ok(_) => assert_eq!(answer, Ok(inode)),
                    // Nobody listens any more, or nobody is there.
                    Err(HelperError::NoTarget(_) | HelperError::Failed(_) | HelperError::Enter(_)) => {}
                    Err(other) => panic!("{other}"),
                }
                answered += 1;
            }
        });
        before = Some(target);
    }
    eprintln!(
        "{answered} answered, {refused} refused, {repeated} numbers came back, in {:?}",
        begun.elapsed()
    );
    crew.settle(0);
}
