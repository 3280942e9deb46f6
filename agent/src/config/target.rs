//! Targets of checks: which containers, and what is taken of them.

use toml::de::DeTable;

use super::{
    PipelineConfig, glob,
    load::Report,
    query::inside,
    suggest::{hint, listed},
    value::{Value, described},
};
use crate::{
    catalogue::OptionValue,
    pipeline::{
        Selector,
        checks::{self, MOST_TAGS, TABLE_PARTS, TEXT_PARTS, Template, runtimes},
    },
};

/// Reads what containers must be like.
pub(super) fn selector(key: &str, value: &Value<'_>, report: &mut Report) -> Option<Selector> {
    const FIX: &str = "say which containers, as in `target = { pod = \"*\" }`";
    let Some(table) = value.get_ref().as_table() else {
        let other = described(value.get_ref());
        report.problem(value, format!("`{key}` must be a table, not {other}: {FIX}"));
        return None;
    };
    if table.is_empty() {
        report.problem(value, format!("`{key}` is empty: {FIX}"));
        return None;
    }
    let mut selector = Selector::default();
    let mut is_whole = true;
    for (name, value) in table {
        let text = name.get_ref().as_ref();
        if let Some(part) = TEXT_PARTS.iter().find(|part| part.name == text) {
            let pattern = pattern(text, value, report);
            is_whole &= pattern.is_some();
            *(part.field)(&mut selector) = pattern;
        } else if let Some(part) = TABLE_PARTS.iter().find(|part| part.name == text) {
            let patterns = patterns(text, value, report);
            is_whole &= patterns.is_some();
            *(part.field)(&mut selector) = patterns.unwrap_or_default();
        } else {
            let known =
                || TEXT_PARTS.iter().map(|part| part.name).chain(TABLE_PARTS.iter().map(|part| part.name));
            let way = hint(text, known(), || format!("known are {}", listed(known())));
            report.problem(name, format!("unknown key `{text}` in `{key}`: {way}"));
            is_whole = false;
        }
    }
    if let Some(pattern) =
        selector.runtime.as_deref().filter(|pattern| !runtimes().any(|it| glob::matches(pattern, it)))
    {
        let way = hint(pattern, runtimes(), || format!("known are {}", listed(runtimes())));
        report.problem(
            table.get("runtime").unwrap_or(value),
            format!("no runtime is called `{pattern}`: {way}"),
        );
        is_whole = false;
    }
    is_whole.then_some(selector)
}

fn pattern(name: &str, value: &Value<'_>, report: &mut Report) -> Option<String> {
    match value.get_ref().as_str() {
        Some("") => report.problem(value, format!("`{name}` must not be empty: `*` is anything")),
        Some(text) => return Some(text.to_owned()),
        None => {
            let other = described(value.get_ref());
            report.problem(value, format!("`{name}` must be a pattern in quotes, not {other}"));
        }
    }
    None
}

fn patterns(name: &str, value: &Value<'_>, report: &mut Report) -> Option<Vec<(String, String)>> {
    let Some(table) = value.get_ref().as_table().filter(|table| !table.is_empty()) else {
        let example = format!("`{name} = {{ app = \"web\" }}`");
        report.problem(value, format!("`{name}` must be a table of names and patterns, as in {example}"));
        return None;
    };
    let entry = |(name, value): (&super::load::Name<'_>, &Value<'_>)| {
        let name = name.get_ref().to_string();
        // An empty value is one that labels may have.
        if value.get_ref().as_str() == Some("") {
            return Some((name, String::new()));
        }
        let pattern = pattern(&name, value, report)?;
        Some((name, pattern))
    };
    let entries: Vec<Option<(String, String)>> = table.iter().map(entry).collect();
    entries.into_iter().collect()
}

/// Checks what was read of the table of a check: what it takes of its targets, and whether it can be made.
pub(super) fn check<V>(
    input: &PipelineConfig,
    place: &toml::Spanned<V>,
    table: &DeTable<'_>,
    report: &mut Report,
) {
    if input.checks().is_none() {
        return;
    }
    let mut is_whole = true;
    for option in input.def.options {
        let Some(value) = table.get(option.key) else { continue };
        is_whole &= input.options.iter().any(|(key, _)| key == option.key);
        let has_templates = matches!(option.default, OptionValue::Text(_) | OptionValue::Texts(_));
        if has_templates && !checks::is_of_the_agent(input.def, option.key) {
            for value in texts(value) {
                is_whole &= template(input, option.key, value, report);
            }
        }
    }
    tags(input, table, report);
    // A target that could not be read has been reported.
    is_whole &= input.check.target.is_some() || !table.contains_key("target");
    if let Some(message) = checks::complaint(input).filter(|_| is_whole && input.enabled) {
        let named = message.strip_prefix('`').and_then(|rest| Some(rest.split_once('`')?.0));
        let message = format!("check `{}`: {message}", input.def.name);
        match named.and_then(|key| table.get(key)) {
            Some(value) => report.problem(value, message),
            None => report.problem(place, message),
        }
    }
}

/// The value itself, or the elements of an array.
fn texts<'v, 'i>(value: &'v Value<'i>) -> Vec<&'v Value<'i>> {
    match value.get_ref().as_array() {
        Some(array) => array.iter().collect(),
        None => vec![value],
    }
}

/// Whether what is to be taken of a target can be read.
fn template(input: &PipelineConfig, key: &str, value: &Value<'_>, report: &mut Report) -> bool {
    let Some(text) = value.get_ref().as_str() else { return true };
    let wrong = match input.check.target {
        Some(_) => {
            Template::parse(text).err().map(|error| (error.offset, format!("`{key}`: {}", error.message)))
        }
        None => Template::first_place(text).map(|at| {
            let fix = "say which containers are meant, as in `target = { pod = \"*\" }`";
            (at, format!("`{key}` takes something of a target, and there is none: {fix}"))
        }),
    };
    let Some((offset, message)) = wrong else { return true };
    match inside(value) {
        Some(start) => report.at(start + offset, message),
        None => report.problem(value, message),
    }
    false
}

fn tags(input: &PipelineConfig, table: &DeTable<'_>, report: &mut Report) {
    let Some(value) = table.get("tags") else { return };
    let mut templates = 0;
    for (_, value) in value.get_ref().as_table().into_iter().flatten() {
        let text = value.get_ref().as_str().unwrap_or_default();
        if template(input, "tags", value, report) {
            templates += usize::from(Template::parse(text).is_ok_and(|template| !template.is_plain()));
        }
    }
    if templates > MOST_TAGS {
        report.problem(
            value,
            format!("`tags` may have {MOST_TAGS} that follow from the target, not {templates}"),
        );
    }
}

#[cfg(test)]
mod tests;
