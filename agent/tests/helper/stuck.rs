//! What a helper leaves behind that cannot be killed.

use std::time::{Duration, Instant};

use pitot::{
    accumulator::MemoryAccumulator,
    catalogue::{CheckDef, Source},
    input::check::{
        HelperError, PodInput,
        disk::{self, Disk},
    },
    pod::Target,
};

use crate::{
    Test,
    checks::{FILES, NET, PIDS},
    crew::{Crew, LONG, processes},
    fuse,
    target::Running,
};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_hanging_mount_costs_one_helper_and_no_other_numbers",
        a_hanging_mount_costs_one_helper_and_no_other_numbers,
    ),
    (
        "what_is_stuck_in_a_container_is_bounded_and_stops_nobody_else",
        what_is_stuck_in_a_container_is_bounded_and_stops_nobody_else,
    ),
];

const SHORT: Duration = Duration::from_millis(300);
/// What is refused takes no longer.
const AT_ONCE: Duration = Duration::from_millis(200);

/// A target with a mount that hangs.
fn silent() -> Option<Running> {
    if !fuse::is_there() {
        eprintln!("skipped: there is no /dev/fuse");
        return None;
    }
    Some(Running::start(&["net", "mnt", fuse::SILENT]))
}

fn await_stuck(crew: &Crew, stuck: usize) {
    let begun = Instant::now();
    while crew.helpers.stuck() != stuck {
        assert!(begun.elapsed() < LONG, "{} are stuck", crew.helpers.stuck());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One check of the pipeline of a target, as the engine makes it.
fn check(crew: &Crew, target: &Target, disk: &mut Disk) -> Result<MemoryAccumulator, HelperError> {
    let Source::Check(needs) = disk::DEF.source else { panic!("it is a check") };
    let needs: &'static CheckDef = needs;
    let mut request = disk.serialize_request().unwrap();
    request.timeout = SHORT;
    let mut memory = MemoryAccumulator::new();
    match crew.wait(crew.helpers.execute(target, needs, &request)) {
        Ok(response) => disk.process_response(&response, &mut memory).map(|()| memory),
        Err(error) => {
            disk.generate_error_metrics(&error, &mut memory);
            Err(error)
        }
    }
}

fn sizes(memory: &MemoryAccumulator) -> usize {
    memory.samples().iter().filter(|sample| sample.name == "size_bytes").count()
}

fn a_hanging_mount_costs_one_helper_and_no_other_numbers() {
    let Some(mut target) = silent() else { return };
    // Were one that is stuck among those that there may be, nothing else would have room.
    let crew = Crew::of(1);
    let (hangs, mut disk) = (target.target(), Disk::default());
    assert_eq!(check(&crew, &hangs, &mut disk).unwrap_err(), HelperError::Timeout(SHORT));
    // Another pipeline asks for the same.
    let error = check(&crew, &hangs, &mut Disk::default()).unwrap_err();
    assert!(matches!(error, HelperError::Stuck | HelperError::Timeout(_)), "{error}");
    await_stuck(&crew, 1);
    let mut refused = 0;
    for _ in 0..100 {
        let begun = Instant::now();
        match check(&crew, &hangs, &mut disk) {
            Ok(memory) => {
                assert!(memory.number("left_out", &["hangs"]).unwrap() >= 1.0);
                assert!(sizes(&memory) > 0, "the other mounts have their numbers");
            }
            Err(error) => {
                assert_eq!(error, HelperError::Stuck);
                assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
                refused += 1;
            }
        }
        assert!(processes().len() <= 2 && crew.helpers.stuck() == 1, "{:?}", processes());
    }
    assert_eq!(refused, 3, "after 8, 16 and 32 others");
    target.release();
    await_stuck(&crew, 0);
    let recovered = |memory: MemoryAccumulator| memory.number("left_out", &["hangs"]) == Some(0.0);
    assert!((0..=256).any(|_| check(&crew, &hangs, &mut disk).is_ok_and(recovered)));
    assert!(check(&crew, &hangs, &mut Disk::default()).is_ok());
}

fn what_is_stuck_in_a_container_is_bounded_and_stops_nobody_else() {
    let (Some(mut target), other) = (silent(), Running::start(&["net", "pid"])) else { return };
    let crew = Crew::of(2);
    let hangs = target.target();
    for at in 1..=3 {
        let script = format!("statfs {} {at}", fuse::POINT);
        let error = crew.samples(&hangs, &FILES, &script, SHORT).unwrap_err();
        assert_eq!(error, HelperError::Timeout(SHORT));
        await_stuck(&crew, at);
        let begun = Instant::now();
        assert_eq!(crew.samples(&hangs, &FILES, &script, LONG).unwrap_err(), HelperError::Stuck);
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        let may_be_entered = crew.ask(&hangs, &NET, "who");
        assert!(at == 3 || may_be_entered == Ok(target.inode as f64), "{may_be_entered:?}");
        assert_eq!(crew.ask(&other.target(), &NET, "who"), Ok(other.inode as f64));
    }
    // Makes room: who has a helper keeps it.
    assert_eq!(crew.ask(&other.target(), &PIDS, "echo 1"), Ok(1.0));
    for needs in [&FILES, &NET, &PIDS] {
        let begun = Instant::now();
        assert_eq!(crew.ask(&hangs, needs, "echo 1"), Err(HelperError::Stuck));
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
    assert_eq!(crew.helpers.stuck(), 3);
    assert_eq!(crew.ask(&other.target(), &FILES, "echo 2"), Ok(2.0));
    target.release();
    await_stuck(&crew, 0);
    assert_eq!(crew.ask(&hangs, &FILES, "echo 3"), Ok(3.0));
    drop(crew);
}
