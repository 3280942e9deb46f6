//! What is written wrong, and the three ways to write the same.

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> QueryConfig {
    QueryConfig::from_sql(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn sql_and_task_files_mean_the_same() {
    let text = "select sum(rate(cpu_seconds_total)) as busy, max_over(level, 60s) AS peak, p99(level) AS p99 \
                from cpu where (mode != 'idle' or cpu in ('0', '1')) and not value <= -1.5 \
                group by cpu, mode window 10s;";
    let json = serde_json::json!({
        "from": "cpu",
        "select": [
            { "metric": "cpu_seconds_total", "as": "busy", "agg": "sum", "of": "rate" },
            { "metric": "level", "as": "peak", "agg": "MAX", "over": "1m" },
            { "metric": "level", "as": "p99", "agg": "p99" },
        ],
        "where": { "and": [
            { "or": [
                { "not": { "equals": { "label": "mode", "to": "idle" } } },
                { "in": { "label": "cpu", "to": ["0", "1"] } },
            ] },
            { "not": { "value": { "is": "lte", "than": -1.5 } } },
        ] },
        "groupBy": ["cpu", "mode"],
        "window": 10_000,
    });
    let toml = r#"
        from = "cpu"
        groupBy = ["cpu", "mode"]
        window = "10s"
        [[select]]
        metric = "cpu_seconds_total"
        as = "busy"
        agg = "sum"
        of = "rate"
        [[select]]
        metric = "level"
        as = "peak"
        agg = "max"
        over = "60s"
        [[select]]
        metric = "level"
        as = "p99"
        agg = "p99"
        [where]
        and = [
            { or = [{ not = { equals = { label = "mode", to = "idle" } } }, { in = { label = "cpu", to = ["0", "1"] } }] },
            { not = { value = { is = "lte", than = -1.5 } } },
        ]
    "#;
    let from_sql = parsed(text);
    assert_eq!(from_sql, serde_json::from_value(json).unwrap());
    assert_eq!(from_sql, toml::from_str(toml).unwrap());
    assert_eq!(
        from_sql.to_string(),
        "SELECT sum(rate(cpu_seconds_total)) AS busy, max_over(level, 1m) AS peak, p99(level) AS p99 FROM cpu \
         WHERE (mode != 'idle' OR cpu IN ('0', '1')) AND NOT (value <= -1.5) GROUP BY cpu, mode WINDOW 10s"
    );
    assert_eq!(
        serde_json::from_str::<QueryConfig>(&serde_json::to_string(&from_sql).unwrap()).unwrap(),
        from_sql
    );
}

#[test]
fn a_rate_by_itself_is_summed() {
    assert_eq!(parsed("SELECT rate(x) AS y FROM z"), parsed("SELECT sum(rate(x)) AS y FROM z"));
    assert_eq!(parsed("SELECT delta(x) AS y FROM z"), parsed("SELECT sum(delta(x)) AS y FROM z"));
}

#[test]
fn names_and_texts_may_hold_anything() {
    let query = parsed(
        r#"SELECT sum("memory_*_bytes") AS y FROM "my-own" WHERE "value" = 'it''s' AND type ~ 'a\.b'"#,
    );
    assert_eq!((query.from.as_str(), query.select[0].metric.as_str()), ("my-own", "memory_*_bytes"));
    assert_eq!(parsed(&query.to_string()), query);
}

/// Text, place of the mistake (the column of the first line), and a part of what is said.
const REFUSED: [(&str, usize, &str); 40] = [
    ("", 1, "ends too early: a query begins with SELECT"),
    ("SELEC sum(x) AS y FROM z", 1, "did you mean SELECT?"),
    ("DELETE FROM z", 1, "unexpected `DELETE`: a query begins with SELECT"),
    ("SELECT * FROM z", 8, "name the results one by one"),
    ("SELECT x AS y FROM z", 8, "`sum(x) AS y` or `last(x) AS y`"),
    ("SELECT sum(x) FROM z", 15, "FROM is out of its place"),
    ("SELECT sum(x) y FROM z", 15, "the result needs a name"),
    ("SELECT mean(x) AS y FROM z", 8, "did you mean `avg`?"),
    ("SELECT histgram(x) AS y FROM z", 8, "did you mean `histogram`?"),
    ("SELECT sum(irate(x)) AS y FROM z", 12, "only rate() and delta()"),
    ("SELECT sum(rate(sum(x))) AS y FROM z", 17, "only a metric can stand inside"),
    ("SELECT count(*) AS y FROM z", 14, "name the metric"),
    ("SELECT count(DISTINCT x) AS y FROM z", 14, "DISTINCT is not supported: series are distinct"),
    ("SELECT sum(x) / 2 AS y FROM z", 15, "unexpected `/`"),
    ("SELECT sum(x) - sum(w) AS y FROM z", 15, "unexpected `-`"),
    ("SELECT sum(x, 5s) AS y FROM z", 13, "only max_over and min_over"),
    ("SELECT max_over(x) AS y FROM z", 18, "it takes a span of time"),
    ("SELECT max_over(x, 60) AS y FROM z", 20, "a whole number and ms, s, m or h"),
    ("SELECT max(x) OVER w AS y FROM z", 15, "OVER is not supported: say it as in max_over(x, 60s)"),
    ("SELECT sum(x AS y FROM z", 14, "AS is not supported"),
    ("SELECT sum(x) AS y", 19, "ends too early: after the results comes FROM"),
    ("SELECT sum(x) AS y FROM z, w", 26, "unexpected `,`"),
    ("SELECT sum(x) AS y FROM z JOIN w", 27, "JOIN is not supported: a query has one source"),
    ("SELECT sum(x) AS y FROM 'z'", 25, "a name stands in double quotes"),
    ("SELECT sum(x) AS y FROM (SELECT a FROM b)", 25, "unexpected `(`"),
    ("SELECT sum(x) AS y FROM z WERE a = 'b'", 27, "did you mean WHERE?"),
    ("SELECT sum(x) AS y FROM z WHERE a = b", 37, "a text stands in single quotes: 'b'"),
    ("SELECT sum(x) AS y FROM z WHERE a = 5", 37, "single quotes: '5'"),
    ("SELECT sum(x) AS y FROM z WHERE a > 5", 35, "labels are texts"),
    ("SELECT sum(x) AS y FROM z WHERE 'b' = a", 33, "the label or `value` stands first"),
    ("SELECT sum(x) AS y FROM z WHERE value = 5", 39, "compared by <, <=, > or >="),
    ("SELECT sum(x) AS y FROM z WHERE value > 'a'", 41, "compared with a number"),
    ("SELECT sum(x) AS y FROM z WHERE a IS NULL", 35, "a label that is missing is empty: a = ''"),
    ("SELECT sum(x) AS y FROM z WHERE a BETWEEN 'b' AND 'c'", 35, "tested by =, !="),
    ("SELECT sum(x) AS y FROM z WHERE (a = 'b'", 41, "a parenthesis is open"),
    ("SELECT sum(x) AS y FROM z WINDOW 10s GROUP BY a", 38, "GROUP is out of its place"),
    (
        "SELECT sum(x) AS y FROM z GROUP BY a HAVING y > 5",
        38,
        "HAVING is not supported: test `value` in WHERE",
    ),
    ("SELECT sum(x) AS y FROM z ORDER BY y", 27, "ORDER is not supported: results are series"),
    ("SELECT sum(x) AS y FROM z LIMIT 5", 27, "LIMIT is not supported"),
    ("SELECT sum(x) AS y FROM z WINDOW 10 s", 34, "without a space, as in 10s"),
];

#[test]
fn what_is_not_taken_is_refused_where_it_stands() {
    for (text, column, part) in REFUSED {
        let error = QueryConfig::from_sql(text).unwrap_err();
        assert_eq!((error.line, error.column, error.offset), (1, column, column - 1), "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn places_are_right_on_other_lines_and_behind_other_letters() {
    let error = QueryConfig::from_sql("SELECT sum(x) AS y\nFROM z WHERE a = 'ü' AND b ? 'c'").unwrap_err();
    assert_eq!((error.line, error.column), (2, 28));
    assert_eq!(error.offset, 47);
    let error = QueryConfig::from_sql("SELECT sum(x) AS y\nFROM z WHERE a = 'open").unwrap_err();
    assert_eq!((error.line, error.column), (2, 18));
    let nested =
        format!("SELECT sum(x) AS y FROM z WHERE {}a = 'b'{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(QueryConfig::from_sql(&nested).unwrap_err().message.contains("nested too deeply"));
}

/// What is said of a query on the made-up input.
fn complaints(text: &str) -> Vec<String> {
    let refused = Query::new(&parsed(text), Some(&DEF)).map(|_| ()).unwrap_err();
    refused.iter().map(ToString::to_string).collect()
}

#[test]
fn what_the_input_does_not_have_is_refused() {
    for (text, said) in [
        (
            "SELECT sum(levle) AS y FROM cpu",
            "select 1: input `cpu` has no metric `levle`: did you mean `level`?",
        ),
        (
            "SELECT sum(node_level) AS y FROM cpu",
            "select 1: input `cpu` has no metric `node_level`: did you mean `level`, without the prefix?",
        ),
        (
            "SELECT sum(level) AS y FROM cpu GROUP BY mod",
            "group by: `level` has no label `mod`: did you mean `mode`?",
        ),
        (
            "SELECT sum(memory_Free_bytes) AS y FROM cpu GROUP BY mode",
            "group by: `memory_*_bytes` has no label `mode`: it has none",
        ),
        (
            "SELECT sum(level) AS y FROM cpu WHERE rack = '1'",
            "where: `level` has no label `rack`: it has `cpu`, `mode`",
        ),
        (
            "SELECT sum(rate(level)) AS y FROM cpu",
            "select 1: `level` is no counter, so it has no rate: did you mean `delta`?",
        ),
        (
            "SELECT p99(cpu_seconds_total) AS y FROM cpu",
            "select 1: a counter only rises, so p99(cpu_seconds_total) says nothing: did you mean `p99(rate(cpu_seconds_total))`?",
        ),
        (
            "SELECT histogram(delta(level)) AS y FROM cpu",
            "select 1: a histogram takes values or rates: did you mean `histogram(rate(level))`?",
        ),
        (
            "SELECT sum(level) AS \"a-b\" FROM cpu",
            "select 1: `a-b` is no metric name: it takes letters, digits, `_` and `:`, no digit first",
        ),
        ("SELECT sum(level) AS y, max(level) AS y FROM cpu", "select 2: there are two results called `y`"),
        ("SELECT sum(level) AS y FROM cpu GROUP BY cpu, cpu", "group by: label `cpu` is named twice"),
        (
            "SELECT max_over(level, 5s) AS y, sum(level) AS z FROM cpu WINDOW 10s",
            "select 1: a result over less than the window never shows most of it: make it longer",
        ),
        (
            "SELECT histogram(level) AS y FROM cpu WINDOW 10s",
            "window: it has no effect: histograms, and results over a time of their own, know no windows",
        ),
        ("SELECT sum(level) AS y FROM cpu WINDOW 0s", "window: a span of time must lie between 1ms and 24h"),
    ] {
        assert_eq!(complaints(text), [said], "{text}");
    }
    let several = complaints("SELECT sum(levle) AS y FROM cpu WHERE mode ~ '(' WINDOW 25h");
    assert_eq!(several.len(), 3);
    assert!(several[1].starts_with("where: `(` is not a regular expression"), "{several:?}");
}

#[test]
fn a_task_file_is_strict() {
    let good = r#"{"from":"cpu","select":[{"metric":"level","as":"y","agg":"sum"}]}"#;
    serde_json::from_str::<QueryConfig>(good).unwrap();
    let refused = |text: &str| serde_json::from_str::<QueryConfig>(text).unwrap_err().to_string();
    assert!(refused(&good.replace("from", "form")).contains("unknown field `form`"));
    assert!(refused(&good.replace("\"sum\"", "\"HLL\"")).contains("there is no aggregate `HLL`"));
    assert!(refused(&good.replace("\"sum\"", "\"rate\"")).contains("give it as `of`"));
    assert!(refused(&good.replace("}]", "}],\"window\":\"10\"")).contains("not a span of time"));
    assert!(refused(&good.replace("}]", "}],\"where\":{\"numberBetween\":1}")).contains("unknown variant"));
}

#[test]
fn a_window_needs_collections_in_it() {
    let query = parsed("SELECT sum(level) AS y FROM cpu WINDOW 10s");
    let said = |interval| query.check_interval(interval).map(|complaint| complaint.to_string());
    assert_eq!(said(Some(Duration::from_secs(10))), None);
    assert!(said(None).unwrap().contains("give the pipeline an `interval`"));
    assert!(said(Some(Duration::from_secs(15))).unwrap().contains("when there is one every 15s"));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,6}",
        r#"[-a-z'"%*\\ üA-Z0-9.]{1,8}"#,
        Just("value".to_owned()),
        Just("select".to_owned())
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let test = || (text(), text()).prop_map(|(label, to)| LabelTest { label, to });
    let comparison =
        prop_oneof![Just(Comparison::Lt), Just(Comparison::Lte), Just(Comparison::Gt), Just(Comparison::Gte)];
    let leaf = prop_oneof![
        test().prop_map(Condition::Equals),
        test().prop_map(Condition::Like),
        test().prop_map(Condition::Glob),
        test().prop_map(Condition::Regex),
        (text(), prop::collection::vec(text(), 1..4))
            .prop_map(|(label, to)| Condition::In(LabelList { label, to })),
        (comparison, -1e12..1e12f64).prop_map(|(is, than)| Condition::Value(ValueTest { is, than })),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::Or),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
}

proptest! {
    #[test]
    fn a_query_is_the_same_when_read_back(
        from in text(),
        selects in prop::collection::vec((text(), text(), 0usize..10, 0u8..4, 1u64..100_000_000), 1..4),
        condition in prop::option::of(condition()),
        group_by in prop::collection::vec(text(), 0..4),
        window in prop::option::of((1u64..100_000_000).prop_map(Duration::from_millis)),
    ) {
        let select = selects.into_iter().map(|(metric, name, agg, of, over)| {
            let agg = Aggregate::named(Aggregate::WORDS[agg]).unwrap();
            let rolls = matches!(agg, Aggregate::Min | Aggregate::Max) && of == 3;
            let of = [Of::Value, Of::Rate, Of::Delta, Of::Value][usize::from(of)];
            Select { metric, name, agg, of, over: rolls.then(|| Duration::from_millis(over)) }
        });
        let query = QueryConfig { from, select: select.collect(), condition, group_by, window };
        let written = query.to_string();
        prop_assert_eq!(parsed(&written), query, "{}", written);
    }

    #[test]
    fn no_text_makes_it_fall_over(text in r#"(SELECT |FROM |WHERE |GROUP BY |WINDOW |sum\(|[a-z]{1,3}|'|"|[0-9.]{1,3}|[(),;<>=!~*ü -]){0,20}"#) {
        if let Err(error) = QueryConfig::from_sql(&text) {
            prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset));
        }
    }
}
