//! What a helper says is not believed.

use std::time::{Duration, Instant};

use pitot::{
    input::check::{HelperError, wire::WireError},
    pod::Target,
};

use crate::{
    Test,
    checks::NET,
    crew::{Crew, processes},
    target::Running,
};

pub(crate) const TESTS: &[Test] = &[
    ("each_lie_is_an_error_and_ends_its_helper", each_lie_is_an_error_and_ends_its_helper),
    ("a_check_that_fails_is_no_lie", a_check_that_fails_is_no_lie),
    ("a_helper_that_says_it_leaves_is_not_believed", a_helper_that_says_it_leaves_is_not_believed),
];

fn each_lie_is_an_error_and_ends_its_helper() {
    let (crew, target) = (Crew::new(), Running::start(&["net"]));
    for (lie, expected) in [
        ("say noise", WireError::Magic),
        ("say version", WireError::Version(9)),
        ("say long", WireError::TooLong),
        ("say short", WireError::Truncated),
        ("say sequence", WireError::Malformed("sequence")),
        ("say kind", WireError::Malformed("kind")),
        ("say empty", WireError::Empty),
        ("say twice", WireError::TooLong),
        ("nan", WireError::Malformed("value")),
    ] {
        let begun = Instant::now();
        let error = crew.ask(&target.target(), &NET, lie).unwrap_err();
        assert_eq!(error, HelperError::Wire(expected), "{lie}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{lie}");
        crew.settle(0);
        assert_eq!(crew.ask(&target.target(), &NET, "who"), Ok(target.inode as f64), "after {lie}");
        // A fresh one for the next lie, so that it knows the number of the request.
        let error = crew.ask(&target.target(), &NET, "panic").unwrap_err();
        assert_eq!(error, HelperError::Failed("the check panicked".to_owned()));
        crew.settle(0);
    }
}

fn a_check_that_fails_is_no_lie() {
    let crew = Crew::new();
    let error = crew.ask(&Target::Host, &NET, "fail for a reason").unwrap_err();
    assert_eq!(error, HelperError::Failed("for a reason".to_owned()));
    assert_eq!(processes().len(), 1, "the helper goes on");
    let request = pitot::input::check::Request {
        input: "unheard-of".to_owned(),
        body: Vec::new(),
        timeout: Duration::from_secs(1),
    };
    let error = crew.wait(crew.helpers.execute(&Target::Host, &NET, &request)).unwrap_err();
    assert!(matches!(error, HelperError::Failed(_)), "{error}");
    let long =
        pitot::input::check::Request { input: "scripted".to_owned(), body: vec![b'x'; 1 << 20], ..request };
    let error = crew.wait(crew.helpers.execute(&Target::Host, &NET, &long)).unwrap_err();
    assert_eq!(error, HelperError::Wire(WireError::TooLong));
}

fn a_helper_that_says_it_leaves_is_not_believed() {
    let (crew, target) = (Crew::new(), Running::start(&["net"]));
    assert_eq!(crew.ask(&target.target(), &NET, "echo 1"), Ok(1.0));
    // Asked again it says the same, and then there is nobody else to ask.
    assert!(crew.ask(&target.target(), &NET, "say leaving").is_err());
    crew.settle(0);
}
