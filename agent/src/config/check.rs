//! What the keys of a pipeline must be to each other and to its metrics.

use std::time::Duration;

use toml::{Spanned, de::DeTable};

use super::{PipelineConfig, load::Report, query, target};

/// Checks what was read of the table of a pipeline.
pub(super) fn pipeline<V>(
    input: &mut PipelineConfig,
    place: &Spanned<V>,
    table: &DeTable<'_>,
    report: &mut Report,
) {
    schedule(input, table, report);
    target::check(input, place, table, report);
    query::read(input, table, report);
    transform(input, table, report);
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

/// What is done to samples, each complaint at the element that it is about.
fn transform(input: &PipelineConfig, table: &DeTable<'_>, report: &mut Report) {
    for complaint in input.transform.check(&input.published()) {
        let Some(value) = table.get(complaint.key) else { continue };
        let entry =
            complaint.entry.as_deref().and_then(|entry| value.get_ref().as_table()?.get_key_value(entry));
        let list = entry.map_or(value, |(_, value)| value).get_ref().as_array();
        let element = complaint.index.and_then(|index| list?.get(index));
        match (element, entry, complaint.column) {
            // Behind the quote.
            (Some(element), _, Some(column)) => {
                report.at(element.span().start + 1 + column, complaint.to_string());
            }
            (Some(element), _, None) => report.problem(element, complaint.to_string()),
            (None, Some((name, _)), _) => report.problem(name, complaint.to_string()),
            (None, None, _) => report.problem(value, complaint.to_string()),
        }
    }
}

/// Whether Prometheus takes it as the name of a label that is not its own.
pub(crate) fn is_label_name(text: &str) -> bool {
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    start && !text.starts_with("__") && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
