//! The desk against a model: targets come and go, are restarted and answer in any order.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::super::{
    desk::{Desk, Flight},
    testing::{answer, container, plan},
    *,
};
use crate::{
    accumulator::{MemoryAccumulator, OwnedValue},
    container::{Container, Process, Snapshot},
    input::check::HelperError,
    pod::Target,
};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A pod comes, or goes if it was there.
    Toggle(u8),
    /// A pod gets another first process.
    Restart(u8),
    /// One of the checks under way ends.
    Land { which: u8, well: bool },
    /// Time passes.
    Pass(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0u8..6).prop_map(Event::Toggle),
        (0u8..6).prop_map(Event::Restart),
        (any::<u8>(), any::<bool>()).prop_map(|(which, well)| Event::Land { which, well }),
        (0u16..20_000).prop_map(Event::Pass),
    ]
}

/// Targets that are there, and their first process.
type Here = BTreeMap<u8, u64>;

fn snapshot(here: &Here) -> Snapshot {
    let one = |(pod, started): (&u8, &u64)| {
        let process = Some(Process { pid: 7, started: *started });
        Arc::new(Container {
            process,
            ..container(&format!("id{pod}"), "shop", &format!("web-{pod}"), "app")
        })
    };
    Snapshot::new(1, here.iter().map(one).collect())
}

fn pod_of(flight: &Flight) -> (u8, u64) {
    let Target::Container(container) = &flight.target else { panic!("the host was asked") };
    let pod = container.pod.as_ref().unwrap();
    let number = pod.name.strip_prefix("web-").unwrap().parse().unwrap();
    assert_eq!(flight.request.body, pod.name.as_bytes(), "it is asked for itself");
    (number, container.process.unwrap().started)
}

const CONCURRENCY: usize = 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn nobody_is_asked_twice_at_once_or_forgotten_and_answers_are_whose_they_are(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut now = Instant::now();
        let selector = Selector { pod: Some("*".to_owned()), ..Selector::default() };
        let mut plan = plan(selector);
        plan.concurrency = CONCURRENCY;
        let interval = plan.schedule.interval;
        let mut desk = Desk::new(plan, now);
        let mut here = Here::new();
        let mut flying: Vec<Flight> = Vec::new();
        // When the last check of a target was started or ended, or when it came.
        let mut seen: BTreeMap<u8, Instant> = BTreeMap::new();
        for event in events {
            match event {
                Event::Toggle(pod) => {
                    if here.remove(&pod).is_none() {
                        here.insert(pod, 1);
                        seen.insert(pod, now);
                    }
                    desk.settle(&snapshot(&here), now);
                }
                Event::Restart(pod) => {
                    if let Some(started) = here.get_mut(&pod) {
                        *started += 1;
                    }
                    desk.settle(&snapshot(&here), now);
                }
                Event::Land { which, well } => {
                    if !flying.is_empty() {
                        let flight = flying.swap_remove(usize::from(which) % flying.len());
                        let (pod, _) = pod_of(&flight);
                        seen.insert(pod, now);
                        let response = answer(f64::from(pod), &flight.request.body);
                        let result = if well { Ok(&response[..]) } else { Err(HelperError::Died("x".into())) };
                        desk.land(flight.ticket, result, now);
                    }
                }
                Event::Pass(millis) => now += Duration::from_millis(millis.into()),
            }
            while let Some(flight) = desk.next(now) {
                let (pod, started) = pod_of(&flight);
                prop_assert_eq!(here.get(&pod), Some(&started), "what is not there is not asked");
                prop_assert!(flying.iter().all(|other| pod_of(other).0 != pod), "twice at once");
                seen.insert(pod, now);
                flying.push(flight);
            }
            prop_assert!(flying.len() <= CONCURRENCY);
            // Nobody waits longer than it should where there is room.
            if flying.len() < CONCURRENCY / 2 {
                for pod in here.keys().filter(|pod| flying.iter().all(|other| pod_of(other).0 != **pod)) {
                    let waited = now.saturating_duration_since(seen[pod]);
                    prop_assert!(waited <= interval * 3 / 2, "{pod} was forgotten for {waited:?}");
                }
                prop_assert!(here.is_empty() || flying.len() == here.len() || desk.wake().is_some());
            }
            let mut memory = MemoryAccumulator::new();
            desk.deliver(now, &mut memory);
            for sample in memory.samples() {
                let label = |name: &str| sample.labels.iter().find(|label| label.0 == name).map(|label| &label.1);
                let pod: u8 = label("pod").unwrap().strip_prefix("web-").unwrap().parse().unwrap();
                prop_assert!(here.contains_key(&pod), "it is gone");
                if sample.name == "seen" {
                    let OwnedValue::Number(value) = sample.value else { panic!("no number") };
                    prop_assert!((value - f64::from(pod)).abs() < 0.5, "the answer of another");
                    prop_assert_eq!(label("asked"), label("pod"));
                }
            }
        }
    }
}

#[test]
fn targets_have_times_of_their_own_and_old_results_are_not_shown() {
    let start = Instant::now();
    let selector = Selector { pod: Some("*".to_owned()), ..Selector::default() };
    let mut desk = Desk::new(plan(selector), start);
    let here: Here = (0..20).map(|pod| (pod, 1)).collect();
    desk.settle(&snapshot(&here), start);
    let mut now = start;
    let mut starts: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    while now < start + Duration::from_secs(61) {
        while let Some(flight) = desk.next(now) {
            let (pod, _) = pod_of(&flight);
            let since = u64::try_from((now - start).as_millis()).unwrap();
            starts.entry(pod).or_default().push(since);
            desk.land(flight.ticket, Ok(&answer(f64::from(pod), b"x")), now);
        }
        now = desk.wake().unwrap();
    }
    let mut places = std::collections::BTreeSet::new();
    for (pod, starts) in &starts {
        assert_eq!(starts[0], 0, "{pod} waited for its first check");
        assert!(starts[1] >= 7_500 && starts[1] < 22_500, "{pod}: {starts:?}");
        assert!(
            starts[1..].windows(2).all(|pair| pair[1].abs_diff(pair[0]).abs_diff(15_000) <= 1),
            "{pod}: {starts:?}"
        );
        places.insert(starts[1] / 750);
    }
    // Spread over the interval, and not all at once.
    assert!(places.len() > 10, "{places:?}");
    assert_eq!(desk.overdue.missed, 0);
    let shown = |desk: &mut Desk, now| {
        let mut memory = MemoryAccumulator::new();
        desk.deliver(now, &mut memory);
        memory.samples().iter().filter(|sample| sample.name == "seen").count()
    };
    assert_eq!(shown(&mut desk, now), 20);
    // Two intervals and the timeout later at most.
    assert_eq!((shown(&mut desk, now + Duration::from_secs(33)), desk.overdue.stale), (0, 20));
}
