//! Reading the configuration file: every problem is found in one pass and named with its position.

use std::fmt;

use toml::{Spanned, de::DeTable};

use super::{
    Config, OutputConfig, PipelineConfig, check, origin, output,
    schema::{
        CHECK_KEYS, INPUT_KEYS, INPUT_TABLE, OUTPUT_KEYS, OUTPUT_TABLE, PIPELINE_TABLE, SOURCE_KEYS, TABLES,
        Table,
    },
    suggest::{hint, listed, unknown_input},
    value::{self, Value, described},
};
use crate::{input::check::CHECKS, pipeline::cadvisor::CadvisorPipeline, source::Roots};

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
    if loaded.config.bursts.enabled {
        loaded.config.pipelines.push(loaded.config.bursts.pipeline());
    }
    if loaded.config.pods.cadvisor {
        loaded.config.pipelines.push(CadvisorPipeline::config());
    }
    // What refers to other parts of the file is read when those are known.
    if let Some(content) = table_of(PIPELINE_TABLE, document.get_ref(), &mut report) {
        origin::read(&mut loaded.config, content, &mut report);
    }
    outputs_exist(&loaded.config, document.get_ref(), &mut report);
    pods_can_be_named(&loaded.config, document.get_ref(), &mut report);
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

pub(super) type Name<'i> = Spanned<toml::de::DeString<'i>>;

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
    } else if text == OUTPUT_TABLE {
        for (name, value) in as_table(text, value, report).into_iter().flatten() {
            read_output(&mut loaded.config, name, value, report);
        }
    } else if text != PIPELINE_TABLE {
        let tables = || TABLES.iter().map(|table| table.name).filter(|name| !name.is_empty());
        let names = || {
            top.clone().map(|key| key.name).chain(tables()).chain([INPUT_TABLE, PIPELINE_TABLE, OUTPUT_TABLE])
        };
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
        read_pipeline_key(input, &path, name, value, report);
    }
    check::pipeline(input, name, content, report);
}

fn read_output(config: &mut Config, name: &Name<'_>, value: &Value<'_>, report: &mut Report) {
    let text = name.get_ref().as_ref();
    let path = format!("{OUTPUT_TABLE}.{text}");
    let Some(content) = as_table(&path, value, report) else { return };
    if text == output::PROMETHEUS {
        report.problem(name, format!("output `{text}` is always there, and has no settings"));
        return;
    }
    if let Some(message) = origin::unusable(text) {
        report.problem(name, message);
    }
    let mut output = OutputConfig::new(text);
    for (name, value) in content {
        let key_text = name.get_ref().as_ref();
        match OUTPUT_KEYS.iter().find(|key| key.name == key_text) {
            Some(key) => key.slot.read(&mut output, key.name, value, report),
            None => unknown_key(name, &path, OUTPUT_KEYS.iter().map(|key| key.name), report),
        }
    }
    output::check(&output, name, content, report);
    if let Some(other) = config.outputs.iter().find(|other| other.path.is_some() && other.path == output.path)
    {
        report.problem(name, format!("output `{text}` writes to the file of `{}`", other.name));
    }
    config.outputs.push(output);
}

/// Checks what pipelines say of outputs, once all outputs are known.
fn outputs_exist(config: &Config, document: &DeTable<'_>, report: &mut Report) {
    for pipeline in &config.pipelines {
        let Some((index, message)) = output::complaint(pipeline, config) else { continue };
        let table = [INPUT_TABLE, PIPELINE_TABLE].iter().find_map(|table| {
            let tables = document.get(*table)?.get_ref().as_table()?;
            tables.get(pipeline.key.as_str())?.get_ref().as_table()
        });
        let Some(place) = table.and_then(|table| table.get("outputs")) else { continue };
        let elements = place.get_ref().as_array();
        let element = index.and_then(|index| elements.and_then(|elements| elements.get(index)));
        match element {
            Some(element) => report.problem(element, message),
            None => report.problem(place, message),
        }
    }
}

/// Reports what cannot work of `[pods]`, at the key that it is about.
fn pods_can_be_named(config: &Config, document: &DeTable<'_>, report: &mut Report) {
    let Some(table) = document.get("pods").and_then(|table| table.get_ref().as_table()) else { return };
    for (key, message) in config.pods.complaints() {
        if let Some(place) = table.get(key) {
            report.problem(place, message);
        }
    }
}

pub(super) fn read_pipeline_key(
    input: &mut PipelineConfig,
    path: &str,
    name: &Name<'_>,
    value: &Value<'_>,
    report: &mut Report,
) {
    let text = name.get_ref().as_ref();
    // What an input's own pipeline collects is not to be said.
    let is_further = input.key != input.def.name;
    let collects = input.input.is_some();
    let mut options = input.def.options.iter();
    if is_further && SOURCE_KEYS.iter().any(|key| key.name == text) {
        // It has been read before all others.
    } else if let Some(key) = INPUT_KEYS.iter().find(|key| key.name == text) {
        key.slot.read(input, key.name, value, report);
    } else if let Some(key) = CHECK_KEYS.iter().find(|key| key.name == text) {
        if input.checks().is_some() {
            key.slot.read(input, key.name, value, report);
        } else {
            let what = format!("`{text}` is for checks, and `[{path}]` collects none");
            let checks = CHECKS.iter().map(|known| known.def.name);
            report.problem(name, format!("{what}: checks are {}", listed(checks)));
        }
    } else if let Some(option) = options.find(|option| option.key == text) {
        if !collects {
            let whose = input.def.name;
            let what =
                format!("`{text}` is an option of input `{whose}`, which `[{path}]` does not collect itself");
            return report.problem(name, format!("{what}: set it in the table of that input"));
        }
        if let Some(setting) = value::option(option.default, option.key, value, report) {
            input.options.retain(|(key, _)| key != option.key);
            input.options.push((option.key.into(), setting));
        }
    } else {
        let options = input.def.options.iter().filter(|_| collects).map(|option| option.key);
        let sources = SOURCE_KEYS.iter().filter(|_| is_further).map(|key| key.name);
        let of_checks = CHECK_KEYS.iter().filter(|_| input.checks().is_some());
        let common = INPUT_KEYS.iter().chain(of_checks).map(|key| key.name);
        unknown_key(name, path, sources.chain(common).chain(options), report);
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

/// A table of the top level, if the file has it.
fn table_of<'v, 'i>(name: &str, document: &'v DeTable<'i>, report: &mut Report) -> Option<&'v DeTable<'i>> {
    as_table(name, document.get(name)?, report)
}

pub(super) fn as_table<'v, 'i>(
    name: &str,
    value: &'v Value<'i>,
    report: &mut Report,
) -> Option<&'v DeTable<'i>> {
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

    /// Adds a problem with what stands at a byte.
    pub(super) fn at(&mut self, offset: usize, message: String) {
        self.problems.push((offset, message));
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
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
