//! One file of tasks: JSON (a task, or an array of them) or TOML (a task, or tables `[[task]]`).

use serde::Deserialize as _;
use serde_json::value::RawValue;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::model::CollectTask;
use crate::config::Problem;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// JSON.
    Json,
    /// TOML.
    Toml,
}

impl Syntax {
    /// That of a file of this name; none for files that are no tasks.
    pub(super) fn of(name: &str) -> Option<Self> {
        if name.starts_with('.') {
            return None;
        }
        match name.rsplit_once('.')?.1 {
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// A task of a file, whether it can be read or not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Its key, as far as one can see.
    pub(super) key: Option<String>,
    /// Where it begins.
    pub(super) place: Place,
    /// The task, or what is wrong.
    pub(super) task: Result<CollectTask, Problem>,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
}

impl Place {
    /// That of a byte.
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
        Self { line: before.matches('\n').count() + 1, column }
    }

    /// A problem here.
    pub(super) fn problem(self, message: String) -> Problem {
        Problem { line: self.line, column: self.column, message }
    }
}

/// Reads the tasks of a file. The error is of a file that is none at all.
pub(super) fn read(text: &str, syntax: Syntax) -> Result<Vec<Entry>, Problem> {
    match syntax {
        Syntax::Json => json(text),
        Syntax::Toml => toml(text),
    }
}

fn json(text: &str) -> Result<Vec<Entry>, Problem> {
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| located(text, 0, &error))?;
    let raws: Vec<&RawValue> = if whole.get().starts_with('[') {
        serde_json::from_str(whole.get()).map_err(|error| located(text, 0, &error))?
    } else {
        vec![whole]
    };
    let entry = |raw: &RawValue| {
        let start = raw.get().as_ptr().addr().saturating_sub(text.as_ptr().addr());
        let key = serde_json::from_str::<serde_json::Value>(raw.get());
        let key = key.ok().and_then(|value| Some(value.get("key")?.as_str()?.to_owned()));
        let task = serde_json::from_str(raw.get()).map_err(|error| located(text, start, &error));
        Entry { key, place: Place::of(text, start), task }
    };
    Ok(raws.into_iter().map(entry).collect())
}

/// The problem that an error in the part of a text that begins at an offset is.
fn located(text: &str, offset: usize, error: &serde_json::Error) -> Problem {
    let start = Place::of(text, offset);
    // Columns of serde_json are bytes.
    let part = text.get(offset..).unwrap_or_default();
    let line = part.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let characters =
        line.get(..error.column().min(line.len())).map_or(error.column(), |start| start.chars().count());
    let column = if error.line() <= 1 { start.column - 1 } else { 0 } + characters.max(1);
    let message = error.to_string();
    let message = message.split_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    Problem { line: start.line + error.line().saturating_sub(1), column, message: message.to_owned() }
}

fn toml(text: &str) -> Result<Vec<Entry>, Problem> {
    let whole = DeTable::parse(text).map_err(|error| problem(text, &error))?;
    let span = whole.span();
    let mut table = whole.into_inner();
    let several = table.len() == 1 && table.get("task").is_some_and(|value| value.get_ref().is_array());
    let values: Vec<Spanned<DeValue<'_>>> = match table.remove("task").map(Spanned::into_inner) {
        Some(DeValue::Array(array)) if several => array.into_iter().collect(),
        Some(_) => {
            let what = "`task` is for files of several tasks: `[[task]]`, and nothing beside them";
            return Err(Place { line: 1, column: 1 }.problem(what.to_owned()));
        }
        None => vec![Spanned::new(span, DeValue::Table(table))],
    };
    let entry = |value: Spanned<DeValue<'_>>| {
        let place = Place::of(text, value.span().start);
        let key = value.get_ref().get("key").and_then(|key| key.get_ref().as_str()).map(str::to_owned);
        let task = CollectTask::deserialize(ValueDeserializer::from(value));
        Entry { key, place, task: task.map_err(|error| problem(text, &error)) }
    };
    Ok(values.into_iter().map(entry).collect())
}

fn problem(text: &str, error: &toml::de::Error) -> Problem {
    let place = Place::of(text, error.span().map_or(text.len(), |span| span.start));
    place.problem(error.message().lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tasks::model::{Manipulation, RefMeta, RuleKind, Span, TargetKind, Text};

    const SEED: &str = r#"{
        "key": "k", "version": 3,
        "config": {
            "key": "c", "type": "cpu", "version": "7", "name": "CPU",
            "executeRule": {"type": "fixedRate", "fixedRate": "5s", "offset": 1000},
            "refMetas": {"app": {"name": "app"}, "host": "hostname"},
            "transform": {
                "metricPrefix": "system_", "metricWhiteList": ["a"], "metricBlacklist": ["b"],
                "metricConfigs": {"c": {"valueManipulation": "DELTA", "keepNegative": true}}
            }
        },
        "target": {"key": "t", "type": "localhost", "version": "1", "meta": {"app": "shop"}}
    }"#;

    #[test]
    fn the_seeds_words_are_understood() {
        let entries = read(SEED, Syntax::Json).unwrap();
        let task = entries[0].task.clone().unwrap();
        assert_eq!((task.key.as_str(), &task.version), ("k", &Some(Text("3".to_owned()))));
        let config = task.config;
        assert_eq!(config.input.as_deref(), Some("cpu"));
        assert_eq!(config.execute_rule.kind, RuleKind::FixedRate);
        assert_eq!(config.execute_rule.fixed_rate, Some(Span(Duration::from_secs(5))));
        assert_eq!(config.execute_rule.offset, Some(Span(Duration::from_secs(1))));
        assert_eq!(config.ref_metas["app"], RefMeta("app".to_owned()));
        assert_eq!(config.ref_metas["host"], RefMeta("hostname".to_owned()));
        assert_eq!(
            (config.transform.allow.as_slice(), config.transform.deny.as_slice()),
            (&["a".to_owned()][..], &["b".to_owned()][..])
        );
        assert_eq!(config.transform.values["c"].manipulate, Manipulation::Delta);
        assert!(config.transform.values["c"].keep_negative);
        assert_eq!((task.target.kind, task.target.meta["app"].as_str()), (TargetKind::Localhost, "shop"));
    }

    #[test]
    fn several_tasks_stand_or_fall_alone() {
        let json = "[\n {\"key\":\"a\",\"config\":{\"input\":\"cpu\"}},\n {\"key\":\"b\",\"config\":{\"imput\":\"cpu\"}}\n]";
        let toml = "[[task]]\nkey = \"a\"\nconfig = { input = \"cpu\" }\n[[task]]\nkey = \"b\"\n[task.config]\nimput = 1\n";
        for (text, syntax, place) in [(json, Syntax::Json, (3, 29)), (toml, Syntax::Toml, (7, 1))] {
            let entries = read(text, syntax).unwrap();
            let keys: Vec<_> = entries.iter().map(|entry| entry.key.as_deref()).collect();
            assert_eq!(keys, [Some("a"), Some("b")]);
            assert!(entries[0].task.is_ok(), "{:?}", entries[0]);
            let problem = entries[1].task.clone().unwrap_err();
            assert_eq!((problem.line, problem.column), place, "{problem}");
            assert!(problem.message.starts_with("unknown field `imput`, expected one of"), "{problem}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let wrong = |text: &str, syntax| match read(text, syntax) {
            Err(problem) => problem.to_string(),
            Ok(entries) => entries[0].task.clone().unwrap_err().to_string(),
        };
        assert_eq!(wrong("{\n \"key\": }", Syntax::Json), "2:9: expected value");
        assert_eq!(
            wrong("{\"key\":\"ü\",\"config\":{\"executeRule\":{\"fixedRate\":\"5\"}}}", Syntax::Json),
            "1:51: invalid value: string \"5\", expected milliseconds, or a whole number and ms, s, m or h as in \"5s\""
        );
        assert_eq!(
            wrong("{\"key\":\"k\",\"config\":{\"options\":{\"a\":1,\"a\":2}}}", Syntax::Json),
            "1:44: `a` is given twice"
        );
        assert_eq!(
            wrong("key = \"k\"\n[target]\ntype = \"moon\"\n", Syntax::Toml).split(',').next().unwrap(),
            "3:8: unknown variant `moon`"
        );
        assert!(wrong("key = \n", Syntax::Toml).starts_with("1:"));
        assert!(wrong("key = \"k\"\n", Syntax::Toml).contains("missing field `config`"));
        assert!(wrong("x = 1\n[[task]]\nkey = \"k\"\n", Syntax::Toml).contains("[[task]]"));
        assert!(wrong("3", Syntax::Json).starts_with("1:1: invalid type: integer `3`"));
    }

    #[test]
    fn what_is_wrong_with_sql_is_named_with_its_place_and_that_in_the_sql() {
        let json =
            "{\"key\":\"k\",\n \"config\":{\"input\":\"cpu\",\n \"sql\":[\"SELECT summ(x) AS y FROM cpu\"]}}";
        let toml = "key = \"k\"\n[config]\nsql = [\n  \"SELECT summ(x) AS y FROM cpu\",\n]\n";
        for (text, syntax, line) in [(json, Syntax::Json, 3), (toml, Syntax::Toml, 3)] {
            let problem = read(text, syntax).unwrap()[0].task.clone().unwrap_err();
            let message = "in the SQL, line 1, column 8: there is no function `summ`: did you mean `sum`?";
            assert_eq!((problem.line, problem.message.as_str()), (line, message));
        }
        let nothing = "{\"key\":\"k\",\"config\":{\"sql\":[]}}";
        let problem = read(nothing, Syntax::Json).unwrap()[0].task.clone().unwrap_err();
        assert_eq!(problem.message, "`sql` must have at least one query");
    }

    #[test]
    fn only_files_of_tasks_are_read() {
        assert_eq!(Syntax::of("a.json"), Some(Syntax::Json));
        assert_eq!(Syntax::of("a.b.toml"), Some(Syntax::Toml));
        for name in ["a.json~", ".a.json", "json", "a.json.bak", "..data"] {
            assert_eq!(Syntax::of(name), None, "{name}");
        }
    }
}
