//! The input's own settings, in the words of this agent and of the one whose tasks it takes.

use super::{
    super::model::{CollectConfig, Span},
    Complaints, Surroundings,
};
use crate::{
    catalogue::{OptionDef, OptionValue},
    config::{PipelineConfig, complaints},
    input::{InputDef, OptionSetting, check::NetworkMode},
    pipeline::checks::{self, Template},
};

/// Inputs, what the other agent calls one of their options, and what it is called here.
const ALIASES: [(&str, &str, &str); 5] = [
    ("httpcheck", "schema", "scheme"),
    ("httpcheck", "successCodes", "expected_codes"),
    ("httpcheck", "successRegexps", "body_regex"),
    ("httpcheck", "bodyLimit", "body_limit"),
    ("dialcheck", "port", "ports"),
];
/// Where a target is checked from, which is a key of the pipeline here.
const NETWORK_MODE: [&str; 2] = ["networkMode", "network_mode"];

/// Reads them, and says what the input says against them.
pub(super) fn read(
    task: &CollectConfig,
    around: Surroundings<'_>,
    pipeline: &mut PipelineConfig,
    wrong: &mut Complaints,
) {
    let before = wrong.len();
    let def = pipeline.def;
    for (name, value) in &task.options {
        if pipeline.from.is_some() {
            let what = "it collects nothing itself: set it where the input is configured";
            wrong.push(format!("`config.options.{name}`: {what}"));
            continue;
        }
        if NETWORK_MODE.contains(&name.as_str()) && pipeline.checks().is_some() {
            network_mode(name, value, pipeline, wrong);
            continue;
        }
        let key = ours(def, name);
        if checks::is_of_the_agent(def, key) {
            let what = format!("only `[input.{}]` of the agent's configuration may say it", def.name);
            wrong.push(format!("`config.options.{name}`: {what}"));
            continue;
        }
        let Some(option) = def.options.iter().find(|option| option.key == key) else {
            wrong.push(format!("`config.options.{name}`: {}", complaints::option(def, name)));
            continue;
        };
        match setting(option, value) {
            Ok(setting) => {
                pipeline.options.retain(|(known, _)| known != key);
                pipeline.options.push((key.to_owned(), setting));
            }
            Err(what) => wrong.push(format!("`config.options.{name}` must be {what}, not {value}")),
        }
    }
    if pipeline.checks().is_none() {
        return;
    }
    let of_agent = around.config.pipelines.iter().filter(|known| known.key == def.name);
    for (key, setting) in of_agent.flat_map(|known| &known.options) {
        if checks::is_of_the_agent(def, key) {
            pipeline.options.push((key.clone(), setting.clone()));
        }
    }
    templates(pipeline, wrong);
    if wrong.len() == before {
        wrong.extend(checks::complaint(pipeline).map(|message| format!("`config.options`: {message}")));
    }
}

/// What an option is called here.
fn ours<'n>(def: &InputDef, name: &'n str) -> &'n str {
    let alias = ALIASES.iter().find(|(input, theirs, ours)| {
        *input == def.name && *theirs == name && def.options.iter().any(|option| option.key == *ours)
    });
    alias.map_or(name, |(.., ours)| ours)
}

fn network_mode(
    name: &str,
    value: &serde_json::Value,
    pipeline: &mut PipelineConfig,
    wrong: &mut Complaints,
) {
    let has_target = pipeline.check.target.is_some();
    match value.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("pod") if has_target => pipeline.check.network_mode = NetworkMode::Pod,
        Some("pod") => {
            let what = "\"pod\" needs a target of type \"pod\" or \"container\"";
            wrong.push(format!("`config.options.{name}`: {what}"));
        }
        Some("agent") if has_target => pipeline.check.network_mode = NetworkMode::Agent,
        // Where there is no target, it is executed by the agent anyway.
        Some("agent") => {}
        _ => wrong.push(format!("`config.options.{name}` must be \"pod\" or \"agent\", not {value}")),
    }
}

/// Says which texts take something of a target that cannot be taken.
fn templates(pipeline: &PipelineConfig, wrong: &mut Complaints) {
    let own = pipeline.options.iter().filter(|(key, _)| !checks::is_of_the_agent(pipeline.def, key));
    for (key, setting) in own {
        let texts = match setting {
            OptionSetting::Text(text) => std::slice::from_ref(text),
            OptionSetting::Texts(texts) => texts,
            _ => continue,
        };
        for text in texts {
            let message = match pipeline.check.target {
                Some(_) => Template::parse(text).err().map(|error| error.message),
                None => Template::first_place(text)
                    .map(|_| "takes something of a container, and the target is none".to_owned()),
            };
            wrong.extend(message.map(|message| format!("`config.options.{key}`: {message}")));
        }
    }
}

/// A text that may be written as a number.
fn text(value: &serde_json::Value) -> Option<String> {
    let number = || value.as_u64().map(|number| number.to_string());
    value.as_str().map(str::to_owned).or_else(number)
}

/// The setting that a value is, or what it should have been.
fn setting(option: &OptionDef, value: &serde_json::Value) -> Result<OptionSetting, String> {
    match option.default {
        OptionValue::Bool(_) => {
            value.as_bool().map(OptionSetting::Bool).ok_or_else(|| "true or false".to_owned())
        }
        OptionValue::Regex(_) => {
            // Of several, any.
            let any =
                || Some(texts(value)?.iter().map(|text| format!("(?:{text})")).collect::<Vec<_>>().join("|"));
            let text = value.as_str().map(str::to_owned).or_else(any);
            text.filter(|text| regex_lite::Regex::new(text).is_ok())
                .map(OptionSetting::Regex)
                .ok_or_else(|| "a regular expression".to_owned())
        }
        OptionValue::Text(_) => text(value).map(OptionSetting::Text).ok_or_else(|| "a string".to_owned()),
        OptionValue::Texts(_) => {
            let one = || Some(vec![text(value)?]);
            texts(value)
                .or_else(one)
                .map(OptionSetting::Texts)
                .ok_or_else(|| "an array of strings".to_owned())
        }
        OptionValue::Duration(_) => {
            let span =
                serde_json::from_value::<Span>(value.clone()).ok().filter(|Span(length)| !length.is_zero());
            span.map(|Span(length)| OptionSetting::Duration(length))
                .ok_or_else(|| "milliseconds, or a whole number and ms, s, m or h as in \"5s\"".to_owned())
        }
        OptionValue::Integer { min, max, .. } => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            let number = number.filter(|number| (min..=max).contains(number));
            number
                .map(OptionSetting::Integer)
                .ok_or_else(|| format!("a whole number between {min} and {max}"))
        }
    }
}

fn texts(value: &serde_json::Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}
