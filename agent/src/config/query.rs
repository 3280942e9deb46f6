//! Queries in the table of a pipeline: as SQL, or one as data.

use std::{borrow::Cow, time::Duration};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{
    PipelineConfig,
    complaints::{self, AboutQuery},
    load::Report,
    schema::Slot,
    value::{Value, described},
};
use crate::pipeline::{
    QueryConfig,
    query::{Part, SqlError},
};

/// The keys that say a query as data.
const DATA: [&str; 4] = ["select", "where", "group_by", "window"];

/// Reads the queries of a pipeline whose other keys have been read.
pub(super) fn read(pipeline: &mut PipelineConfig, table: &DeTable<'_>, report: &mut Report) {
    let mut data = DATA.iter().filter_map(|key| table.get_key_value(*key));
    match (table.get("sql"), data.next()) {
        (Some(_), Some((name, _))) => {
            let what =
                format!("`sql` and `{}` exclude each other: a query is one or the other", name.get_ref());
            report.problem(name, what);
        }
        (Some(sql), None) => {
            if let Some(queries) = from_sql(sql, report) {
                pipeline.queries = queries;
                checked(pipeline, table, report);
            }
        }
        (None, Some((name, _))) if !table.contains_key("select") => {
            let what =
                format!("`{}` is a part of a query: say with `select` what is computed", name.get_ref());
            report.problem(name, what);
        }
        (None, Some(_)) => {
            if let Some(query) = from_data(pipeline.source(), table, report) {
                pipeline.queries = vec![query];
                checked(pipeline, table, report);
            }
        }
        (None, None) => {
            if let (Some(message), Some(from)) = (complaints::idle_pipeline(pipeline), table.get("from")) {
                report.problem(from, message);
            }
        }
    }
}

/// The queries of a string or an array of strings; nothing if one of them is wrong.
fn from_sql(value: &Value<'_>, report: &mut Report) -> Option<Vec<QueryConfig>> {
    let texts = match value.get_ref() {
        DeValue::Array(array) if array.is_empty() => {
            report.problem(value, "`sql` must have at least one query".to_owned());
            return None;
        }
        DeValue::Array(array) => array.iter().collect(),
        _ => vec![value],
    };
    let queries: Vec<_> = texts.iter().map(|text| one(text, report)).collect();
    queries.into_iter().collect()
}

fn one(value: &Value<'_>, report: &mut Report) -> Option<QueryConfig> {
    let DeValue::String(text) = value.get_ref() else {
        let other = described(value.get_ref());
        report.problem(value, format!("`sql` must be a query in quotes, or an array of them, not {other}"));
        return None;
    };
    let error = match QueryConfig::from_sql(text) {
        Ok(query) => return Some(query),
        Err(error) => error,
    };
    match inside(value) {
        Some(start) => report.at(start + error.offset, error.message),
        None => report.problem(value, in_text(&error)),
    }
    None
}

/// What to say of an error in a text whose place is not known.
pub(crate) fn in_text(error: &SqlError) -> String {
    format!("in the SQL, {error}")
}

/// Where the text of a string begins, if the file has it as it is: no escapes, no changed ends of lines. The quotes
/// are what the place of the string has more than its text.
pub(super) fn inside(value: &Value<'_>) -> Option<usize> {
    let DeValue::String(Cow::Borrowed(text)) = value.get_ref() else { return None };
    let span = value.span();
    let quotes = match span.len().checked_sub(text.len())? {
        2 => 1,
        6 => 3,
        // The end of the first line is not part of the text.
        7 => 4,
        8 => 5,
        _ => return None,
    };
    Some(span.start + quotes)
}

/// The query that the other keys say; nothing if one of them is wrong.
fn from_data(source: &str, table: &DeTable<'_>, report: &mut Report) -> Option<QueryConfig> {
    let select = part(table, "select", report);
    let condition = part(table, "where", report);
    let (mut group_by, mut window): (Vec<String>, Option<Duration>) = (Vec::new(), None);
    if let Some(value) = table.get("group_by") {
        Slot::Lines(|labels| labels).read(&mut group_by, "group_by", value, report);
    }
    if let Some(value) = table.get("window") {
        Slot::Interval(|window| window).read(&mut window, "window", value, report);
    }
    let is_whole = |key: &str, is_read: bool| is_read || !table.contains_key(key);
    if !is_whole("where", condition.is_some()) || !is_whole("window", window.is_some()) {
        return None;
    }
    Some(QueryConfig { from: source.to_owned(), select: select?, condition, group_by, window })
}

fn part<V: DeserializeOwned>(table: &DeTable<'_>, key: &str, report: &mut Report) -> Option<V> {
    let value = table.get(key)?;
    match V::deserialize(ValueDeserializer::from(value.clone())) {
        Ok(part) => Some(part),
        Err(error) => {
            let message = error.message().lines().next().unwrap_or_default();
            let start = error.span().map_or(value.span().start, |span| span.start);
            report.at(start, format!("`{key}`: {message}"));
            None
        }
    }
}

/// Says what queries ask for that the pipeline they take from does not publish, once that is known.
pub(super) fn frames(
    pipeline: &PipelineConfig,
    source: &PipelineConfig,
    table: &DeTable<'_>,
    report: &mut Report,
) {
    for about in complaints::frames(pipeline, source) {
        complain(&about, table, report);
    }
}

/// Says what is wrong with queries that can be read.
fn checked(pipeline: &PipelineConfig, table: &DeTable<'_>, report: &mut Report) {
    // An interval that could not be read has been reported already.
    let is_paced = pipeline.interval.is_some() || !table.contains_key("interval");
    let all = complaints::queries(pipeline);
    for about in all.iter().filter(|about| is_paced || about.complaint.part != Part::Window) {
        complain(about, table, report);
    }
}

/// Says what is wrong with a query where it stands.
fn complain(AboutQuery { index, complaint }: &AboutQuery, table: &DeTable<'_>, report: &mut Report) {
    if let Some(sql) = table.get("sql") {
        let text = sql.get_ref().as_array().and_then(|array| array.get(*index)).unwrap_or(sql);
        report.problem(text, complaint.to_string());
        return;
    }
    let key = match complaint.part {
        Part::From | Part::Select(_) => "select",
        Part::Where => "where",
        Part::GroupBy => "group_by",
        Part::Window => "window",
    };
    let Some(value) = table.get(key).or_else(|| table.get("select")) else { return };
    let element = match complaint.part {
        Part::Select(Some(at)) => value.get_ref().as_array().and_then(|array| array.get(at)),
        _ => None,
    };
    report.problem(element.unwrap_or(value), complaint.message.clone());
}
