//! What checks found is delivered from memory: once every series is known, a collection takes none.

use std::{sync::Arc, time::Duration};

use pitot::{
    catalogue::{CheckDef, Kind, Source},
    config::PipelineConfig,
    container::{Container, Directory, Pod, Process, Role, Runtime, Snapshot},
    input::{
        CollectContext,
        check::{Request, disk, wire::Response},
    },
    pipeline::{
        CheckConfig, Checks, InputPipeline, Kit, Outcome, Pipeline, Selector,
        checks::{Answered, Execute},
    },
    pod::Target,
    source::Roots,
};
use pitot_tests::counting::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PODS: usize = 100;

/// Answers with one sample of everything that a response can carry.
struct Fake;

impl Execute for Fake {
    fn execute<'a>(&'a self, _: &'a Target, _: &'static CheckDef, _: &'a Request) -> Answered<'a> {
        Box::pin(async {
            let mut response = Response::new();
            for metric in disk::DEF.metrics.iter().skip(2) {
                if !matches!(metric.kind, Kind::Histogram(_)) {
                    let labels: Vec<&[u8]> =
                        metric.labels.iter().map(|label| label.name.as_bytes()).collect();
                    response.put(&disk::DEF, metric, &labels, 1.0)?;
                }
            }
            Ok(response.into_bytes()?)
        })
    }
}

fn container(number: usize) -> Arc<Container> {
    let pod = Pod {
        uid: format!("uid-{number}"),
        name: format!("web-{number}"),
        namespace: "shop".to_owned(),
        ..Pod::default()
    };
    Arc::new(Container {
        id: format!("id-{number}"),
        name: "app".to_owned(),
        runtime: Runtime::Containerd,
        role: Role::Workload,
        pod: Some(Arc::new(pod)),
        image: "nginx".to_owned(),
        labels: std::collections::BTreeMap::new(),
        annotations: std::collections::BTreeMap::new(),
        process: Some(Process { pid: 1, started: 1 }),
        cgroup: format!("kubepods/{number}"),
        cgroup_id: None,
        sandboxed: None,
        host_network: None,
        started: None,
    })
}

#[test]
fn a_collection_of_known_results_allocates_nothing() {
    let Source::Check(needs) = disk::DEF.source else { return };
    let (publisher, containers) = Directory::new();
    publisher.send_replace(Arc::new(Snapshot::new(1, (0..PODS).map(container).collect())));
    let kit = Kit { containers, ..Kit::of(&Roots::default()) };
    let target = Some(Selector { pod: Some("web-*".to_owned()), ..Selector::default() });
    let config = PipelineConfig {
        // Nothing is checked again meanwhile.
        interval: Some(Duration::from_secs(24 * 3600)),
        check: CheckConfig { target, ..CheckConfig::default() },
        ..PipelineConfig::new(&disk::DEF)
    };
    let checks = Checks::new(&config, needs, &kit, Arc::new(Fake));
    let mut pipeline = InputPipeline::new(&config, Box::new(checks));
    let mut collect = || {
        let outcome = pipeline.collect(&CollectContext::new(Duration::from_secs(20)), None);
        (outcome, pipeline.frame().live())
    };
    let (outcome, series) = collect();
    assert_eq!(outcome, Outcome::Published);
    assert!(series >= PODS * 2, "{series}");
    (0..3).for_each(|_| assert_eq!(collect().1, series));
    let mut counted = Vec::new();
    // The harness has threads of its own: what they take is not there every time.
    while counted.last() != Some(&0) && counted.len() < 20 {
        let before = counting::requests();
        (0..100).for_each(|_| assert_eq!(collect().1, series));
        counted.push(counting::requests() - before);
    }
    assert_eq!(counted.last(), Some(&0), "requests in 100 collections: {counted:?}");
    assert!(publisher.receiver_count() > 0);
}
