use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{accumulator::Beginnings, output::fixture};

/// The messages as their own `.proto` file describes them.
mod client {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MetricFamily {
        #[prost(string, optional, tag = "1")]
        pub(super) name: Option<String>,
        #[prost(string, optional, tag = "2")]
        pub(super) help: Option<String>,
        #[prost(enumeration = "MetricType", optional, tag = "3")]
        pub(super) r#type: Option<i32>,
        #[prost(message, repeated, tag = "4")]
        pub(super) metric: Vec<Metric>,
        #[prost(string, optional, tag = "5")]
        pub(super) unit: Option<String>,
    }
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    pub(super) enum MetricType {
        Counter = 0,
        Gauge = 1,
        Summary = 2,
        Untyped = 3,
        Histogram = 4,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub(super) label: Vec<LabelPair>,
        #[prost(message, optional, tag = "2")]
        pub(super) gauge: Option<Number>,
        #[prost(message, optional, tag = "3")]
        pub(super) counter: Option<Counter>,
        #[prost(message, optional, tag = "5")]
        pub(super) untyped: Option<Number>,
        #[prost(message, optional, tag = "7")]
        pub(super) histogram: Option<Histogram>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct LabelPair {
        #[prost(string, optional, tag = "1")]
        pub(super) name: Option<String>,
        #[prost(string, optional, tag = "2")]
        pub(super) value: Option<String>,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Number {
        #[prost(double, optional, tag = "1")]
        pub(super) value: Option<f64>,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Counter {
        #[prost(double, optional, tag = "1")]
        pub(super) value: Option<f64>,
        #[prost(message, optional, tag = "3")]
        pub(super) start_timestamp: Option<Timestamp>,
    }
    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(super) struct Timestamp {
        #[prost(int64, tag = "1")]
        pub(super) seconds: i64,
        #[prost(int32, tag = "2")]
        pub(super) nanos: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, optional, tag = "1")]
        pub(super) sample_count: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub(super) sample_sum: Option<f64>,
        #[prost(message, repeated, tag = "3")]
        pub(super) bucket: Vec<Bucket>,
        #[prost(sint32, optional, tag = "5")]
        pub(super) schema: Option<i32>,
        #[prost(double, optional, tag = "6")]
        pub(super) zero_threshold: Option<f64>,
        #[prost(uint64, optional, tag = "7")]
        pub(super) zero_count: Option<u64>,
        #[prost(message, repeated, tag = "12")]
        pub(super) positive_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "13")]
        pub(super) positive_delta: Vec<i64>,
        #[prost(message, optional, tag = "15")]
        pub(super) start_timestamp: Option<Timestamp>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Bucket {
        #[prost(uint64, optional, tag = "1")]
        pub(super) cumulative_count: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub(super) upper_bound: Option<f64>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct BucketSpan {
        #[prost(sint32, optional, tag = "1")]
        pub(super) offset: Option<i32>,
        #[prost(uint32, optional, tag = "2")]
        pub(super) length: Option<u32>,
    }
}

fn decode(frame: &Frame) -> Vec<client::MetricFamily> {
    let mut layout = Layout::default();
    layout.refresh(&[frame]);
    let mut out = BytesMut::new();
    Protobuf::default().encode(&layout, &[frame], &mut out);
    let mut page: Bytes = out.freeze();
    let mut families = Vec::new();
    while !page.is_empty() {
        families.push(client::MetricFamily::decode_length_delimited(&mut page).unwrap());
    }
    families
}

/// Bucket index and count of every bucket in a span.
fn buckets(histogram: &client::Histogram) -> Vec<(i32, u64)> {
    let mut deltas = histogram.positive_delta.iter();
    let (mut index, mut count) = (0, 0i64);
    let mut all = Vec::new();
    for span in &histogram.positive_span {
        index += span.offset.unwrap();
        for _ in 0..span.length.unwrap() {
            count += deltas.next().unwrap();
            all.push((index, count.try_into().unwrap()));
            index += 1;
        }
    }
    assert_eq!(deltas.next(), None);
    all
}

fn number(value: f64) -> client::Number {
    client::Number { value: Some(value) }
}

#[test]
fn every_kind_is_written() {
    use client::MetricType;
    let families = decode(fixture::every_kind().frame());
    let heads: Vec<_> = families.iter().map(|f| (f.name(), f.r#type(), f.unit(), f.metric.len())).collect();
    assert_eq!(
        heads,
        [
            ("node_things_total", MetricType::Counter, "", 2),
            ("node_level_bytes", MetricType::Gauge, "bytes", 3),
            ("node_old", MetricType::Untyped, "", 1),
            ("node_wait_seconds", MetricType::Histogram, "seconds", 1),
        ]
    );
    assert_eq!(families[0].help(), "Things, \\ and\nmore \"things\".");
    let thing = &families[0].metric[1];
    assert_eq!((thing.label[0].name(), thing.label[0].value()), ("path", "q\"b\\s\nn"));
    assert_eq!(thing.counter, Some(client::Counter { value: Some(0.25), start_timestamp: None }));
    assert!(families[1].metric[0].gauge.unwrap().value().is_nan());
    assert_eq!(families[1].metric[2].gauge, Some(number(f64::NEG_INFINITY)));
    assert_eq!(families[2].metric[0].untyped, Some(number(9_007_199_254_740_992.0)));
}

#[test]
fn what_does_not_count_from_boot_says_since_when() {
    use crate::catalogue::{Metric, Since};
    static CALLS: Metric = Metric::counter("calls_total", "Calls.", &[]).since(Since::Attach);
    static TIMES: Metric = Metric::histogram("times", "Times.", fixture::BUCKETS, &[]).since(Since::Attach);
    static OWN: Metric = Metric::counter("own_total", "Own.", &[]).since(Since::Start);
    static STATE: Metric = Metric::gauge("state", "State.", &[]);
    let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, 5);
    let beginnings = Beginnings { attach: Some(at(1_700_000_000)), start: Some(at(1_800_000_000)) };
    let mut store = fixture::store(|_| {}).with(beginnings);
    fixture::cycle(&mut store, |acc| {
        acc.put(&CALLS, &[], 1.0);
        acc.put(&TIMES, &[], &Histogram::new(fixture::BUCKETS));
        acc.put(&OWN, &[], 2.0);
        acc.put(&STATE, &[], 3.0);
        acc.put(&fixture::WAIT, &[b"0"], &Histogram::new(fixture::BUCKETS));
    });
    let families = decode(store.frame());
    let started = |seconds| Some(client::Timestamp { seconds, nanos: 5 });
    let metrics: Vec<_> = families.iter().map(|family| &family.metric[0]).collect();
    assert_eq!(metrics[0].counter.unwrap().start_timestamp, started(1_700_000_000));
    assert_eq!(metrics[1].histogram.as_ref().unwrap().start_timestamp, started(1_700_000_000));
    assert_eq!(metrics[2].counter.unwrap().start_timestamp, started(1_800_000_000));
    assert_eq!(metrics[3].gauge, Some(number(3.0)));
    assert_eq!(metrics[4].histogram.as_ref().unwrap().start_timestamp, None);
}

#[test]
fn a_histogram_has_classic_and_native_buckets() {
    let families = decode(fixture::every_kind().frame());
    let histogram = families[3].metric[0].histogram.as_ref().unwrap();
    assert_eq!((histogram.sample_count(), histogram.sample_sum()), (6, 10.5));
    let classic: Vec<_> = histogram.bucket.iter().map(|b| (b.upper_bound(), b.cumulative_count())).collect();
    assert_eq!(classic, [(0.25, 2), (0.5, 3), (1.0, 5), (2.0, 5)]);
    let native = (histogram.schema(), histogram.zero_count(), histogram.zero_threshold());
    assert_eq!(native, (3, 1, 2f64.powi(-128)));
    // 0.25 s, 0.5 s, 1 s and 8 s lie on their bounds; 0.75 s = 2^-0.415 in (2^-0.5, 2^-0.375].
    let counted: Vec<_> = buckets(histogram).into_iter().filter(|b| b.1 > 0).collect();
    assert_eq!(counted, [(-16, 1), (-8, 1), (-3, 1), (0, 1), (24, 1)]);
    // The gap of two before 1 s is filled, longer ones are not.
    assert_eq!(histogram.positive_span.len(), 4);
}

proptest! {
    #[test]
    fn spans_and_deltas_give_the_slots_back(
        filled in prop::collection::vec((0usize..fixture::BUCKETS.slots, 1u64..1 << 40), 0..300),
        zero in 0u64..5,
    ) {
        let mut value = Histogram::new(fixture::BUCKETS);
        value.zero = zero;
        for (slot, count) in filled {
            value.counts[slot] = count;
        }
        let store = fixture::store(|acc| acc.put(&fixture::WAIT, &[b"0"], &value));
        let families = decode(store.frame());
        let histogram = families[0].metric[0].histogram.as_ref().unwrap();
        let mut counts = vec![0; value.counts.len()];
        for (index, count) in buckets(histogram) {
            counts[usize::try_from(index - value.buckets.scale.offset()).unwrap()] = count;
        }
        prop_assert_eq!(&counts, &value.counts);
        prop_assert_eq!(histogram.sample_count(), value.count());
        prop_assert!(histogram.bucket.is_sorted_by_key(client::Bucket::cumulative_count));
        prop_assert!(histogram.bucket.iter().all(|b| b.cumulative_count() <= value.count()));
    }
}
