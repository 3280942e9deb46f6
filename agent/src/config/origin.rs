//! The `[pipeline.NAME]` tables: what they take their samples from.

use toml::de::DeTable;

use super::{
    Config, PipelineConfig, check,
    load::{Name, Report, as_table, read_pipeline_key},
    query,
    schema::PIPELINE_TABLE,
    suggest::{hint, unknown_input},
    value::{Value, described},
};
use crate::{catalogue::Source, input::InputDef};

/// A table, and the one source that it names.
struct Link<'v, 'i> {
    key: &'v str,
    content: &'v DeTable<'i>,
    place: &'v Value<'i>,
    source: Origin<'v>,
}

#[derive(Clone, Copy)]
enum Origin<'v> {
    Input(&'static InputDef),
    From(&'v str),
}

/// What is at the far end of a pipeline that takes from another.
enum End {
    Input(&'static InputDef),
    /// What is wrong is wrong with another table, and said there.
    Elsewhere,
    Wrong(String),
}

/// Reads the further pipelines behind those of the inputs, in whatever order the file has them.
pub(super) fn read(config: &mut Config, tables: &DeTable<'_>, report: &mut Report) {
    let links: Vec<Link<'_, '_>> =
        tables.iter().filter_map(|(name, value)| link(config, name, value, report)).collect();
    let known: Vec<&str> = tables.iter().map(|(name, _)| name.get_ref().as_ref()).collect();
    let first = config.pipelines.len();
    for link in &links {
        let pipeline = match link.source {
            Origin::Input(def) => PipelineConfig { key: link.key.to_owned(), ..PipelineConfig::new(def) },
            Origin::From(from) => match far_end(config, &links, &known, link.key, from) {
                End::Input(def) => PipelineConfig {
                    key: link.key.to_owned(),
                    input: None,
                    from: Some(from.to_owned()),
                    ..PipelineConfig::new(def)
                },
                End::Elsewhere => continue,
                End::Wrong(message) => {
                    report.problem(link.place, message);
                    continue;
                }
            },
        };
        config.pipelines.push(pipeline);
    }
    let (_, further) = config.pipelines.split_at_mut(first);
    for pipeline in further {
        let path = format!("{PIPELINE_TABLE}.{}", pipeline.key);
        let Some(link) = links.iter().find(|link| link.key == pipeline.key) else { continue };
        for (name, value) in link.content {
            read_pipeline_key(pipeline, &path, name, value, report);
        }
        check::pipeline(pipeline, link.place, link.content, report);
    }
    for pipeline in &config.pipelines {
        if let Some(message) = idle_source(pipeline, config)
            && let Some(link) = links.iter().find(|link| link.key == pipeline.key)
        {
            report.problem(link.place, message);
        }
    }
    // What a pipeline publishes is known when nothing is wrong with it.
    if report.is_empty() {
        for link in &links {
            let of = |key: &str| config.pipelines.iter().find(|pipeline| pipeline.key == key);
            if let (Some(pipeline), Origin::From(from)) = (of(link.key), link.source)
                && let Some(source) = of(from)
            {
                query::frames(pipeline, source, link.content, report);
            }
        }
    }
}

/// Says so when a pipeline takes from one that is switched off.
pub(crate) fn idle_source(pipeline: &PipelineConfig, config: &Config) -> Option<String> {
    let from = pipeline.from.as_ref().filter(|_| pipeline.enabled)?;
    let source = config.pipelines.iter().find(|other| other.key == *from)?;
    (!source.enabled).then(|| format!("`{from}` is not enabled: there is nothing to take from it"))
}

/// Says so when an input can run only once.
pub(crate) fn runs_once(def: &InputDef) -> Option<String> {
    let name = def.name;
    let what = "its kernel programs are loaded once";
    matches!(def.source, Source::Bpf(_))
        .then(|| format!("input `{name}` cannot be run twice, {what}: use `from = \"{name}\"`"))
}

/// Says so when a name cannot be that of a pipeline, an output or a task.
pub(crate) fn unusable(name: &str) -> Option<String> {
    let usable = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    let fits = !name.is_empty() && name.len() <= 200 && name.chars().all(usable);
    let what = "up to 200 letters, digits, `_`, `-`, `.`, `/` and `:`";
    (!fits).then(|| format!("`{name}` cannot be a name: it takes {what}"))
}

fn link<'v, 'i>(
    config: &Config,
    name: &'v Name<'i>,
    value: &'v Value<'i>,
    report: &mut Report,
) -> Option<Link<'v, 'i>> {
    let key = name.get_ref().as_ref();
    let content = as_table(&format!("{PIPELINE_TABLE}.{key}"), value, report)?;
    if let Some(message) = unusable(key) {
        report.problem(name, message);
        return None;
    }
    if config.pipelines.iter().any(|pipeline| pipeline.key == key) {
        let what = format!("`{key}` is the name of an input: its own pipeline is `[input.{key}]`");
        report.problem(name, what);
        return None;
    }
    let (place, input) = match (content.get("input"), content.get("from")) {
        (Some(input), None) => (input, true),
        (None, Some(from)) => (from, false),
        (Some(_), Some(from)) => {
            report.problem(from, "`from` and `input` exclude each other".to_owned());
            return None;
        }
        (None, None) => {
            let what =
                format!("pipeline `{key}` needs a source: `input = \"cpu\"`, or `from` another pipeline");
            report.problem(name, what);
            return None;
        }
    };
    let Some(text) = place.get_ref().as_str() else {
        let (key, other) = (if input { "input" } else { "from" }, described(place.get_ref()));
        report.problem(place, format!("`{key}` must be a name in quotes, not {other}"));
        return None;
    };
    let source = if input {
        let found = config.pipelines.iter().find(|pipeline| pipeline.def.name == text);
        let Some(found) = found else {
            let known = config.pipelines.iter().map(|pipeline| pipeline.def.name);
            report.problem(place, unknown_input(text, known));
            return None;
        };
        if let Some(message) = runs_once(found.def) {
            report.problem(place, message);
            return None;
        }
        Origin::Input(found.def)
    } else {
        Origin::From(text)
    };
    Some(Link { key, content, place, source })
}

/// Follows a pipeline to the input that its samples come from.
fn far_end(config: &Config, links: &[Link<'_, '_>], known: &[&str], key: &str, from: &str) -> End {
    let mut way = vec![key];
    let mut next = from;
    loop {
        if let Some(input) = config.pipelines.iter().find(|pipeline| pipeline.key == next) {
            return End::Input(input.def);
        }
        let Some(link) = links.iter().find(|link| link.key == next) else {
            if known.contains(&next) || way.len() > 1 {
                return End::Elsewhere;
            }
            let names =
                || config.pipelines.iter().map(|pipeline| pipeline.key.as_str()).chain(known.iter().copied());
            let hint = hint(from, names().filter(|name| *name != key), || {
                "it is no input and no pipeline".to_owned()
            });
            return End::Wrong(format!("unknown pipeline `{from}`: {hint}"));
        };
        if way.contains(&next) {
            // Those that lead into the circle are not part of it.
            return if next == key {
                End::Wrong(format!("it takes from itself: {} -> {key}", way.join(" -> ")))
            } else {
                End::Elsewhere
            };
        }
        way.push(link.key);
        match link.source {
            Origin::Input(def) => return End::Input(def),
            Origin::From(from) => next = from,
        }
    }
}
