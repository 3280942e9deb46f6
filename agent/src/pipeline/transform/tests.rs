use super::*;
use crate::{
    accumulator::{Candidate, Change, Naming, Verdict, Wanted},
    catalogue::{Buckets, Kind, Label, Metric, Source},
    input::{InputDef, Unsupported},
};

const CPU: &[Label] = &[Label::cpu(), Label::fixed("mode", &["idle", "user"])];
static SECONDS: Metric = Metric::counter("cpu_seconds_total", "CPU time.", CPU);
static LOAD: Metric = Metric::gauge("load1", "Load.", &[]);
static MEMORY: Metric = Metric::gauge("memory_*_bytes", "Memory.", &[]);
static ABOUT: Metric = Metric::info("cpu_info", "About.", CPU);
static WAIT: Metric = Metric::histogram(
    "wait_seconds",
    "Waits.",
    Buckets { scale: pitot_common::histogram::Scale::Nanoseconds, slots: 513, first: -3, last: 2 },
    &[],
);
static DEF: InputDef = InputDef {
    name: "test",
    about: "For tests.",
    prefix: "node_",
    source: Source::Own,
    cost: "nothing",
    metrics: &[&SECONDS, &LOAD, &MEMORY, &ABOUT, &WAIT],
    options: &[],
    open: |_| Err(Unsupported("only for tests".into())),
};

fn own(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn rule(pattern: &str, manipulation: Manipulation) -> ValueRule {
    ValueRule { pattern: pattern.to_owned(), manipulation, keep_negative: false }
}

fn admit(config: &TransformConfig, metric: &'static Metric, name: &str, labels: &[&[u8]]) -> Option<Wanted> {
    match Rules::of(config, "node_").admit(&Candidate { metric, name, labels }) {
        Verdict::Wanted(wanted) => Some(wanted),
        Verdict::Unwanted => None,
    }
}

#[test]
fn lists_are_keyed_by_raw_names_and_the_prefix_comes_last() {
    let config =
        TransformConfig { allow: own(&["load*", "/^cpu_/"]), deny: own(&["load15"]), ..Default::default() };
    let wants = |name| admit(&config, &LOAD, name, &[]).is_some();
    assert_eq!(
        ["load1", "load15", "node_load1", "cpu_x", "xcpu_"].map(wants),
        [true, false, false, true, false]
    );
    assert_eq!(Rules::of(&config, "node_").export("load1"), "node_load1");
}

#[test]
fn lists_of_label_values_bind_series_that_have_the_label() {
    let mode = |patterns: &[&str]| vec![("mode".to_owned(), own(patterns))];
    let config = TransformConfig {
        allow_labels: mode(&["i*", "user"]),
        deny_labels: mode(&["/^irq$/"]),
        ..Default::default()
    };
    let wants = |mode: &[u8]| admit(&config, &SECONDS, "cpu_seconds_total", &[b"0", mode]).is_some();
    assert_eq!([&b"idle"[..], b"user", b"irq", b"nice"].map(wants), [true, true, false, false]);
    assert!(admit(&config, &LOAD, "load1", &[]).is_some());
}

#[test]
fn names_are_made_valid_and_formats_stand_around_them() {
    let prefixed = TransformConfig { prefix: Some("host_".into()), ..Default::default() };
    assert_eq!(Rules::of(&prefixed, "node_").export("a.b-c"), "host_a_b_c");
    let formatted = TransformConfig { format: Some("host_%s_x".into()), ..Default::default() };
    assert_eq!(Rules::of(&formatted, "node_").export("ü"), "host___x");
    assert_eq!(Rules::of(&TransformConfig::default(), "node_").export("ü"), "node__");
}

#[test]
fn changes_name_their_results() {
    let config = TransformConfig {
        values: vec![rule("load?", Manipulation::Gauge), rule("*", Manipulation::Rate)],
        ..Default::default()
    };
    let wanted = admit(&config, &SECONDS, "cpu_seconds_total", &[b"0", b"idle"]).unwrap();
    assert_eq!((wanted.name.as_str(), wanted.metric.kind), ("cpu_seconds_per_second", Kind::Gauge));
    let rate = Change::Rate { keep_negative: false };
    assert_eq!(wanted.change, rate);
    // The first rule that matches; neither info metrics nor histograms change.
    assert_eq!(admit(&config, &LOAD, "load1", &[]).unwrap().change, Change::Pass);
    assert_eq!(admit(&config, &ABOUT, "cpu_info", &[b"0", b"x"]).unwrap().change, Change::Pass);
    assert_eq!(admit(&config, &WAIT, "wait_seconds", &[]).unwrap().name, "wait_seconds");
    // A name that was given is kept, but for the ending of counters.
    for (to, name) in [("busy", "busy"), ("busy_total", "busy")] {
        let config = TransformConfig { rename: pairs(&[("cpu_seconds_total", to)]), ..config.clone() };
        assert_eq!(admit(&config, &SECONDS, "cpu_seconds_total", &[b"0", b"idle"]).unwrap().name, name);
    }
}

#[test]
fn tags_yield_win_or_refuse() {
    let labels = |policy| {
        let config = TransformConfig {
            tags: pairs(&[("mode", "tag"), ("rack", "7")]),
            target_tags: pairs(&[("rack", "target"), ("pod", "p")]),
            tag_policy: policy,
            ..Default::default()
        };
        let rules = Rules::of(&config, "");
        let out = rules.labels(vec![("cpu", "0".into()), ("mode", "idle".into())]);
        out.map(|all| all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(labels(TagPolicy::OwnWins).as_deref(), Some("cpu=0 mode=idle rack=7 pod=p"));
    assert_eq!(labels(TagPolicy::TagsWin).as_deref(), Some("cpu=0 mode=tag rack=7 pod=p"));
    assert_eq!(labels(TagPolicy::Refuse), None);
}

/// Key, place and text of all complaints.
fn complaints(config: &TransformConfig) -> Vec<String> {
    let place = |complaint: &Complaint| {
        let mut place = complaint.key.to_owned();
        if let Some(entry) = &complaint.entry {
            place = format!("{place}.{entry}");
        }
        for index in [complaint.index, complaint.column].into_iter().flatten() {
            place = format!("{place}[{index}]");
        }
        format!("{place}: {complaint}")
    };
    config.check(&Published::of(&DEF)).iter().map(place).collect()
}

#[test]
fn the_default_is_right_and_so_is_this() {
    assert_eq!(complaints(&TransformConfig::default()), Vec::<String>::new());
    let config = TransformConfig {
        allow: own(&["cpu_*", "memory_MemFree_bytes", "/^memory_[A-Z]/", "load?"]),
        deny: own(&["memory_*Huge*"]),
        deny_labels: vec![("mode".into(), own(&["/^idle$/"]))],
        rename: pairs(&[("load1", "load_one"), ("memory_MemFree_bytes", "free_bytes")]),
        values: vec![rule("cpu_seconds_total", Manipulation::Rate), rule("load1", Manipulation::Delta)],
        derive: own(&[
            "used = memory_MemTotal_bytes - free_bytes",
            "drop free_bytes",
            "x = cpu_seconds_per_second * 2 + load_one",
        ]),
        tags: pairs(&[("rack", "7")]),
        format: Some("host_%s".into()),
        ..Default::default()
    };
    assert_eq!(complaints(&config), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_told_with_the_place_and_what_to_do() {
    let config = TransformConfig {
        allow: own(&["laod1", "node_load1", "/(/", "a b", ""]),
        deny: own(&["laod1"]),
        allow_labels: vec![("mod".into(), own(&["/[/"])), ("cpu".into(), Vec::new())],
        rename: pairs(&[("load1", "load one"), ("load1", "x"), ("load*", "y"), ("cpu_info", "info_total")]),
        values: vec![
            rule("wait_*", Manipulation::Rate),
            ValueRule { keep_negative: true, ..rule("load1", Manipulation::Gauge) },
            rule("nothing", Manipulation::Delta),
        ],
        tags: pairs(&[("le", "1"), ("1st", "2")]),
        prefix: Some("9_".into()),
        format: Some("%s_%s".into()),
        ..Default::default()
    };
    let found = complaints(&config);
    let expected = [
        "allow[0]: no metric of input `test` is called `laod1`: did you mean `load1`?",
        "allow[1]: no metric of input `test` is called `node_load1`: did you mean `load1`, without the prefix?",
        "allow[2]: `/(/` is not a regular expression: correct it: ",
        "allow[3]: \"a b\" is not a glob on metric names: it takes letters",
        "allow[4]: an empty pattern matches nothing that has a name: remove it",
        "deny[0]: `laod1` is both allowed and denied: remove it from one of the lists",
        "allow_labels.mod: no metric of input `test` has a label `mod`: did you mean `mode`?",
        "allow_labels.mod[0]: `/[/` is not a regular expression: ",
        "allow_labels.cpu: `allow_labels` has no pattern for label `cpu`: give one, or remove the label",
        "rename.load1: \"load one\" is not a metric name: ",
        "rename.load1: `load1` is renamed twice: remove one of them",
        "rename.load*: no metric of input `test` is called `load*`: ",
        "rename.cpu_info: `cpu_info` is a gauge: only counters end in `_total`: take another name",
        "values.wait_*[0]: `wait_seconds` is a histogram, which has no difference or rate: ",
        "values.load1[1]: `load1` is published as it is, negative or not: remove `keep_negative`",
        "values.nothing[2]: no metric of input `test` is called `nothing`: ",
        "tags.le: tag `le` is reserved by Prometheus: take another name",
        "tags.1st: tag `1st` is not a label name: ",
        "prefix: \"9_\" cannot begin a metric name: ",
        "format: `format` and `prefix` both say what stands before a name: remove one of them",
        "format: \"%s_%s\" is not a format of metric names: ",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn formulas_that_are_wrong_say_where() {
    for (text, expected) in [
        ("x = ", "[4]: a value is missing here"),
        ("x = load1 +", "[11]: a value is missing here"),
        ("x = load1 load1", "[10]: the expression ends before this"),
        ("x = (load1", "[10]: a `)` is missing here"),
        ("x = load1 % 2", "[10]: `%` has no meaning here"),
        ("x = 1.2.3", "[4]: `1` has no meaning here"),
        ("x = 1e999", "[4]: `1` has no meaning here"),
        ("x = sqrt(load1)", "[4]: there is no function `sqrt`: there are `divide`, "),
        ("x = min(load1)", "[13]: `min` takes 2 values"),
        ("x = abs(load1, 1)", "[13]: a `)` is missing here"),
        ("x_total = load1", "[0]: `x_total` is computed, which makes it a gauge"),
        ("x = laod1", "[4]: there is no metric `laod1` to compute from: did you mean `load1`?"),
        ("x = wait_seconds", "[4]: `wait_seconds` is a histogram"),
        ("drop", "[0]: this is no statement: write "),
        ("label rack 7", "[0]: this is no statement: write "),
        ("= 1", "[0]: a statement begins with a name"),
        ("", "[0]: a statement begins with a name"),
        ("rename load1 cpu_x_total y", "[0]: this is no statement"),
    ] {
        let config = TransformConfig { derive: own(&[text]), ..Default::default() };
        let found = complaints(&config);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("derive[0]{expected}")),
            "{text}: {found:?}"
        );
    }
    let deep = format!("x = {}load1{}", "(".repeat(20), ")".repeat(20));
    let long = format!("x = load1{}", " + load1".repeat(200));
    for (statements, expected) in [
        (vec![deep], "derive[0][20]: the expression is nested too deeply: split it"),
        (vec![long], "derive[0]"),
        (vec!["x = load1".to_owned(); 70], "derive[64][0]: there are more than 64 statements: split"),
        (own(&["drop load1", "x = load1"]), "derive[1][4]: `load1` was dropped or renamed before"),
        (own(&["x = 1", "rename load1 x"]), "derive[1][13]: there is a metric `x` already"),
    ] {
        let found = complaints(&TransformConfig { derive: statements, ..Default::default() });
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn arithmetic_is_as_usual() {
    use crate::accumulator::{DEPTH, evaluate};
    for (text, expected) in [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("10 - 4 - 3", 3.0),
        ("12 / 3 / 2", 2.0),
        ("-2 * -3", 6.0),
        ("--2", 2.0),
        ("1e-3 * 1000", 1.0),
        (".5+2.", 2.5),
        ("max(1, min(5, abs(-3)))", 3.0),
        ("divide(1, 0)", 0.0),
    ] {
        let (script, errors) = formula::Script::new(&[format!("x = {text}")]);
        assert_eq!(errors, []);
        let program = &script.formulas().unwrap().list[0].program;
        assert_eq!(evaluate(program, &mut [0.0; DEPTH], |_| None), Some(expected), "{text}");
    }
}
