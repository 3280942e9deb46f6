mod parts;
mod queries;

use std::{path::Path, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    catalogue::{Label, Metric, OptionDef, OptionValue, Source},
    config::Budget,
    input::InputDef,
    input::{OptionSetting, Unsupported},
};

static SECONDS: Metric = Metric::counter("cpu_seconds_total", "Time by mode.", &[Label::cpu()]);
static FREQUENCY: Metric = Metric::gauge("cpu_frequency_hertz", "Frequency.", &[Label::cpu()]);
static MEMORY: Metric = Metric::gauge("memory_*_bytes", "As the source names it.", &[]);

static CPU: InputDef = InputDef {
    name: "cpu",
    about: "For tests.",
    prefix: "node_",
    source: Source::Own,
    cost: "nothing",
    metrics: &[&SECONDS, &FREQUENCY],
    options: &[
        OptionDef { key: "guest", default: OptionValue::Bool(true), help: "Guest time." },
        OptionDef { key: "only", default: OptionValue::Regex(""), help: "CPUs to read." },
    ],
    open: |_| Err(Unsupported("only for tests".into())),
};
static MEMINFO: InputDef = InputDef { name: "meminfo", metrics: &[&MEMORY], options: &[], ..CPU };

fn base() -> Config {
    Config { pipelines: [&CPU, &MEMINFO].map(PipelineConfig::new).into(), ..Config::default() }
}

fn good(text: &str) -> Config {
    load(text, base()).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"))
}

#[track_caller]
fn bad(text: &str, expected: &[&str]) {
    let problems = load(text, base()).err().unwrap_or_default();
    let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn every_key_reaches_its_field() {
    let config = good(
        r#"
        listen = ["127.0.0.1:9100", "[::1]:9101"]
        procfs = "/p"
        rootfs = "/host"
        scrape.budget = "250ms"
        [ebpf]
        enabled = false
        pin = "/sys/fs/bpf/other"
        [budget]
        cpu_percent = 2.5
        memory_mib = 0
        window = "30s"
        kernel_programs = true
        [input.cpu]
        enabled = false
        interval = "10s"
        offset = "1s"
        deadline = "100ms"
        prefix = ""
        allow = ["cpu_*"]
        deny = ["*_hertz"]
        tags = { rack = "r1", zone = "z" }
        max_series = 1_000
        guest = false
        only = '^cpu\d$'
        "#,
    );
    assert_eq!(
        config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1:9100", "[::1]:9101"]
    );
    assert_eq!(config.roots.procfs, Path::new("/p"));
    assert_eq!(config.roots.sysfs, Path::new("/host/sys"), "follows rootfs");
    assert_eq!(config.scrape_budget, Duration::from_millis(250));
    assert!(!config.ebpf);
    assert_eq!(config.pin, Path::new("/sys/fs/bpf/other"));
    let cpu = &config.pipelines[0];
    assert!(!cpu.enabled);
    assert_eq!(cpu.interval, Some(Duration::from_secs(10)));
    assert_eq!(cpu.offset, Duration::from_secs(1));
    assert_eq!(cpu.deadline, Duration::from_millis(100));
    assert_eq!(cpu.transform.prefix.as_deref(), Some(""));
    assert_eq!(cpu.transform.allow, ["cpu_*"]);
    assert_eq!(cpu.transform.deny, ["*_hertz"]);
    assert_eq!(cpu.transform.tags, [("rack".into(), "r1".into()), ("zone".into(), "z".into())]);
    assert_eq!(cpu.transform.max_series, 1_000);
    let budget =
        Budget { cpu_percent: 2.5, memory_mib: 0.0, window: Duration::from_secs(30), kernel_programs: true };
    assert_eq!(config.budget, budget);
    assert_eq!((budget.limits().cpu, budget.limits().memory), (Some(0.025), None));
    assert_eq!(
        cpu.options,
        [
            ("guest".into(), OptionSetting::Bool(false)),
            ("only".into(), OptionSetting::Regex(r"^cpu\d$".into())),
        ]
    );
}

#[test]
fn a_short_interval_shortens_the_default_deadline() {
    let config = good("[input.cpu]\ninterval = \"100ms\"\n");
    assert_eq!(config.pipelines[0].deadline, Duration::from_millis(100));
}

#[test]
fn an_empty_file_changes_nothing() {
    assert_eq!(format!("{:?}", good("")), format!("{:?}", base()));
}

#[test]
fn all_problems_are_named_at_once_in_the_order_of_the_file() {
    bad(
        r#"lisen = ["0.0.0.0:9100"]
[scrape]
budget = 500
[ebpf]
enabled = "yes"
[input.cpuu]
whatever = 1
[input.cpu]
intervall = "10s"
max_series = 0
tags = { cpu = "x" }
"#,
        &[
            "1:1: unknown key `lisen`: did you mean `listen`?",
            "3:10: `budget` needs a unit: \"500s\" or \"500ms\"",
            "5:11: `enabled` must be true or false, not a string",
            "6:8: unknown input `cpuu`: did you mean `cpu`?",
            "9:1: unknown key `intervall` in `[input.cpu]`: did you mean `interval`?",
            "10:14: `max_series` must lie between 1 and 4294967295",
        ],
    );
}

#[test]
fn syntax_errors_are_problems_too() {
    bad(
        "procfs = \nsysfs = \"/s\n",
        &[
            "1:10: string values must be quoted, expected literal string",
            "2:12: invalid basic string, expected `\"`",
        ],
    );
    bad("[input.cpu]\nenabled = true\nenabled = false\n", &["3:1: duplicate key"]);
}

#[test]
fn columns_count_characters() {
    bad(
        "input = { cpu = { prefix = \"é\", only = 1 } }",
        &[
            "1:28: \"é\" cannot begin a metric name: a prefix takes letters, digits, `_` and `:`, no digit first",
            "1:40: `only` must be a regular expression in quotes, not an integer",
        ],
    );
}

#[test]
fn names_in_the_wrong_place() {
    bad("[scarpe]\n", &["1:2: unknown table `scarpe`: did you mean `scrape`?"]);
    bad("[cpu]\n", &["1:2: unknown table `cpu`: did you mean `[input.cpu]`?"]);
    bad("budget = \"1s\"", &["1:1: unknown key `budget`: did you mean `budget` in `[scrape]`?"]);
    bad(
        "colour = 1",
        &[
            "1:1: unknown key `colour`: known are `listen`, `rootfs`, `procfs`, `sysfs`, `scrape`, `ebpf`, `budget`, `tasks`, `bursts`, `pods`, `reload`, \
             `input`, `pipeline`, `output`",
        ],
    );
    bad("[ebpf]\npinned = \"\"\n", &["2:1: unknown key `pinned` in `[ebpf]`: known are `enabled`, `pin`"]);
    bad("[input.xyz]", &["1:8: unknown input `xyz`: `pitot inputs` lists them"]);
    bad(
        "[input.meminfo]\nguest = true",
        &[
            "2:1: unknown key `guest` in `[input.meminfo]`: known are `enabled`, `interval`, `offset`, `spread`, `deadline`, `outputs`, `prefix`, `allow`, `deny`, `allow_labels`, `deny_labels`, `rename`, `values`, `derive`, `tags`, `tag_policy`, `format`, `max_series`, `sql`, \
             `select`, `where`, `group_by`, `window`",
        ],
    );
    bad("[input.cpu]\ngest = true", &["2:1: unknown key `gest` in `[input.cpu]`: did you mean `guest`?"]);
}

#[test]
fn who_is_asked_about_pods_can_answer() {
    let config = good("[pods]\nsockets = [\"/run/x.sock\"]\nkubelet = \"http://127.0.0.1:10255\"\n");
    assert_eq!(config.pods.sockets, ["/run/x.sock"]);
    assert_eq!(config.pods.kubelet.as_deref(), Some("http://127.0.0.1:10255"));
    bad(
        "[pods]\nsockets = [\"x.sock\"]\nkubelet = \"https://127.0.0.1:10250\"\n",
        &[
            "2:11: `sockets` has `x.sock`, which is not a path from `/` on",
            "3:11: `kubelet` has https: say in `kubelet_ca_file` who signs its certificate, or with \
             `kubelet_insecure = true` that it does not matter",
        ],
    );
    bad("[pods]\nsocket = []\n", &["2:1: unknown key `socket` in `[pods]`: did you mean `sockets`?"]);
}

#[test]
fn limits_are_numbers_in_reason() {
    bad(
        "[budget]\ncpu_percent = -1\nmemory_mib = inf",
        &[
            "2:15: `cpu_percent` must lie between 0, which is no limit, and 1000000",
            "3:14: `memory_mib` must lie between 0, which is no limit, and 1000000",
        ],
    );
    bad(
        "[budget]\ncpu_percent = nan",
        &["2:15: `cpu_percent` must lie between 0, which is no limit, and 1000000"],
    );
    bad("[budget]\ncpu_percent = \"2\"", &["2:15: `cpu_percent` must be a number, not a string"]);
}

#[test]
fn wrong_types() {
    bad(
        "input = 1\nscrape = []",
        &["1:9: `input` must be a table, not an integer", "2:10: `scrape` must be a table, not an array"],
    );
    bad("[[input.cpu]]\n", &["1:1: `input.cpu` must be a table, not an array"]);
    bad(
        "procfs = 1.5\nsysfs = \"\"\nlisten = \"0.0.0.0:9100\"",
        &[
            "1:10: `procfs` must be a path in quotes, not a float",
            "2:9: `sysfs` must not be empty",
            "3:10: `listen` must be an array of \"ADDR:PORT\", not a string",
        ],
    );
    bad(
        "[input.cpu]\nallow = [1]\ntags = { rack = 1 }\nmax_series = \"1\"\nprefix = true\nonly = 1",
        &[
            "2:10: `allow` must be an array of globs, not an integer",
            "3:17: tag `rack` must be a string, not an integer",
            "4:14: `max_series` must be a whole number, not a string",
            "5:10: `prefix` must be a string, not a boolean",
            "6:8: `only` must be a regular expression in quotes, not an integer",
        ],
    );
}

#[test]
fn values_that_cannot_be() {
    bad(
        "listen = [\"0.0.0.0:9100\", \":9100\", \"0.0.0.0:9100\"]",
        &[
            "1:27: `listen` cannot be \":9100\": it takes an IP address and a port, as in \"0.0.0.0:9100\" or \
         \"[::]:9100\"",
            "1:36: `listen` has `0.0.0.0:9100` twice",
        ],
    );
    bad("listen = []", &["1:10: `listen` needs at least one address, or no `listen` at all"]);
    bad(
        "[scrape]\nbudget = \"half a second\"",
        &[
            "2:10: `budget` cannot be \"half a second\": a duration is a whole number and ms, s, m or h, as in \
         \"10s\"",
        ],
    );
    bad(
        "[input.cpu]\ninterval = \"0ms\"\ndeadline = \"48h\"",
        &["2:12: `interval` must be at least 1ms", "3:12: `deadline` must not be longer than 24h"],
    );
    bad(
        "[input.cpu]\nprefix = \"1node_\"\nonly = \"(\"",
        &[
            "2:10: \"1node_\" cannot begin a metric name: a prefix takes letters, digits, `_` and `:`, no digit first",
            "3:8: `only` is not a regular expression: found open group without closing ')'",
        ],
    );
    bad(
        "[input.cpu.tags]\n0rack = \"\"\n__x = \"\"\nle = \"\"",
        &[
            "2:1: tag `0rack` is not a label name: it takes letters, digits and `_`, no digit first, no `__` first",
            "3:1: tag `__x` is not a label name: it takes letters, digits and `_`, no digit first, no `__` first",
            "4:1: tag `le` is reserved by Prometheus: take another name",
        ],
    );
}

#[test]
fn schedules_that_contradict_themselves() {
    bad("[input.cpu]\noffset = \"1s\"", &["2:10: `offset` shifts an `interval`, and there is none"]);
    bad(
        "[input.cpu]\ninterval = \"1s\"\noffset = \"1s\"\ndeadline = \"2s\"",
        &[
            "3:10: `offset` must be shorter than `interval`",
            "4:12: `deadline` must not be longer than `interval`",
        ],
    );
    // The interval alone is reported, not what would have followed from it.
    bad(
        "[input.cpu]\ninterval = 10\noffset = \"1s\"",
        &["2:12: `interval` needs a unit: \"10s\" or \"10ms\""],
    );
}

#[test]
fn globs_must_be_able_to_match() {
    bad(
        "[input.cpu]\nallow = [\"cpu_secnds_total\", \"node_cpu_*\", \"disk_*\", \"cpu-*\"]",
        &[
            "2:10: no metric of input `cpu` is called `cpu_secnds_total`: did you mean `cpu_seconds_total`?",
            "2:30: no metric of input `cpu` is called `node_cpu_*`: did you mean `cpu_*`, without the prefix?",
            "2:44: no metric of input `cpu` is called `disk_*`: it has `cpu_seconds_total`, `cpu_frequency_hertz`",
            "2:54: \"cpu-*\" is not a glob on metric names: it takes letters, digits, `_`, `:`, `*` for any run and `?` for one character; a regular expression stands between slashes",
        ],
    );
    bad(
        "[input.cpu]\nallow = [\"cpu_*\"]\ndeny = [\"cpu_*\"]",
        &["3:9: `cpu_*` is both allowed and denied: remove it from one of the lists"],
    );
    // The source completes the name: any part may turn up.
    good("[input.meminfo]\nallow = [\"memory_MemFree_bytes\", \"*Huge*\"]");
    bad(
        "[input.meminfo]\ndeny = [\"memory_MemFree\"]",
        &["2:9: no metric of input `meminfo` is called `memory_MemFree`: it has `memory_*_bytes`"],
    );
}

/// Pieces of which a file may be made, right and wrong.
const PIECES: [&str; 24] = [
    "[input.cpu]\n",
    "[input.",
    "cpu",
    "]\n",
    "[scrape]\n",
    "budget",
    "interval",
    "offset",
    "allow",
    "tags",
    " = ",
    "\"10s\"",
    "\"",
    "\"1h\"",
    "10",
    "[\"cpu_*\"]",
    "[",
    "{ cpu = \"x\" }",
    "{",
    "true",
    "\n",
    "é",
    "#",
    ".",
];

proptest! {
    #[test]
    fn no_text_is_too_odd(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..24),
        noise in ".{0,8}",
    ) {
        for text in [pieces.concat(), pieces.concat() + &noise] {
            let lines = text.matches('\n').count() + 1;
            for problem in load(&text, base()).err().into_iter().flatten() {
                prop_assert!((1..=lines).contains(&problem.line), "{problem} in {text:?}");
                prop_assert!(problem.column >= 1 && !problem.message.is_empty());
            }
        }
    }
}
