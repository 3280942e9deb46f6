//! What the keys of a pipeline must be to each other and to its metrics.

use std::time::Duration;

use toml::{Spanned, de::DeTable};

use super::{
    PipelineConfig, glob,
    load::Report,
    suggest::{self, listed},
    value::Value,
};
use crate::input::InputDef;

/// More names than this are not put into a message.
const LISTED: usize = 8;

/// Checks what was read of the table of a pipeline.
pub(super) fn pipeline(input: &mut PipelineConfig, table: &DeTable<'_>, report: &mut Report) {
    schedule(input, table, report);
    globs(input.def, table, report);
    tags(input.def, table, report);
}

fn schedule(input: &mut PipelineConfig, table: &DeTable<'_>, report: &mut Report) {
    let place = |key: &str| table.get(key).or_else(|| table.get("interval"));
    let Some(interval) = input.interval else {
        // An interval that could not be read has been reported already.
        for (key, length) in [("offset", input.offset), ("spread", input.spread.unwrap_or_default())] {
            if let (Some(value), None) = (table.get(key), table.get("interval"))
                && length > Duration::ZERO
            {
                report.problem(value, format!("`{key}` shifts an `interval`, and there is none"));
            }
        }
        return;
    };
    if input.offset >= interval
        && let Some(value) = place("offset")
    {
        report.problem(value, "`offset` must be shorter than `interval`".into());
    }
    if input.spread.is_some_and(|spread| spread > interval)
        && let Some(value) = table.get("spread")
    {
        report.problem(value, "`spread` must not be longer than `interval`".into());
    }
    if input.deadline > interval {
        match table.get("deadline") {
            Some(value) => {
                report.problem(value, "`deadline` must not be longer than `interval`".into());
            }
            None => input.deadline = interval,
        }
    }
}

fn globs(def: &InputDef, table: &DeTable<'_>, report: &mut Report) {
    let allow: Vec<_> = strings(table.get("allow")).map(|(text, _)| text).collect();
    for key in ["allow", "deny"] {
        for (pattern, place) in strings(table.get(key)) {
            if key == "deny" && allow.contains(&pattern) {
                report.problem(place, format!("`{pattern}` is both allowed and denied"));
            } else if let Some(message) = refused(def, pattern) {
                report.problem(place, message);
            }
        }
    }
}

/// What is wrong with a glob on the metric names of an input.
pub(super) fn refused(def: &InputDef, pattern: &str) -> Option<String> {
    let usable = |c: char| c.is_ascii_alphanumeric() || "_:*?".contains(c);
    if pattern.is_empty() || !pattern.chars().all(usable) {
        let what = "letters, digits, `_`, `:`, `*` for any run and `?` for one character";
        return Some(format!("\"{pattern}\" is not a glob on metric names: it takes {what}"));
    }
    let names = || def.metrics.iter().map(|metric| metric.name);
    let matches = |pattern: &str| names().any(|name| glob::overlap(pattern, name));
    if matches(pattern) {
        return None;
    }
    let hint = match pattern.strip_prefix(def.prefix) {
        Some(bare) if matches(bare) => format!("did you mean `{bare}`, without the prefix?"),
        _ => suggest::hint(pattern, names(), || match def.metrics.len() {
            0..=LISTED => format!("it has {}", listed(names())),
            _ => "`pitot generate metrics-md` lists them".into(),
        }),
    };
    Some(format!("no metric of input `{}` is called `{pattern}`: {hint}", def.name))
}

fn tags(def: &InputDef, table: &DeTable<'_>, report: &mut Report) {
    let Some(tags) = table.get("tags").and_then(|value| value.get_ref().as_table()) else { return };
    for (name, _) in tags {
        if let Some(message) = tag(def, name.get_ref()) {
            report.problem(name, message);
        }
    }
}

/// What is wrong with a label that is added to the series of an input.
pub(crate) fn tag(def: &InputDef, text: &str) -> Option<String> {
    let taken = def.metrics.iter().find(|metric| metric.labels.iter().any(|label| label.name == text));
    if !is_label_name(text) {
        let what = "letters, digits and `_`, no digit first, no `__` first";
        return Some(format!("tag `{text}` is not a label name: it takes {what}"));
    }
    if text == "le" || text == "quantile" {
        return Some(format!("tag `{text}` is reserved by Prometheus"));
    }
    taken.map(|metric| format!("tag `{text}` is already a label of `{}`", metric.name))
}

/// Whether Prometheus takes it as the name of a label that is not its own.
pub(crate) fn is_label_name(text: &str) -> bool {
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    start && !text.starts_with("__") && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The strings of an array; what is no string has been reported already.
fn strings<'v>(value: Option<&'v Value<'_>>) -> impl Iterator<Item = (&'v str, &'v Spanned<impl Sized>)> {
    let array = value.and_then(|value| value.get_ref().as_array());
    array.into_iter().flatten().filter_map(|item| Some((item.get_ref().as_str()?, item)))
}
