//! Queries.

use proptest::prelude::*;

use super::*;
use crate::{catalogue::Kind, input::find, pipeline::QueryConfig};

fn good(text: &str) -> Config {
    load(text, Config::default()).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"))
}

#[track_caller]
fn bad(text: &str, expected: &[&str]) {
    let problems = load(text, Config::default()).err().unwrap_or_default();
    let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{text}");
}

const SQL: &str = "SELECT sum(rate(cpu_seconds_total)) AS busy, max_over(rate(cpu_seconds_total), 60s) AS peak FROM cpu \
                   WHERE mode != 'idle' AND cpu IN ('0', '1') GROUP BY cpu WINDOW 10s";

const DATA: &str = r#"
    select = [
        { metric = "cpu_seconds_total", as = "busy", agg = "sum", of = "rate" },
        { metric = "cpu_seconds_total", as = "peak", agg = "max", of = "rate", over = "1m" },
    ]
    where = { and = [
        { not = { equals = { label = "mode", to = "idle" } } },
        { in = { label = "cpu", to = ["0", "1"] } },
    ] }
    group_by = ["cpu"]
    window = "10s"
"#;

fn further(keys: &str) -> PipelineConfig {
    let config = good(&format!("[pipeline.x]\ninput = \"cpu\"\ninterval = \"1s\"\n{keys}"));
    config.pipelines.into_iter().find(|pipeline| pipeline.key == "x").unwrap()
}

#[test]
fn sql_and_data_say_the_same() {
    let (sql, data) = (further(&format!("sql = \"{SQL}\"")), further(DATA));
    assert_eq!(sql.queries, data.queries);
    assert_eq!(sql.hash(), data.hash());
    assert_eq!(sql.queries[0].to_string(), SQL.replace("60s", "1m"));
    let none = further("");
    assert_ne!(sql.hash(), none.hash());
    let changes: Vec<_> =
        none.changes(&sql).into_iter().map(|change| (change.key, change.is_of_input)).collect();
    assert_eq!(changes, [("sql".to_owned(), false)]);
    let spaced = SQL.replace(" FROM", "\n  FROM").replace("60s", "1m");
    assert_eq!(further(&format!("sql = [\"\"\"\n{spaced}\"\"\"]")).hash(), sql.hash());
}

#[test]
fn several_queries_and_those_of_an_input_and_of_frames() {
    let config = good(
        r#"
        [input.cpu]
        sql = ["SELECT sum(rate(cpu_seconds_total)) AS a FROM cpu", "SELECT max(cpu_frequency_hertz) AS b FROM cpu"]
        allow = ["a"]
        rename = { a = "c" }
        [pipeline.y]
        from = "cpu"
        sql = "SELECT count(node_c) AS d FROM cpu"
        "#,
    );
    let of = |key: &str| config.pipelines.iter().find(|pipeline| pipeline.key == key).unwrap();
    assert_eq!(of("cpu").queries.len(), 2);
    assert_eq!((of("y").prefix(), of("y").queries[0].from.as_str()), ("", "cpu"));
    let results: Vec<_> =
        of("cpu").published().metrics.iter().map(|metric| (metric.name, metric.kind)).collect();
    assert_eq!(results, [("a", Kind::Gauge), ("b", Kind::Gauge)]);
}

#[test]
fn what_is_wrong_with_sql_is_named_where_it_stands() {
    bad(
        r#"[input.cpu]
sql = "SELECT summ(cpu_seconds_total) AS busy FROM cpu"
[input.loadavg]
sql = [
    'SELECT max(load1) AS a FROM loadavg',
    """
SELECT max(load5) AS b
  FROM loadavg HAVING 1""",
    "SELECT \u006Dax(load15) AS c FROM loadavg ORDER BY c",
]
[input.stat]
sql = []
[input.uname]
sql = 7
[input.meminfo]
sql = ["SELECT max(x) AS y FROM meminfo", 1]
"#,
        &[
            "2:15: there is no function `summ`: did you mean `sum`?",
            "8:16: HAVING is not supported: test `value` in WHERE, or the results in the query of another pipeline",
            "9:5: in the SQL, line 1, column 38: ORDER is not supported: results are series, which have no order",
            "12:7: `sql` must have at least one query",
            "14:7: `sql` must be a query in quotes, or an array of them, not an integer",
            "16:43: `sql` must be a query in quotes, or an array of them, not an integer",
        ],
    );
}

#[test]
fn what_a_query_asks_for_must_be_there() {
    bad(
        r#"[input.cpu]
sql = "SELECT max(cpu_second_total) AS busy FROM cpu GROUP BY cpus WINDOW 10s"
[input.loadavg]
interval = "1m"
sql = [
    "SELECT max(load1) AS a FROM loadavg",
    "SELECT max(load5) AS a FROM cpu WINDOW 10s",
]
[input.uname]
interval = "x"
sql = "SELECT count(uname_info) AS kernels FROM uname WINDOW 10s"
[input.stat]
sql = "SELECT max(procs_running) AS procs FROM stat"
allow = ["procs_running"]
tags = { a = "b" }
"#,
        &[
            "2:7: select 1: input `cpu` has no metric `cpu_second_total`: did you mean `cpu_seconds_total`?",
            "2:7: window: a window needs collections at a steady pace: give the pipeline an `interval`",
            "7:5: from: `cpu` is not what it takes its samples from: say FROM loadavg, or let a pipeline of its own take \
             `from = \"cpu\"`",
            "7:5: select 1: another query has a result called `a`, too: choose another name",
            "7:5: window: a window of 10s has no collection in it when there is one every 1m",
            "10:12: `interval` cannot be \"x\": a duration is a whole number and ms, s, m or h, as in \"10s\"",
            "14:10: no metric of the query is called `procs_running`: it has `procs`",
        ],
    );
}

#[test]
fn what_a_pipeline_takes_must_be_published() {
    let source = r#"
[input.loadavg]
rename = { load5 = "middle" }
derive = ["steep = load1 / load15", "drop load15"]
prefix = "a_"
[pipeline.busy]
input = "cpu"
sql = "SELECT sum(rate(cpu_seconds_total)) AS busy FROM cpu GROUP BY cpu"
format = "%s_ratio"
values = { busy = { manipulate = "delta" } }
[pipeline.cached]
from = "meminfo"
sql = "SELECT max(node_memory_Cached_bytes) AS cached FROM meminfo"
[pipeline.good]
from = "loadavg"
sql = "SELECT max(a_load1) AS x, max(a_middle) AS y, max(a_steep) AS z FROM loadavg"
"#;
    good(source);
    let wrong = r#"[pipeline.one]
from = "loadavg"
sql = "SELECT max(load1) AS x, max(a_load15) AS y, max(a_midle) AS z FROM loadavg"
[pipeline.two]
from = "busy"
select = [{ metric = "busy", as = "x", agg = "max" }]
"#;
    bad(
        &format!("{wrong}{source}"),
        &[
            "3:7: select 1: pipeline `loadavg` publishes no metric `load1`: did you mean `a_load1`, with the prefix?",
            "3:7: select 2: pipeline `loadavg` publishes no metric `a_load15`: did you mean `a_load1`?",
            "3:7: select 3: pipeline `loadavg` publishes no metric `a_midle`: did you mean `a_middle`?",
            "6:11: pipeline `busy` publishes no metric `busy`: it has `busy_delta_ratio`",
        ],
    );
}

#[test]
fn what_is_wrong_with_data_is_named_where_it_stands() {
    bad(
        r#"[input.cpu]
select = [{ metric = "cpu_seconds_total", as = "a", agg = "rate" }]
[input.loadavg]
select = [
    { metric = "load1", as = "a", agg = "max" },
    { metric = "load2", as = "b", agg = "max" },
]
where = { equals = { label = "cpu", to = "0" } }
group_by = ["host"]
window = "1s"
[input.stat]
where = { equals = { label = "cpu", to = "0" } }
[input.uname]
sql = "SELECT count(uname_info) AS kernels FROM uname"
window = "1s"
[input.meminfo]
select = [{ metric = "x", as = "y", agg = "max" }]
where = { equal = 1 }
window = 10
"#,
        &[
            "2:59: `select`: `rate` is not an aggregate: give it as `of`, and `agg` as `sum`",
            "6:5: input `loadavg` has no metric `load2`: did you mean `load1`?",
            "8:9: `load1` has no label `cpu`: it has none",
            "9:12: `load1` has no label `host`: it has none",
            "10:10: a window needs collections at a steady pace: give the pipeline an `interval`",
            "12:1: `where` is a part of a query: say with `select` what is computed",
            "15:1: `sql` and `window` exclude each other: a query is one or the other",
            "18:11: `where`: unknown variant `equal`, expected one of `and`, `or`, `not`, `equals`, `in`, `like`, `glob`, \
             `regex`, `value`",
            "19:10: `window` needs a unit: \"10s\" or \"10ms\"",
        ],
    );
}

proptest! {
    /// What the file takes as SQL, it takes again as it is shown, with the same meaning.
    #[test]
    fn what_is_shown_is_read_again(
        agg in "(sum|avg|min|max|count|last|p50|p99)",
        rated in any::<bool>(),
        mode in "[a-z'\"\\\\ ü]{0,8}",
        grouped in any::<bool>(),
        window in proptest::option::of(1_u64..86_400_000),
    ) {
        // A counter by itself only rises.
        let metric = if rated || agg.starts_with('p') || matches!(&*agg, "avg" | "min" | "max" | "last") { "rate(cpu_seconds_total)" } else { "cpu_seconds_total" };
        let group = if grouped { " GROUP BY cpu, mode" } else { "" };
        let window = window.map(|millis| format!(" WINDOW {millis}ms")).unwrap_or_default();
        let mode = mode.replace('\'', "''");
        let sql = format!("SELECT {agg}({metric}) AS x FROM cpu WHERE mode LIKE '{mode}'{group}{window}");
        let query = QueryConfig::from_sql(&sql).unwrap();
        let own = PipelineConfig { queries: vec![query], ..PipelineConfig::new(find("cpu").unwrap()) };
        let (_, shown) = own.settings().find(|(key, _)| *key == "sql").unwrap();
        let text = format!("[input.cpu]\ninterval = \"1ms\"\nsql = {shown}\n");
        let read = load(&text, Config::default()).unwrap().pipelines.swap_remove(0);
        prop_assert_eq!(read.queries, own.queries);
    }
}
