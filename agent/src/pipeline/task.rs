//! Tasks: what a pipeline is asked to do, as data.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    QueryConfig,
    query::{Complaint, Part, Query},
};
use crate::{
    catalogue::OptionValue,
    config::PipelineConfig,
    input::{OptionSetting, find},
};

/// A collection that someone wants: what, of which target, how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectTask {
    /// Stable name of the pair of configuration and target.
    pub key: String,
    /// What to run.
    pub config: CollectConfig,
    /// What to run it against.
    #[serde(default)]
    pub target: Target,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectConfig {
    /// Name of the input.
    pub input: String,
    /// When.
    #[serde(default, rename = "executeRule")]
    pub execute_rule: ExecuteRule,
    /// Labels that come from the target's metadata, by label.
    #[serde(default, rename = "refMetas")]
    pub ref_metas: BTreeMap<String, String>,
    /// The input's own settings.
    #[serde(default)]
    pub options: BTreeMap<String, serde_json::Value>,
}

/// When a task is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum ExecuteRule {
    /// Whenever it is scraped.
    #[default]
    OnScrape,
    /// At multiples of a rate since the Unix epoch, plus an offset, both in milliseconds.
    #[serde(rename_all = "camelCase")]
    FixedRate {
        /// Distance of the runs in milliseconds.
        fixed_rate: u64,
        /// Shift in milliseconds.
        #[serde(default)]
        offset: u64,
    },
}

impl ExecuteRule {
    /// The schedule, if it has one.
    pub fn schedule(self) -> Option<super::Schedule> {
        match self {
            Self::OnScrape | Self::FixedRate { fixed_rate: 0, .. } => None,
            Self::FixedRate { fixed_rate, offset } => Some(
                super::Schedule::every(Duration::from_millis(fixed_rate))
                    .at(Duration::from_millis(offset % fixed_rate)),
            ),
        }
    }
}

/// What a task is run against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// This host.
    #[default]
    Localhost,
    /// Nothing: the configuration says all.
    None,
    /// A pod.
    Pod {
        /// Its metadata.
        meta: BTreeMap<String, String>,
    },
    /// One container.
    Container {
        /// Its metadata.
        meta: BTreeMap<String, String>,
    },
    /// A cgroup.
    Cgroup {
        /// Path below the cgroup root.
        path: String,
    },
}

/// What a pipeline is set up with: a task, and the query if it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubTask {
    /// The task.
    pub task: CollectTask,
    /// Its query.
    #[serde(default)]
    pub sql: Option<QueryConfig>,
}

/// Why a task cannot be run. Nothing in a task is ignored: what is not acted on is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// There is no such input.
    #[error("task {key}: there is no input `{input}`")]
    NoInput {
        /// The task.
        key: String,
        /// The name it gives.
        input: String,
    },
    /// The input has no such setting, or it has another type.
    #[error("task {key}: input `{input}` has no setting `{option}` with that value")]
    Option {
        /// The task.
        key: String,
        /// Its input.
        input: String,
        /// The setting.
        option: String,
    },
    /// Its query is wrong.
    #[error("task {key}: {complaint}")]
    Query {
        /// The task.
        key: String,
        /// The first thing that is wrong with it.
        complaint: Complaint,
    },
    /// The task asks for something that cannot be done yet.
    #[error("task {key}: {what} cannot be run yet")]
    Unsupported {
        /// The task.
        key: String,
        /// What that is.
        what: &'static str,
    },
}

impl SubTask {
    /// The task's query, checked against its input.
    pub fn query(&self) -> Result<Option<Query>, TaskError> {
        let Some(sql) = &self.sql else { return Ok(None) };
        let config = &self.task.config;
        let wrong = |complaint| TaskError::Query { key: self.task.key.clone(), complaint };
        if sql.from != config.input {
            let message = format!("the task collects `{}`, so it cannot be `{}`", config.input, sql.from);
            return Err(wrong(Complaint { part: Part::From, message }));
        }
        let interval = config.execute_rule.schedule().map(|schedule| schedule.interval);
        if let Some(complaint) = sql.check_interval(interval) {
            return Err(wrong(complaint));
        }
        let first = |mut complaints: Vec<Complaint>| wrong(complaints.swap_remove(0));
        Query::new(sql, find(&config.input)).map(Some).map_err(first)
    }

    /// How the task's input is to be run.
    pub fn input_config(&self) -> Result<PipelineConfig, TaskError> {
        let task = &self.task;
        let key = || task.key.clone();
        let unsupported = |what| TaskError::Unsupported { key: key(), what };
        if !matches!(task.target, Target::Localhost | Target::None) {
            return Err(unsupported("a target other than this host"));
        }
        if !task.config.ref_metas.is_empty() {
            return Err(unsupported("a label from the target's metadata"));
        }
        let input = || task.config.input.clone();
        let def =
            find(&task.config.input).ok_or_else(|| TaskError::NoInput { key: key(), input: input() })?;
        let mut config = PipelineConfig::new(def);
        if let Some(schedule) = task.config.execute_rule.schedule() {
            config.interval = Some(schedule.interval);
            config.offset = schedule.offset;
            config.deadline = config.deadline.min(schedule.interval);
        }
        for (name, value) in &task.config.options {
            let known = def.options.iter().find(|option| option.key == name);
            let setting = match (known.map(|option| option.default), value) {
                (Some(OptionValue::Bool(_)), serde_json::Value::Bool(on)) => Some(OptionSetting::Bool(*on)),
                (Some(OptionValue::Regex(_)), serde_json::Value::String(text)) => {
                    regex_lite::Regex::new(text).ok().map(|_| OptionSetting::Regex(text.clone()))
                }
                (Some(OptionValue::Integer { min, max, .. }), serde_json::Value::Number(number)) => {
                    let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
                    number.filter(|number| (min..=max).contains(number)).map(OptionSetting::Integer)
                }
                _ => None,
            };
            let setting = setting.ok_or_else(|| TaskError::Option {
                key: key(),
                input: input(),
                option: name.clone(),
            })?;
            config.options.push((name.clone(), setting));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_file_is_strict() {
        let text = r#"{"key":"k","config":{"input":"cpu","executeRule":{"type":"fixedRate","fixedRate":5000,"offset":7000}}}"#;
        let task: CollectTask = serde_json::from_str(text).unwrap();
        let schedule = task.config.execute_rule.schedule().unwrap();
        assert_eq!((schedule.interval, schedule.offset), (Duration::from_secs(5), Duration::from_secs(2)));
        assert_eq!(task.target, Target::Localhost);
        assert!(serde_json::from_str::<CollectTask>(&text.replace("offset", "ofset")).is_err());
        assert!(serde_json::from_str::<CollectTask>(&text.replace("5000", "\"5s\"")).is_err());
    }

    fn sub_task(config: &str, rest: &str) -> Result<PipelineConfig, TaskError> {
        let text = format!(r#"{{"task":{{"key":"k","config":{config}{rest}}}}}"#);
        serde_json::from_str::<SubTask>(&text).unwrap().input_config()
    }

    #[test]
    fn a_task_becomes_the_configuration_of_its_input() {
        let config = sub_task(r#"{"input":"cpu","options":{"info":true}}"#, "").unwrap();
        assert_eq!((config.def.name, config.interval), ("cpu", None));
        assert_eq!(config.options, [("info".to_owned(), OptionSetting::Bool(true))]);
    }

    #[test]
    fn a_query_is_checked_against_the_tasks_input() {
        let query = |input: &str, rule: &str, sql: &str| {
            let text = format!(
                r#"{{"task":{{"key":"k","config":{{"input":"{input}","executeRule":{rule}}}}},"sql":{sql}}}"#
            );
            serde_json::from_str::<SubTask>(&text).unwrap().query().map(|query| query.map(|_| ()))
        };
        let sum = r#"{"from":"loadavg","select":[{"metric":"load1","as":"y","agg":"max"}],"window":"10s"}"#;
        let fixed = r#"{"type":"fixedRate","fixedRate":1000}"#;
        let said = |input, rule, sql: &str| query(input, rule, sql).unwrap_err().to_string();
        assert_eq!(query("loadavg", fixed, sum), Ok(Some(())));
        assert_eq!(query("loadavg", fixed, "null"), Ok(None));
        assert!(
            said("cpu", fixed, sum).ends_with("from: the task collects `cpu`, so it cannot be `loadavg`")
        );
        assert!(said("loadavg", r#"{"type":"onScrape"}"#, sum).contains("give the pipeline an `interval`"));
        assert!(said("loadavg", fixed, &sum.replace("load1", "load2")).contains("did you mean `load1`?"));
    }

    #[test]
    fn what_is_not_acted_on_is_refused() {
        let said = |config: &str, rest: &str| sub_task(config, rest).unwrap_err().to_string();
        assert_eq!(said(r#"{"input":"cpuu"}"#, ""), "task k: there is no input `cpuu`");
        assert_eq!(
            said(r#"{"input":"cpu","options":{"info":1}}"#, ""),
            "task k: input `cpu` has no setting `info` with that value"
        );
        assert!(
            said(r#"{"input":"cpu"}"#, r#","target":{"type":"pod","meta":{}}"#).contains("a target other")
        );
        assert!(said(r#"{"input":"cpu","refMetas":{"app":"name"}}"#, "").contains("metadata"));
    }
}
