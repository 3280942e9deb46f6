//! Reading the configuration file: every problem is found in one pass and named with its position.

use std::fmt;

use toml::{Spanned, de::DeTable};

use super::{
    Config, PipelineConfig, check,
    schema::{INPUT_KEYS, INPUT_TABLE, TABLES, Table},
    suggest::{hint, listed, unknown_input},
    value::{self, Value, described},
};
use crate::source::Roots;

/// Something wrong in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what may have been meant.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `LINE:COLUMN: message`; put the file's name and a colon before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The base with everything that the file says.
    pub(crate) config: Config,
    /// The keys of the top level that the file has.
    pub(crate) given: Vec<&'static str>,
}

/// Reads the text of a file on top of a base.
pub fn load(text: &str, base: Config) -> Result<Config, Vec<Problem>> {
    read(text, base).map(|loaded| loaded.config)
}

/// The same, and says which keys of the top level the file has.
pub(crate) fn read(text: &str, base: Config) -> Result<Loaded, Vec<Problem>> {
    let mut report = Report::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.at(error.span().map_or(text.len(), |span| span.start), error.message().into());
    }
    // Behind a syntax error keys may have slipped into other tables: complaints about them would mislead.
    if !errors.is_empty() {
        return Err(report.finish(text));
    }
    let mut loaded = Loaded { config: base, given: Vec::new() };
    for (key, value) in document.get_ref() {
        top_level(&mut loaded, key, value, &mut report);
    }
    move_trees(&mut loaded.config.roots, &loaded.given);
    if report.problems.is_empty() { Ok(loaded) } else { Err(report.finish(text)) }
}

/// Lets `procfs` and `sysfs` follow `rootfs` when that was given and they were not.
pub(crate) fn move_trees(roots: &mut Roots, given: &[&str]) {
    if given.contains(&"rootfs") {
        let moved = Roots::under(&roots.rootfs);
        if !given.contains(&"procfs") {
            roots.procfs = moved.procfs;
        }
        if !given.contains(&"sysfs") {
            roots.sysfs = moved.sysfs;
        }
    }
}

type Name<'i> = Spanned<toml::de::DeString<'i>>;

fn top_level(loaded: &mut Loaded, name: &Name<'_>, value: &Value<'_>, report: &mut Report) {
    let text = name.get_ref().as_ref();
    let top = TABLES.iter().filter(|table| table.name.is_empty()).flat_map(|table| table.keys);
    if let Some(key) = top.clone().find(|key| key.name == text) {
        key.slot.read(&mut loaded.config, key.name, value, report);
        loaded.given.push(key.name);
    } else if let Some(table) = TABLES.iter().find(|table| table.name == text && !text.is_empty())
        && (value.get_ref().is_table() || elsewhere(text, &loaded.config).is_none())
    {
        if let Some(content) = as_table(text, value, report) {
            read_table(&mut loaded.config, table, content, report);
        }
    } else if text == INPUT_TABLE {
        for (name, value) in as_table(text, value, report).into_iter().flatten() {
            read_input(&mut loaded.config, name, value, report);
        }
    } else {
        let tables = || TABLES.iter().map(|table| table.name).filter(|name| !name.is_empty());
        let names = || top.clone().map(|key| key.name).chain(tables()).chain([INPUT_TABLE]);
        let what = if value.get_ref().is_table() { "table" } else { "key" };
        let hint = elsewhere(text, &loaded.config)
            .unwrap_or_else(|| hint(text, names(), || format!("known are {}", listed(names()))));
        report.problem(name, format!("unknown {what} `{text}`: {hint}"));
    }
}

/// Where a name of the top level would have been right.
fn elsewhere(name: &str, config: &Config) -> Option<String> {
    if config.pipelines.iter().any(|input| input.def.name == name) {
        return Some(format!("did you mean `[{INPUT_TABLE}.{name}]`?"));
    }
    let table = TABLES.iter().find(|table| table.keys.iter().any(|key| key.name == name))?;
    Some(format!("did you mean `{name}` in `[{}]`?", table.name))
}

fn read_table(config: &mut Config, table: &Table, content: &DeTable<'_>, report: &mut Report) {
    for (name, value) in content {
        let text = name.get_ref().as_ref();
        match table.keys.iter().find(|key| key.name == text) {
            Some(key) => key.slot.read(config, key.name, value, report),
            None => unknown_key(name, table.name, table.keys.iter().map(|key| key.name), report),
        }
    }
}

fn read_input(config: &mut Config, name: &Name<'_>, value: &Value<'_>, report: &mut Report) {
    let text = name.get_ref().as_ref();
    let Some(index) = config.pipelines.iter().position(|input| input.def.name == text) else {
        let known = config.pipelines.iter().map(|input| input.def.name);
        return report.problem(name, unknown_input(text, known));
    };
    let input = &mut config.pipelines[index];
    let path = format!("{INPUT_TABLE}.{text}");
    let Some(content) = as_table(&path, value, report) else { return };
    for (name, value) in content {
        read_input_key(input, &path, name, value, report);
    }
    check::input(input, content, report);
}

fn read_input_key(
    input: &mut PipelineConfig,
    path: &str,
    name: &Name<'_>,
    value: &Value<'_>,
    report: &mut Report,
) {
    let text = name.get_ref().as_ref();
    if let Some(key) = INPUT_KEYS.iter().find(|key| key.name == text) {
        key.slot.read(input, key.name, value, report);
    } else if let Some(option) = input.def.options.iter().find(|option| option.key == text) {
        if let Some(setting) = value::option(option.default, option.key, value, report) {
            input.options.retain(|(key, _)| key != option.key);
            input.options.push((option.key.into(), setting));
        }
    } else {
        let own = input.def.options.iter().map(|option| option.key);
        unknown_key(name, path, INPUT_KEYS.iter().map(|key| key.name).chain(own), report);
    }
}

fn unknown_key<'a>(
    name: &Name<'_>,
    table: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    report: &mut Report,
) {
    let text = name.get_ref().as_ref();
    let hint = hint(text, known.clone(), || format!("known are {}", listed(known)));
    report.problem(name, format!("unknown key `{text}` in `[{table}]`: {hint}"));
}

fn as_table<'v, 'i>(name: &str, value: &'v Value<'i>, report: &mut Report) -> Option<&'v DeTable<'i>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        report.problem(value, format!("`{name}` must be a table, not {}", described(value.get_ref())));
    }
    table
}

/// Problems found so far, by byte offset.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<(usize, String)>,
}

impl Report {
    /// Adds a problem with something of the file.
    pub(super) fn problem<V>(&mut self, place: &Spanned<V>, message: String) {
        self.at(place.span().start, message);
    }

    fn at(&mut self, offset: usize, message: String) {
        self.problems.push((offset, message));
    }

    /// In the order of the file.
    fn finish(mut self, text: &str) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        let place = |(offset, message)| {
            let before = text.get(..offset).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
            Problem { line, column, message }
        };
        self.problems.into_iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests;
