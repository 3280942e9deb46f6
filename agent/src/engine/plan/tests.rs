//! The plan on simulated clocks.

use proptest::prelude::*;

use super::*;

/// Two clocks that a test moves.
#[derive(Clone, Copy)]
struct Clocks(Moment);

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

impl Clocks {
    fn new() -> Self {
        // A round hour of the wall clock.
        Self(Moment { mono: Instant::now(), wall: UNIX_EPOCH + HOUR * 500_000 })
    }

    fn pass(&mut self, span: Duration) {
        self.0.mono += span;
        self.0.wall += span;
    }

    fn set(&mut self, nanos: i64) {
        let span = Duration::from_nanos(nanos.unsigned_abs());
        self.0.wall = if nanos < 0 { self.0.wall - span } else { self.0.wall + span };
    }

    /// Sleeps as a lane does: until the first tick, and never past a look at the clock.
    fn sleep(&mut self, plan: &mut Plan<u32>) {
        let due = plan.next_due(self.0).unwrap();
        self.pass(due.saturating_duration_since(self.0.mono).min(HOUR / 60));
    }

    fn take(self, plan: &mut Plan<u32>) -> Vec<Tick<u32>> {
        plan.next_due(self.0);
        std::iter::from_fn(|| plan.take(self.0)).collect()
    }

    /// The next ticks that come, and when.
    fn ticks(&mut self, plan: &mut Plan<u32>, count: usize) -> Vec<(Tick<u32>, Moment)> {
        let mut seen = Vec::new();
        while seen.len() < count {
            self.sleep(plan);
            seen.extend(self.take(plan).into_iter().map(|tick| (tick, self.0)));
        }
        seen
    }
}

fn plan(schedule: Schedule, delay: Duration, clocks: Clocks) -> Plan<u32> {
    let mut plan = Plan::default();
    plan.put(1, schedule, delay, clocks.0);
    plan
}

fn every(interval: Duration) -> Schedule {
    Schedule::every(interval).at(Duration::ZERO)
}

#[test]
fn ticks_come_at_multiples_and_stand_for_them() {
    let mut clocks = Clocks::new();
    clocks.pass(SECOND * 3 + MILLI);
    let start = clocks.0;
    let seven = Schedule::every(SECOND * 7).at(SECOND * 2);
    let mut plan = plan(seven, MILLI * 10, clocks);
    for (number, (tick, at)) in (0u32..).zip(clocks.ticks(&mut plan, 5)) {
        assert_eq!(at.wall, tick.aligned + MILLI * 10);
        assert_eq!(seven.aligned(at.wall), tick.aligned);
        assert_eq!((tick.due, tick.missed), (at.mono, 0));
        assert!(at.mono - start.mono <= SECOND * 7 * (number + 1));
    }
}

#[test]
fn a_stall_of_ten_intervals_is_one_tick_and_ten_that_are_missed() {
    let mut clocks = Clocks::new();
    let mut plan = plan(every(SECOND), Duration::ZERO, clocks);
    let (first, _) = clocks.ticks(&mut plan, 1).remove(0);
    clocks.pass(SECOND * 11 + SECOND / 2);
    let late = clocks.take(&mut plan);
    assert_eq!(late.len(), 1);
    assert_eq!((late[0].missed, late[0].aligned), (10, first.aligned + SECOND * 11));
    // It was late by half a second for the one that it stands for.
    assert_eq!(late[0].due + SECOND / 2, clocks.0.mono);
    // No burst: the next one is the next one.
    let (next, at) = clocks.ticks(&mut plan, 1).remove(0);
    assert_eq!(
        (next.missed, next.aligned, at.wall),
        (0, first.aligned + SECOND * 12, first.aligned + SECOND * 12)
    );
}

#[test]
fn a_wall_clock_that_is_set_by_an_hour_shifts_ticks_and_misses_none() {
    for step in [HOUR * 60, HOUR * 60 + MILLI * 300] {
        for sign in [1, -1] {
            for interval in [MILLI, SECOND, SECOND * 7, HOUR * 2] {
                let mut clocks = Clocks::new();
                let mut plan = plan(every(interval), Duration::ZERO, clocks);
                let (_, before) = clocks.ticks(&mut plan, 3).remove(2);
                clocks.pass(interval / 4);
                clocks.set(sign * i64::try_from(step.as_nanos() / 60).unwrap());
                let mut last = before;
                for (number, (tick, at)) in clocks.ticks(&mut plan, 5).into_iter().enumerate() {
                    assert_eq!(tick.missed, 0, "{sign} {interval:?}");
                    assert!(at.mono - last.mono <= interval * 2, "{sign} {interval:?}");
                    // From the second one on they lie where the new clock has them.
                    if number > 0 {
                        assert_eq!(at.wall, tick.aligned, "{sign} {interval:?}");
                        assert_eq!(at.mono - last.mono, interval);
                    }
                    last = at;
                }
            }
        }
    }
}

#[test]
fn after_a_suspend_the_next_tick_comes_at_its_time() {
    let mut clocks = Clocks::new();
    let mut plan = plan(every(HOUR), Duration::ZERO, clocks);
    clocks.ticks(&mut plan, 1);
    clocks.pass(HOUR / 60);
    // The monotonic clock stands still meanwhile; whoever sleeps looks again within a minute.
    clocks.set(i64::try_from((HOUR * 8 + HOUR / 2).as_nanos()).unwrap());
    let (tick, at) = clocks.ticks(&mut plan, 1).remove(0);
    assert_eq!((tick.missed, at.wall), (0, tick.aligned));
    assert!(at.mono - clocks.0.mono <= HOUR / 2);
}

#[test]
fn a_slewed_clock_shows_no_tick_twice_and_none_too_few() {
    for slew in [-3_000, -1, 1, 3_000] {
        let mut clocks = Clocks::new();
        let mut plan = plan(every(MILLI), Duration::ZERO, clocks);
        let mut seen = Vec::new();
        for _ in 0..1000 {
            seen.extend(clocks.ticks(&mut plan, 1));
            clocks.set(slew);
        }
        for pair in seen.windows(2) {
            assert_eq!(pair[1].0.aligned, pair[0].0.aligned + MILLI, "{slew}");
            assert_eq!(pair[1].0.missed, 0);
        }
    }
}

#[test]
fn a_clock_that_is_set_back_for_ever_does_not_stop_a_pipeline() {
    let mut clocks = Clocks::new();
    let mut plan = plan(every(SECOND * 10), Duration::ZERO, clocks);
    let (start, mut taken) = (clocks.0.mono, 0);
    while clocks.0.mono < start + SECOND * 1000 {
        clocks.pass(SECOND);
        clocks.set(-1_000_000_000);
        taken += clocks.take(&mut plan).len();
    }
    assert!(taken >= 50, "{taken}");
}

#[test]
fn who_is_put_or_removed_leaves_the_others_as_they_are() {
    let mut clocks = Clocks::new();
    let mut plan = plan(every(SECOND), Duration::ZERO, clocks);
    clocks.pass(SECOND / 2);
    plan.put(2, every(SECOND), MILLI * 100, clocks.0);
    plan.put(3, every(SECOND * 5), Duration::ZERO, clocks.0);
    plan.retain(|key| *key != 3);
    let keys: Vec<u32> = clocks.ticks(&mut plan, 6).into_iter().map(|(tick, _)| tick.key).collect();
    assert_eq!(keys, [1, 2, 1, 2, 1, 2]);
}

/// What happens to a plan.
#[derive(Clone, Debug)]
enum Event {
    /// Time passes, and somebody looks.
    Pass(u64),
    /// Somebody is put with an interval, an offset and a delay, in shares of 1000 of the interval.
    Put(u64, u64, u64),
    /// The first one is removed.
    Remove,
    /// The wall clock is set.
    Set(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1u64..5_000_000_000).prop_map(Event::Pass),
        8 => (1u64..3_000_000).prop_map(Event::Pass),
        2 => (1_000_000u64..4_000_000_000, 0u64..1000, 0u64..1000).prop_map(|(i, o, d)| Event::Put(i, o, d)),
        1 => Just(Event::Remove),
    ]
}

/// The ticks of a schedule, the slow way.
struct Naive {
    key: u32,
    interval: u64,
    shift: u64,
    delay: u64,
    /// Up to when they were taken.
    until: u64,
}

impl Naive {
    /// Those since the last time.
    fn due(&mut self, wall: u64) -> Vec<u64> {
        let first = (self.until.saturating_sub(self.shift)) / self.interval;
        let ticks = (first..).map(|tick| tick * self.interval + self.shift);
        let due = ticks.skip_while(|at| *at <= self.until).take_while(|at| *at <= wall).collect();
        self.until = wall;
        due
    }
}

proptest! {
    #[test]
    fn it_takes_what_a_naive_model_takes(events in prop::collection::vec(event(), 1..60)) {
        let (mut clocks, mut plan) = (Clocks::new(), Plan::default());
        let mut model: Vec<Naive> = Vec::new();
        for (event, key) in events.into_iter().zip(0u32..) {
            let wall = |clocks: &Clocks| u64::try_from(nanos(clocks.0.wall)).unwrap();
            match event {
                Event::Put(interval, offset, delay) => {
                    let (offset, delay) = (interval * offset / 1000, interval * delay / 1000);
                    let schedule = Schedule::every(Duration::from_nanos(interval)).at(Duration::from_nanos(offset));
                    plan.put(key, schedule, Duration::from_nanos(delay), clocks.0);
                    model.push(Naive { key, interval, shift: offset + delay, delay, until: wall(&clocks) });
                }
                Event::Remove if !model.is_empty() => {
                    let gone = model.remove(0).key;
                    plan.retain(|key| *key != gone);
                }
                Event::Pass(span) => clocks.pass(Duration::from_nanos(span)),
                Event::Remove | Event::Set(_) => {}
            }
            let mut taken = clocks.take(&mut plan);
            for naive in &mut model {
                let due = naive.due(wall(&clocks));
                let at = taken.iter().position(|tick| tick.key == naive.key);
                let Some(&last) = due.last() else {
                    prop_assert!(at.is_none());
                    continue;
                };
                let tick = taken.remove(at.expect("a tick is due"));
                prop_assert_eq!(tick.missed, due.len() as u64 - 1);
                prop_assert_eq!(tick.aligned, UNIX_EPOCH + Duration::from_nanos(last - naive.delay));
                prop_assert_eq!(clocks.0.mono - tick.due, Duration::from_nanos(wall(&clocks) - last));
            }
            prop_assert!(taken.is_empty());
        }
    }

    /// With a wall clock that jumps, nobody can say when exactly; but never twice at a time, never for a time to come,
    /// and what is taken and missed is what passed on the monotonic clock, give or take one tick for every jump.
    #[test]
    fn whatever_the_wall_clock_does_no_tick_is_replayed_and_none_forgotten(
        interval in 1_000_000u64..4_000_000_000,
        events in prop::collection::vec(
            prop_oneof![
                4 => (1u64..10_000_000_000).prop_map(Event::Pass),
                1 => (-7_200_000_000_000i64..7_200_000_000_000).prop_map(Event::Set),
                1 => (-2_000_000i64..2_000_000).prop_map(Event::Set),
            ],
            1..60,
        ),
    ) {
        let mut clocks = Clocks::new();
        let span = Duration::from_nanos(interval);
        let mut plan = plan(every(span), Duration::ZERO, clocks);
        let (start, mut counted, mut jumps) = (clocks.0.mono, 0u64, 1u64);
        for event in events {
            match event {
                Event::Pass(nanos) => clocks.pass(Duration::from_nanos(nanos)),
                Event::Set(nanos) => {
                    clocks.set(nanos);
                    jumps += 1;
                }
                _ => {}
            }
            let taken = clocks.take(&mut plan);
            prop_assert!(taken.len() <= 1);
            for tick in taken {
                counted += tick.missed + 1;
                prop_assert!(tick.due <= clocks.0.mono && clocks.0.mono - tick.due < span);
            }
            let passed = (clocks.0.mono - start).as_nanos() as u64 / interval;
            prop_assert!(counted.abs_diff(passed) <= jumps, "{counted} of {passed} with {jumps} jumps");
        }
    }
}
