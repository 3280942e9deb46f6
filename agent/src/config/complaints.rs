//! What is wrong with the parts of a configuration, in words that do not depend on where they were written.

use super::{
    Config, PipelineConfig, check, output,
    suggest::{hint, listed, unknown_input},
    value,
};
pub(crate) use super::{
    check::tag,
    origin::{idle_source, runs_once, unusable as name},
};
use crate::{input::InputDef, pipeline::TransformConfig};

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

/// What is wrong with the transform of a pipeline of this input, by key.
pub(crate) fn transform(def: &InputDef, transform: &TransformConfig) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    let prefix = transform.prefix.as_deref().and_then(value::prefix_complaint);
    all.extend(prefix.map(|message| ("prefix", message)));
    for (key, patterns) in [("allow", &transform.allow), ("deny", &transform.deny)] {
        for pattern in patterns {
            if key == "deny" && transform.allow.contains(pattern) {
                all.push((key, format!("`{pattern}` is both allowed and denied")));
            }
            all.extend(check::refused(def, pattern).map(|message| (key, message)));
        }
    }
    all.extend(transform.tags.iter().filter_map(|(name, _)| Some(("tags", tag(def, name)?))));
    all
}
