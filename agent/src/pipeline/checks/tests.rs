use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    testing::{ECHO, answer, container, needs, pipeline},
    *,
};
use crate::{
    accumulator::MemoryAccumulator,
    catalogue::CheckDef,
    container::{Container, Directory, Publisher, Snapshot},
    input::check::{HelperError, Request},
    pipeline::{Opening, Outcome, build},
    pod::Target,
    source::Roots,
};

mod model;

/// Answers at once with the number at the end of the pod's name; a pod called `dead` never answers.
#[derive(Default)]
struct Fake {
    asked: AtomicUsize,
}

impl Execute for Fake {
    fn execute<'a>(&'a self, target: &'a Target, _: &'static CheckDef, request: &'a Request) -> Answered<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let name = match target {
                Target::Host => "0",
                Target::Container(container) => container.pod.as_ref().map_or("0", |pod| pod.name.as_str()),
            };
            match name {
                "dead" => std::future::pending().await,
                "gone" => Err(HelperError::NoTarget("gone".to_owned())),
                "panic" => Ok(b"panic".to_vec()),
                name => {
                    let number = name.trim_start_matches(|c: char| !c.is_ascii_digit());
                    Ok(answer(number.parse().unwrap(), &request.body))
                }
            }
        })
    }
}

struct Stand {
    kit: Kit,
    publisher: Publisher,
    fake: Arc<Fake>,
    generation: u64,
}

impl Stand {
    fn new() -> Self {
        let (publisher, containers) = Directory::new();
        let kit = Kit { containers, ..Kit::of(&Roots::default()) };
        Self { kit, publisher, fake: Arc::default(), generation: 0 }
    }

    fn publish(&mut self, pods: &[&str]) {
        let all = pods.iter().map(|pod| Arc::new(container(&format!("id-{pod}"), "shop", pod, "app")));
        self.generation += 1;
        self.publisher.send_replace(Arc::new(Snapshot::new(self.generation, all.collect())));
    }

    fn checks(&self, config: &PipelineConfig) -> Checks {
        let execute = Arc::clone(&self.fake) as Arc<dyn Execute>;
        Checks::new(config, needs(), &self.kit, execute)
    }
}

fn any_pod() -> Selector {
    Selector { pod: Some("*".to_owned()), ..Selector::default() }
}

fn collected(checks: &mut Checks) -> MemoryAccumulator {
    let mut memory = MemoryAccumulator::new();
    checks.collect(&CollectContext::new(Duration::from_secs(5)), &mut memory).unwrap();
    memory
}

/// Collects until something is there.
fn eventually(checks: &mut Checks, is_there: impl Fn(&MemoryAccumulator) -> bool) -> MemoryAccumulator {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let memory = collected(checks);
        if is_there(&memory) || Instant::now() > until {
            return memory;
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_first_collection_has_the_first_results_with_the_labels_of_their_targets() {
    let mut stand = Stand::new();
    stand.publish(&["web-1", "web-2"]);
    let mut checks = stand.checks(&pipeline(Some(any_pod()), "who is {pod}?"));
    let memory = collected(&mut checks);
    assert_eq!(memory.number("seen", &["who is web-1?", "shop", "web-1"]), Some(1.0));
    assert_eq!(memory.number("seen", &["who is web-2?", "shop", "web-2"]), Some(2.0));
    assert_eq!(memory.number("executed", &["shop", "web-2"]), Some(1.0));
    // And again from memory: nobody was asked.
    assert_eq!(collected(&mut checks).samples().len(), memory.samples().len());
    assert_eq!(stand.fake.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn targets_come_and_go_and_what_is_not_executed_is_no_result() {
    let mut stand = Stand::new();
    stand.publish(&["web-1", "gone", "panic"]);
    let mut checks = stand.checks(&pipeline(Some(any_pod()), "x"));
    let memory = collected(&mut checks);
    assert_eq!(memory.number("executed", &["shop", "web-1"]), Some(1.0));
    for (pod, reason) in [("gone", "no_target"), ("panic", "failed")] {
        assert_eq!(memory.number("executed", &["shop", pod]), Some(0.0), "{pod}");
        assert_eq!(memory.number("failures_total", &[reason, "shop", pod]), Some(1.0), "{pod}");
        assert_eq!(memory.number("seen", &["x", "shop", pod]), None, "{pod}");
    }
    stand.publish(&["web-3"]);
    let memory = eventually(&mut checks, |memory| memory.number("seen", &["x", "shop", "web-3"]).is_some());
    assert_eq!(memory.number("seen", &["x", "shop", "web-3"]), Some(3.0));
    assert!(memory.samples().iter().all(|sample| sample.labels.iter().all(|(_, value)| value != "web-1")));
}

#[test]
fn a_dead_target_holds_up_nobody_and_a_sandboxed_one_is_not_entered() {
    let mut stand = Stand::new();
    let sandboxed =
        Container { sandboxed: Some("gvisor".to_owned()), ..container("id-kata", "shop", "kata-9", "app") };
    let dead = container("id-dead", "shop", "dead", "app");
    let alive = container("id-web", "shop", "web-1", "app");
    let all = [sandboxed, dead, alive].into_iter().map(Arc::new).collect();
    stand.generation = 1;
    stand.publisher.send_replace(Arc::new(Snapshot::new(1, all)));
    let mut config = pipeline(Some(any_pod()), "x");
    config.check.concurrency = 2;
    let mut checks = stand.checks(&config);
    let mut memory = MemoryAccumulator::new();
    checks.collect(&CollectContext::new(Duration::from_millis(300)), &mut memory).unwrap();
    let memory = eventually(&mut checks, |memory| memory.number("executed", &["shop", "web-1"]).is_some());
    assert_eq!(memory.number("executed", &["shop", "web-1"]), Some(1.0));
    assert_eq!(memory.number("failures_total", &["unsupported", "shop", "kata-9"]), Some(1.0));
    assert_eq!(memory.number("executed", &["shop", "dead"]), None);
    assert_eq!(stand.fake.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn what_a_template_lacks_is_said_and_never_guessed() {
    let mut stand = Stand::new();
    stand.publish(&["web-1"]);
    let mut checks = stand.checks(&pipeline(Some(any_pod()), "{annotation:port}"));
    let memory = collected(&mut checks);
    assert_eq!(memory.number("executed", &["shop", "web-1"]), Some(0.0));
    assert_eq!(memory.number("failures_total", &["failed", "shop", "web-1"]), Some(1.0));
    assert_eq!(stand.fake.asked.load(Ordering::SeqCst), 0);
    let debug = checks.debug_info();
    assert_eq!(debug["targets"][0]["message"], "`ask`: the target has no annotation `port`");
    assert_eq!(debug["targets"][0]["target"], "shop/web-1");
}

#[test]
fn the_host_has_no_labels_and_a_check_that_cannot_be_made_is_a_state() {
    let stand = Stand::new();
    let memory = collected(&mut stand.checks(&pipeline(None, "{\"plain\"}")));
    assert_eq!(memory.number("seen", &["{\"plain\"}"]), Some(0.0));
    let mut checks = stand.checks(&pipeline(None, ""));
    let cx = CollectContext::new(Duration::from_secs(1));
    let error = checks.collect(&cx, &mut MemoryAccumulator::new()).unwrap_err();
    assert_eq!(error.to_string(), "`ask` is missing: say what to ask");
    // Nor is one without helpers.
    let mut pipeline = build(&pipeline(None, "x"), &stand.kit, Opening::Late);
    assert_eq!(pipeline.collect(&cx, None), Outcome::Skipped);
    assert_eq!(pipeline.state().word(), "unsupported");
    assert!(pipeline.state().reason().contains("restart"), "{}", pipeline.state());
}

#[test]
fn a_change_keeps_what_is_known_and_asks_anew_only_what_is_asked_otherwise() {
    let mut stand = Stand::new();
    stand.publish(&["web-1"]);
    let mut first = stand.checks(&pipeline(Some(any_pod()), "x"));
    assert_eq!(collected(&mut first).number("asked_total", &["shop", "web-1"]), Some(1.0));
    // Another transform, say: the same request.
    let mut second = stand.checks(&pipeline(Some(any_pod()), "x"));
    second.update_from(&mut first);
    drop(first);
    assert_eq!(collected(&mut second).number("asked_total", &["shop", "web-1"]), Some(1.0));
    assert_eq!(stand.fake.asked.load(Ordering::SeqCst), 1);
    let mut third = stand.checks(&pipeline(Some(any_pod()), "y"));
    third.update_from(&mut second);
    let memory = eventually(&mut third, |memory| memory.number("seen", &["y", "shop", "web-1"]).is_some());
    assert_eq!(memory.number("asked_total", &["shop", "web-1"]), Some(2.0));
    assert_eq!(memory.number("seen", &["x", "shop", "web-1"]), None);
}

#[test]
fn tags_may_follow_from_targets() {
    let mut stand = Stand::new();
    stand.publish(&["web-1"]);
    let mut config = pipeline(Some(any_pod()), "x");
    let tag = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    config.transform.tags =
        vec![tag("team", "{label:app}"), tag("none", "{label:none}"), tag("rack", "{{7}")];
    let around = Checks::around(&config);
    assert_eq!(around.transform.tags, [tag("rack", "{7}")]);
    let mut checks = stand.checks(&config);
    assert_eq!(collected(&mut checks).number("executed", &["shop", "web-1", "web-1"]), Some(1.0));
    let names: BTreeSet<&str> =
        checks.definition().metrics[0].labels.iter().map(|label| label.name).collect();
    assert_eq!(names, ["container", "namespace", "none", "pod", "team"].into());
    assert_eq!(checks.definition().metrics.len(), ECHO.metrics.len());
}
