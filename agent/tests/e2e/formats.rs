//! Every format, plain and compressed, says the same.

use std::collections::BTreeMap;

use crate::{
    agent::{Agent, is_root, trees},
    client::{Answer, get},
    exposition::Exposition,
    protobuf,
};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

fn page(agent: &Agent, accept: &str, encoding: &str) -> Answer {
    let headers = [("Accept", accept), ("Accept-Encoding", encoding)];
    let answer = get(agent.address, "/metrics", &headers).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer
}

/// Every number of a recorded host by series; what is live would differ from page to page.
type Numbers = BTreeMap<String, f64>;

fn key(name: &str, labels: impl IntoIterator<Item = (String, String)>) -> Option<String> {
    let live = ["node_time_", "node_filesystem_", "pitot_"].iter().any(|start| name.starts_with(start));
    let labels: BTreeMap<_, _> = labels.into_iter().collect();
    (!live).then(|| format!("{name} {labels:?}"))
}

fn of_text(page: &str) -> Numbers {
    let read = Exposition::read(page);
    read.series.into_iter().filter_map(|s| Some((key(&s.name, s.labels)?, s.value))).collect()
}

fn of_protobuf(page: Vec<u8>) -> Numbers {
    let mut numbers = Numbers::new();
    for family in protobuf::read(page) {
        assert!(!family.help.unwrap_or_default().is_empty() && family.kind.is_some());
        for metric in family.metric {
            let labels = metric.label.iter().map(|l| (l.name.clone().unwrap(), l.value.clone().unwrap()));
            if let (Some(key), Some(value)) = (key(family.name.as_ref().unwrap(), labels), metric.number()) {
                assert!(numbers.insert(key.clone(), value).is_none(), "twice: {key}");
            }
        }
    }
    numbers
}

#[test]
fn text_openmetrics_and_protobuf_carry_the_same_numbers_plain_and_compressed() {
    for host in ["small", "odd"] {
        let trees = trees(host);
        let agent = Agent::start("", &trees.iter().map(String::as_str).collect::<Vec<_>>());
        let mut all = Vec::new();
        for encoding in ["identity", "gzip"] {
            for accept in ["text/plain;version=0.0.4", OPENMETRICS, PROTOBUF] {
                let answer = page(&agent, accept, encoding);
                let compressed = answer.header("content-encoding") == "gzip";
                assert_eq!(compressed, encoding == "gzip", "{}", answer.head);
                let kind = accept.split(';').next().unwrap();
                assert!(answer.header("content-type").starts_with(kind), "{}", answer.head);
                assert!(answer.header("vary").to_lowercase().contains("accept"), "{}", answer.head);
                let plain = answer.plain();
                all.push(if accept == PROTOBUF {
                    of_protobuf(plain)
                } else {
                    of_text(&String::from_utf8(plain).unwrap())
                });
            }
        }
        assert!(all[0].len() > 150, "{}", all[0].len());
        assert!(all.iter().all(|numbers| *numbers == all[0]), "{host}");
    }
}

#[test]
fn an_openmetrics_page_follows_the_rules_that_text_does_not_have() {
    let agent = Agent::start("", &[]);
    let read = Exposition::read(&page(&agent, OPENMETRICS, "identity").text());
    assert!(read.ended, "there is no # EOF");
    for (family, kind) in &read.types {
        assert!(!(kind == "counter" && family.ends_with("_total")), "{family}");
        let sample = if kind == "counter" { format!("{family}_total") } else { family.clone() };
        assert!(kind == "histogram" || read.has(&sample), "{family} ({kind}) has no sample {sample}");
        assert!(["counter", "gauge", "info", "unknown", "histogram"].contains(&kind.as_str()), "{kind}");
    }
}

#[test]
fn native_histograms_count_what_classic_buckets_count() {
    if !is_root() {
        return eprintln!("SKIPPED: kernel programs need root");
    }
    let agent = Agent::start_with_ebpf("");
    // What is counted goes on between two pages: the earlier one cannot have more.
    let (mut before, mut native, mut seen) = (agent.page(), Vec::new(), 0);
    for _ in 0..2 {
        before = agent.page();
        native = page(&agent, PROTOBUF, "gzip").plain();
    }
    let before = Exposition::read(&before);
    for family in protobuf::read(native) {
        let name = family.name.unwrap();
        for metric in family.metric {
            let Some(histogram) = metric.histogram else { continue };
            let count = histogram.sample_count.unwrap();
            let mut bucket = 0;
            let in_buckets: i64 = histogram
                .positive_delta
                .iter()
                .map(|delta| {
                    bucket += delta;
                    bucket
                })
                .sum();
            let covered: u32 = histogram.positive_span.iter().map(|span| span.length.unwrap()).sum();
            assert_eq!(covered as usize, histogram.positive_delta.len(), "{name}");
            assert_eq!(in_buckets.cast_unsigned() + histogram.zero_count.unwrap_or(0), count, "{name}");
            // What there is one of for each cgroup has a bucket per power of two.
            let schema = if name.contains("_cgroup_") { 0 } else { 3 };
            assert_eq!(histogram.schema, Some(schema), "{name}");
            let labels: Vec<_> = metric
                .label
                .iter()
                .map(|label| (label.name.as_deref().unwrap(), label.value.as_deref().unwrap()))
                .collect();
            let classic = before.value(&format!("{name}_count"), &labels);
            assert!(classic.is_none_or(|classic| classic <= count as f64), "{name} {classic:?} > {count}");
            seen += 1;
        }
    }
    if let Some(reason) = not_running(&agent, "sched") {
        return eprintln!("SKIPPED: {reason}");
    }
    assert!(seen > 0, "there is no histogram");
}

/// Why an input does not run on this machine.
pub(crate) fn not_running(agent: &Agent, input: &str) -> Option<String> {
    let status: serde_json::Value = serde_json::from_slice(&agent.get("/status").body).unwrap();
    let inputs = status["inputs"].as_array().unwrap();
    let report = inputs.iter().find(|report| report["input"] == input).unwrap();
    let up = report["state"] == "running" || report["state"] == "degraded";
    (!up).then(|| report.to_string())
}
