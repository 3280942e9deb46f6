//! What is wrong with the parts of a configuration, in words that do not depend on where they were written.

pub(crate) use super::origin::{idle_source, runs_once, unusable as name};
use super::{
    Config, PipelineConfig, glob, output,
    suggest::{hint, listed, unknown_input},
};
use crate::{
    input::InputDef,
    pipeline::query::{Complaint, Part},
};

/// More names than this are not put into a message.
const LISTED: usize = 12;

/// What to say of an input that there is not.
pub(crate) fn input(name: &str, config: &Config) -> String {
    unknown_input(name, config.pipelines.iter().map(|pipeline| pipeline.def.name))
}

/// What to say of a pipeline that there is not.
pub(crate) fn source(name: &str, config: &Config) -> String {
    let known = config.pipelines.iter().map(|pipeline| pipeline.key.as_str());
    let hint = hint(name, known, || "it is no input and no pipeline of the agent's configuration".to_owned());
    format!("unknown pipeline `{name}`: {hint}")
}

/// What to say of an option that an input has not.
pub(crate) fn option(def: &InputDef, name: &str) -> String {
    let known = || def.options.iter().map(|option| option.key);
    let hint = hint(name, known(), || match def.options {
        [] => "it has none".to_owned(),
        _ => format!("known are {}", listed(known())),
    });
    format!("input `{}` has no option `{name}`: {hint}", def.name)
}

/// What is wrong with the outputs of a pipeline.
pub(crate) fn outputs(pipeline: &PipelineConfig, config: &Config) -> Option<String> {
    output::complaint(pipeline, config).map(|(_, message)| message)
}

/// Something that is wrong with one of the queries of a pipeline.
pub(crate) struct AboutQuery {
    /// Which.
    pub(crate) index: usize,
    pub(crate) complaint: Complaint,
}

/// All that is wrong with the queries of a pipeline.
pub(crate) fn queries(pipeline: &PipelineConfig) -> Vec<AboutQuery> {
    let mut all = Vec::new();
    for (index, query) in pipeline.queries.iter().enumerate() {
        let from = (query.from != pipeline.source()).then(|| {
            let (asked, own) = (&query.from, pipeline.source());
            let fix = format!("say FROM {own}, or let a pipeline of its own take `from = \"{asked}\"`");
            Complaint {
                part: Part::From,
                message: format!("`{asked}` is not what it takes its samples from: {fix}"),
            }
        });
        let earlier = pipeline.queries[..index].iter().flat_map(|query| &query.select);
        let is_taken = |name: &str| earlier.clone().any(|earlier| earlier.name == name);
        let twice = query.select.iter().enumerate().filter(|(_, select)| is_taken(&select.name));
        let twice = twice.map(|(at, select)| Complaint {
            part: Part::Select(Some(at)),
            message: format!("another query has a result called `{}`, too: choose another name", select.name),
        });
        let own = query.check(pipeline.sampled()).into_iter().chain(query.check_interval(pipeline.interval));
        all.extend(from.into_iter().chain(own).chain(twice).map(|complaint| AboutQuery { index, complaint }));
    }
    all
}

/// All that the queries of a pipeline ask for and the one that it takes from does not publish.
pub(crate) fn frames(pipeline: &PipelineConfig, source: &PipelineConfig) -> Vec<AboutQuery> {
    let names = source.exported();
    let names = || names.iter().map(String::as_str);
    let selects = pipeline.queries.iter().enumerate().flat_map(|(index, query)| {
        query.select.iter().enumerate().map(move |(at, select)| (index, at, select.metric.as_str()))
    });
    let missing = selects.filter(|(.., metric)| !names().any(|name| glob::overlap(name, metric)));
    let complaint = |(index, at, metric): (usize, usize, &str)| {
        let is_bare = |name: &&str| name.strip_suffix(metric).is_some_and(|prefix| prefix.ends_with('_'));
        let hint = match names().find(is_bare) {
            Some(name) => format!("did you mean `{name}`, with the prefix?"),
            None => hint(metric, names(), || match names().count() {
                0..=LISTED => format!("it has {}", listed(names())),
                _ => "its page lists them".to_owned(),
            }),
        };
        let message = format!("pipeline `{}` publishes no metric `{metric}`: {hint}", source.key);
        AboutQuery { index, complaint: Complaint { part: Part::Select(Some(at)), message } }
    };
    missing.map(complaint).collect()
}

/// What to say of a pipeline that takes from another and computes nothing of it.
pub(crate) fn idle_pipeline(pipeline: &PipelineConfig) -> Option<String> {
    let from = pipeline.from.as_ref().filter(|_| pipeline.queries.is_empty())?;
    let what = "a pipeline that takes what another publishes computes something of it";
    Some(format!("{what}: give `sql`, as in \"SELECT max(metric) AS name FROM {from}\""))
}
