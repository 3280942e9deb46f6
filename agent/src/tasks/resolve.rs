//! From a task to the pipeline that runs it. Nothing in a task is ignored: what is not acted on is refused.

mod options;
mod target;

use std::time::Duration;

use super::model::{self, CollectConfig, CollectTask, RuleKind, Span, Sql, Transform, ValueConfig};
use crate::{
    config::{
        Config, PipelineConfig,
        complaints::{self, AboutQuery},
    },
    pipeline::{Manipulation, QueryConfig, ValueRule, query::Part},
};

/// Why a task cannot be run: every reason, with the field that it is about and what to do.
pub type Complaints = Vec<String>;

/// What a task may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The agent's configuration.
    pub config: &'a Config,
    /// The host's name.
    pub hostname: &'a str,
}

/// The pipeline that a task asks for.
pub fn resolve(task: &CollectTask, around: Surroundings<'_>) -> Result<PipelineConfig, Complaints> {
    let mut wrong = Vec::new();
    if let Some(message) = complaints::name(&task.key) {
        wrong.push(format!("`key`: {message}"));
    } else if around.config.pipelines.iter().any(|pipeline| pipeline.key == task.key) {
        let key = &task.key;
        wrong.push(format!(
            "`key`: `{key}` is an input or a pipeline of the agent's configuration: choose another"
        ));
    }
    let Some(mut pipeline) = source(&task.config, around.config, &mut wrong) else { return Err(wrong) };
    pipeline.key.clone_from(&task.key);
    schedule(&task.config, &mut pipeline, &mut wrong);
    queries(&task.config, &mut pipeline, &mut wrong);
    transform(&task.config.transform, &mut pipeline, &mut wrong);
    target::read(task, &mut pipeline, &mut wrong);
    target::references(task, around, &mut pipeline, &mut wrong);
    options::read(&task.config, around, &mut pipeline, &mut wrong);
    let mut about = complaints::queries(&pipeline);
    let source =
        pipeline.from.as_ref().and_then(|from| around.config.pipelines.iter().find(|it| it.key == *from));
    about.extend(source.into_iter().flat_map(|source| complaints::frames(&pipeline, source)));
    for AboutQuery { index, complaint } in about {
        let place = place_of(&task.config, index, complaint.part);
        wrong.push(format!("`config.{place}`: {}", complaint.message));
    }
    complain(&pipeline, &mut wrong);
    if let Some(outputs) = &task.config.outputs {
        pipeline.outputs.clone_from(outputs);
    }
    if let Some(message) = complaints::outputs(&pipeline, around.config) {
        wrong.push(format!("`config.outputs`: {message}"));
    }
    if wrong.is_empty() { Ok(pipeline) } else { Err(wrong) }
}

fn source(task: &CollectConfig, config: &Config, wrong: &mut Complaints) -> Option<PipelineConfig> {
    let known = |name: &str| config.pipelines.iter().find(|pipeline| pipeline.key == name);
    match (&task.input, &task.from) {
        (Some(input), None) => {
            let Some(found) = known(input).filter(|found| found.def.name == input) else {
                wrong.push(format!("`config.input`: {}", complaints::input(input, config)));
                return None;
            };
            if let Some(message) = complaints::runs_once(found.def) {
                wrong.push(format!("`config.input`: {message}"));
                return None;
            }
            Some(PipelineConfig::new(found.def))
        }
        (None, Some(from)) => {
            let Some(found) = known(from) else {
                wrong.push(format!("`config.from`: {}", complaints::source(from, config)));
                return None;
            };
            let pipeline =
                PipelineConfig { input: None, from: Some(from.clone()), ..PipelineConfig::new(found.def) };
            if let Some(message) = complaints::idle_source(&pipeline, config) {
                wrong.push(format!("`config.from`: {message}"));
            }
            Some(pipeline)
        }
        (Some(_), Some(_)) => {
            wrong.push("`config.from` and `config.input` exclude each other".to_owned());
            None
        }
        (None, None) => {
            wrong.push(
                "`config.input` is missing: the name of an input, or `config.from` that of a pipeline"
                    .to_owned(),
            );
            None
        }
    }
}

fn schedule(task: &CollectConfig, pipeline: &mut PipelineConfig, wrong: &mut Complaints) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let rule = &task.execute_rule;
    let rate = rule.fixed_rate.map(|Span(rate)| rate);
    match (rule.kind, rate) {
        (RuleKind::OnScrape, None) => {
            if rule.offset.is_some() || rule.spread.is_some() {
                wrong.push("`config.executeRule.offset` shifts a `fixedRate`, and there is none".to_owned());
            }
        }
        (RuleKind::OnScrape, Some(_)) => {
            wrong.push(
                "`config.executeRule.type` must be \"fixedRate\" where there is a `fixedRate`".to_owned(),
            );
        }
        (RuleKind::FixedRate, None) => wrong.push("`config.executeRule.fixedRate` is missing".to_owned()),
        (RuleKind::FixedRate, Some(rate)) => {
            if rate.is_zero() || rate > DAY {
                wrong.push("`config.executeRule.fixedRate` must lie between 1ms and 24h".to_owned());
            }
            let offset = rule.offset.map_or(Duration::ZERO, |Span(offset)| offset);
            if offset >= rate {
                wrong.push("`config.executeRule.offset` must be shorter than `fixedRate`".to_owned());
            }
            if rule.spread.is_some_and(|Span(spread)| spread > rate) {
                wrong.push("`config.executeRule.spread` must not be longer than `fixedRate`".to_owned());
            }
            pipeline.interval = Some(rate);
            pipeline.offset = offset;
            pipeline.spread = rule.spread.map(|Span(spread)| spread);
            pipeline.deadline = pipeline.deadline.min(rate);
        }
    }
    if let Some(Span(deadline)) = task.deadline {
        if deadline.is_zero() || deadline > rate.unwrap_or(DAY) {
            wrong.push("`config.deadline` must be at least 1ms and not longer than the rate".to_owned());
        }
        pipeline.deadline = deadline;
    }
}

/// What it computes. A part of a query without its results is refused, and a query that is given twice.
fn queries(task: &CollectConfig, pipeline: &mut PipelineConfig, wrong: &mut Complaints) {
    let parts = [
        ("select", task.select.is_some()),
        ("where", task.condition.is_some()),
        ("groupBy", task.group_by.is_some()),
        ("window", task.window.is_some()),
    ];
    let part = parts.iter().find(|(_, is_given)| *is_given).map(|(name, _)| *name);
    match (&task.sql, &task.select, part) {
        (Some(_), _, Some(part)) => {
            wrong.push(format!(
                "`config.sql` and `config.{part}` exclude each other: a query is one or the other"
            ));
        }
        (Some(Sql(queries)), ..) => pipeline.queries.clone_from(queries),
        (None, Some(select), _) => pipeline.queries.push(QueryConfig {
            from: pipeline.source().to_owned(),
            select: select.clone(),
            condition: task.condition.clone(),
            group_by: task.group_by.clone().unwrap_or_default(),
            window: task.window.map(|Span(window)| window),
        }),
        (None, None, Some(part)) => {
            wrong.push(format!("`config.{part}` is a part of a query: say with `select` what is computed"));
        }
        (None, None, None) => {
            wrong.extend(
                complaints::idle_pipeline(pipeline).map(|message| format!("`config.from`: {message}")),
            );
        }
    }
}

/// The key that says a part of a query.
fn place_of(task: &CollectConfig, index: usize, part: Part) -> String {
    match (&task.sql, part) {
        (Some(Sql(queries)), part) => {
            let which = if queries.len() > 1 { format!("[{index}]") } else { String::new() };
            format!("sql{which}`, `{part}")
        }
        (None, Part::Select(Some(at))) => format!("select[{at}]"),
        (None, Part::From | Part::Select(None)) => "select".to_owned(),
        (None, Part::Where) => "where".to_owned(),
        (None, Part::GroupBy) => "groupBy".to_owned(),
        (None, Part::Window) => "window".to_owned(),
    }
}

fn transform(asked: &Transform, pipeline: &mut PipelineConfig, wrong: &mut Complaints) {
    let at = |field: &str, message: &str| format!("`config.transform.{field}`: {message}");
    if !asked.scripts.is_empty() {
        let what = "scripts are not run: say what they compute in `derive`, as in \"used = total - free\"";
        wrong.push(at("scripts", what));
    }
    let config = &mut pipeline.transform;
    config.prefix.clone_from(&asked.prefix);
    config.format.clone_from(&asked.format);
    config.allow.clone_from(&asked.allow);
    config.deny.clone_from(&asked.deny);
    config.derive.clone_from(&asked.derive);
    config.values = asked.values.iter().map(|(pattern, value)| rule(pattern, value)).collect();
    config.tags = asked.tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(most) = asked.max_series {
        if most == 0 {
            wrong.push(at("max_series", "must be above zero"));
        }
        config.max_series = most;
    }
}

fn rule(pattern: &str, value: &ValueConfig) -> ValueRule {
    let manipulation = match value.manipulate {
        model::Manipulation::Gauge => Manipulation::Gauge,
        model::Manipulation::Delta => Manipulation::Delta,
        model::Manipulation::Rate => Manipulation::Rate,
    };
    ValueRule { pattern: pattern.to_owned(), manipulation, keep_negative: value.keep_negative }
}

/// What is wrong with the transform as a whole, in the words of tasks.
fn complain(pipeline: &PipelineConfig, wrong: &mut Complaints) {
    for complaint in pipeline.transform.check(&pipeline.published()) {
        let entry = complaint.entry.as_ref().map(|entry| format!(".{entry}")).unwrap_or_default();
        let place = match complaint.key {
            "target_tags" => format!("config.refMetas{entry}"),
            key => format!("config.transform.{key}{entry}"),
        };
        wrong.push(format!("`{place}`: {complaint}"));
    }
}

#[cfg(test)]
mod tests;
