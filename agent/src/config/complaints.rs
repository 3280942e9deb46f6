//! What is wrong with the parts of a configuration, in words that do not depend on where they were written.

pub(crate) use super::origin::{idle_source, runs_once, unusable as name};
use super::{
    Config, PipelineConfig, output,
    suggest::{hint, listed, unknown_input},
};
use crate::input::InputDef;

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
