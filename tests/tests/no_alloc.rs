//! Once every series is known, collecting and encoding takes no memory: not one allocation in 100 cycles.
#![expect(clippy::print_stderr, reason = "what is left out is said")]

use std::{path::Path, time::Duration};

use pitot::{
    bpf::{Loader, Pinning},
    catalogue::Source,
    config::Config,
    input::CollectContext,
    output::{Encoder, Format},
    pipeline::{InputPipeline, Outcome, Pipeline},
};
use pitot_tests::counting::{self, Counting};

const CYCLES: usize = 100;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Every input that works here. The agent's own is left out: its figures come as text from an exporter that
/// builds that text anew, which no other input does.
fn pipelines() -> Vec<InputPipeline> {
    let config = Config::default();
    let mut loader = if nix::unistd::geteuid().is_root() {
        Loader::new(Path::new("/sys"), Pinning::Ignore)
    } else {
        eprintln!("LEFT OUT: kernel programs need root");
        Loader::off("not root")
    };
    let inputs = config.pipelines.iter().filter(|input| !matches!(input.def.source, Source::Own));
    let opened = inputs.map(|input| InputPipeline::open(input, &config.roots, &mut loader));
    opened.filter(|pipeline| pipeline.state().is_up()).collect()
}

fn collect(pipelines: &mut [InputPipeline]) {
    for pipeline in pipelines {
        let outcome = pipeline.collect(&CollectContext::new(Duration::from_secs(5)), None);
        // Something that this host lacks is found out at the first collection, and not tried again soon.
        assert!(matches!(outcome, Outcome::Published | Outcome::Skipped), "{}", pipeline.state());
    }
}

/// What changes when a series is born or dies.
fn epochs(pipelines: &[InputPipeline]) -> u64 {
    pipelines.iter().map(|pipeline| pipeline.frame().epoch()).fold(0, u64::wrapping_add)
}

const FORMATS: [Format; 3] = [Format::Text, Format::OpenMetrics, Format::Protobuf];

/// Encodes in every format, each with an encoder of its own, as the agent does for scrapers that differ.
fn encode(encoders: &mut [Encoder; 3], pipelines: &[InputPipeline], requests: &mut u64) -> usize {
    let frames: Vec<_> = pipelines.iter().map(Pipeline::frame).collect();
    // The list of frames is this test's own.
    let before = counting::requests();
    let bytes = encoders.iter_mut().zip(FORMATS).map(|(e, format)| e.encode(format, &frames).len()).sum();
    *requests += counting::requests() - before;
    bytes
}

#[test]
fn a_cycle_of_collecting_and_encoding_allocates_nothing() {
    let mut pipelines = pipelines();
    let mut encoders = [Encoder::new(), Encoder::new(), Encoder::new()];
    // Buffers grow to their size, slots of devices and system calls get their series.
    for _ in 0..20 {
        collect(&mut pipelines);
        encode(&mut encoders, &pipelines, &mut 0);
    }
    pipelines.retain(|pipeline| pipeline.state().is_up());
    let (mut collecting, mut encoding, mut quiet) = (0, 0, 0);
    let mut culprits = vec![0; pipelines.len()];
    for _ in 0..20 * CYCLES {
        let born = epochs(&pipelines);
        let mut requests = vec![0; pipelines.len()];
        for (index, requests) in requests.iter_mut().enumerate() {
            let before = counting::requests();
            collect(&mut pipelines[index..=index]);
            *requests = counting::requests() - before;
        }
        let mut encoded = 0;
        assert!(encode(&mut encoders, &pipelines, &mut encoded) > 10_000);
        // A live host: when a process, a device or a kind of event came up meanwhile, the cycle says nothing.
        if epochs(&pipelines) != born {
            continue;
        }
        quiet += 1;
        collecting += requests.iter().sum::<u64>();
        encoding += encoded;
        culprits.iter_mut().zip(requests).for_each(|(all, requests)| *all += requests);
        if quiet == CYCLES {
            break;
        }
    }
    assert_eq!(quiet, CYCLES, "hardly a cycle without a new series");
    let culprits: Vec<_> =
        pipelines.iter().map(InputPipeline::key).zip(culprits).filter(|c| c.1 > 0).collect();
    assert_eq!((collecting, encoding), (0, 0), "allocations while collecting and encoding; by {culprits:?}");
    let live: usize = pipelines.iter().map(|pipeline| pipeline.frame().live()).sum();
    assert!(live > 200, "only {live} series");
    eprintln!("{CYCLES} cycles of {live} series of {} inputs: no allocation", pipelines.len());
}
