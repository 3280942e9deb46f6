//! What must be true of a query before it runs.

use std::{fmt, time::Duration};

use super::{Aggregate, Of, QueryConfig, Select, groups::MOST_LABELS, shape::Shape};
use crate::{
    catalogue::{Kind, Metric, Since, Unit},
    config::{suggest, written_duration},
    input::InputDef,
};

/// The longest window; longer ones are mistakes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// More names than this are not put into a message.
const LISTED: usize = 12;

/// Something that is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Which part of it.
    pub part: Part,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A part of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `from`
    From,
    /// `select`: as a whole, or the one with this index.
    Select(Option<usize>),
    /// `where`
    Where,
    /// `groupBy`
    GroupBy,
    /// `window`
    Window,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From => f.write_str("from"),
            Self::Select(None) => f.write_str("select"),
            Self::Select(Some(at)) => write!(f, "select {}", at + 1),
            Self::Where => f.write_str("where"),
            Self::GroupBy => f.write_str("group by"),
            Self::Window => f.write_str("window"),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.message)
    }
}

impl QueryConfig {
    /// All that is wrong with it, by itself and for the input whose samples it takes, if that is known.
    pub fn check(&self, from: Option<&InputDef>) -> Vec<Complaint> {
        let mut check = Check { config: self, from, complaints: Vec::new() };
        check.selects();
        check.condition();
        check.groups();
        check.window();
        check.complaints
    }

    /// The definitions of its results. Without an input that is known, nothing is known of them but names and labels.
    pub fn results(&self, from: Option<&InputDef>) -> Vec<&'static Metric> {
        let check = Check { config: self, from, complaints: Vec::new() };
        let tests = self.condition.as_ref().is_some_and(super::Condition::tests_values);
        let labels: Vec<&str> = self.group_by.iter().map(String::as_str).collect();
        let result = |select: &Select| {
            let metric = check.metric(&select.metric).ok().flatten();
            let made = metric.and_then(|metric| Some((Shape::of(select, metric, tests).ok()?, metric)));
            match made {
                Some((shape, metric)) => {
                    let help = self.help(select, metric);
                    Metric::interned_since(&select.name, &help, shape.kind, shape.unit, &labels, shape.since)
                }
                None => {
                    Metric::interned_since(&select.name, "", Kind::Untyped, Unit::None, &labels, Since::Now)
                }
            }
        };
        self.select.iter().map(result).collect()
    }

    /// What is wrong with it for a pipeline that is collected so often; without an interval, at scrapes.
    pub fn check_interval(&self, interval: Option<Duration>) -> Option<Complaint> {
        let window = self.window?;
        let message = match interval {
            None => "a window needs collections at a steady pace: give the pipeline an `interval`".to_owned(),
            Some(interval) if interval > window => format!(
                "a window of {} has no collection in it when there is one every {}",
                written_duration(window),
                written_duration(interval)
            ),
            Some(_) => return None,
        };
        Some(Complaint { part: Part::Window, message })
    }
}

struct Check<'c> {
    config: &'c QueryConfig,
    from: Option<&'c InputDef>,
    complaints: Vec<Complaint>,
}

impl Check<'_> {
    fn complain(&mut self, part: Part, message: impl Into<String>) {
        self.complaints.push(Complaint { part, message: message.into() });
    }

    fn selects(&mut self) {
        let config = self.config;
        if config.from.is_empty() {
            self.complain(Part::From, "name the input or pipeline that delivers the samples");
        }
        if config.select.is_empty() {
            self.complain(Part::Select(None), "name at least one result, as in `sum(x) AS y`");
        }
        for (at, select) in config.select.iter().enumerate() {
            if let Err(message) = self.select(select) {
                self.complain(Part::Select(Some(at)), message);
            }
            if config.select[..at].iter().any(|other| other.name == select.name) {
                let name = &select.name;
                self.complain(Part::Select(Some(at)), format!("there are two results called `{name}`"));
            }
        }
    }

    fn select(&self, select: &Select) -> Result<(), String> {
        let name = &select.name;
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(valid) {
            return Err(format!(
                "`{name}` is no metric name: it takes letters, digits, `_` and `:`, no digit first"
            ));
        }
        if let Some(over) = select.over {
            if !matches!(select.agg, Aggregate::Min | Aggregate::Max) {
                return Err(format!(
                    "only max and min can be folded `over` a time of their own, not {}",
                    select.agg
                ));
            }
            span(over)?;
            if self.config.window.is_some_and(|window| over < window) {
                return Err(
                    "a result over less than the window never shows most of it: make it longer".to_owned()
                );
            }
        }
        if matches!(select.agg, Aggregate::Quantile(percent) if !(1..=99).contains(&percent)) {
            return Err(format!("there is no {}: it takes p1 to p99", select.agg));
        }
        if select.agg == Aggregate::Histogram && select.of == Of::Delta {
            let metric = &select.metric;
            return Err(format!(
                "a histogram takes values or rates: did you mean `histogram(rate({metric}))`?"
            ));
        }
        if let Some(metric) = self.metric(&select.metric)? {
            let tests = self.config.condition.as_ref().is_some_and(super::Condition::tests_values);
            Shape::of(select, metric, tests)?;
        }
        Ok(())
    }

    /// The definition of a metric, if the input is known.
    fn metric(&self, name: &str) -> Result<Option<&'static Metric>, String> {
        let Some(def) = self.from else { return Ok(None) };
        let names = || def.metrics.iter().map(|metric| metric.name);
        if let Some(metric) = def.metrics.iter().find(|metric| is_called(metric, name)) {
            return Ok(Some(metric));
        }
        let bare = name
            .strip_prefix(def.prefix)
            .filter(|bare| !def.prefix.is_empty() && names().any(|n| n == *bare));
        let hint = match bare {
            Some(bare) => format!("did you mean `{bare}`, without the prefix?"),
            None => suggest::hint(name, names(), || match def.metrics.len() {
                0..=LISTED => format!("it has {}", suggest::listed(names())),
                _ => "`pitot generate metrics-md` lists them".to_owned(),
            }),
        };
        Err(format!("input `{}` has no metric `{name}`: {hint}", def.name))
    }

    /// The definitions of all metrics that are selected, as far as they are known.
    fn metrics(&self) -> Vec<&'static Metric> {
        let selected = self.config.select.iter();
        selected.filter_map(|select| self.metric(&select.metric).ok().flatten()).collect()
    }

    /// Every metric must have the label: a group or condition on one that is missing is a mistake.
    fn label(&mut self, part: Part, label: &str) {
        for metric in self.metrics() {
            let names = || metric.labels.iter().map(|label| label.name);
            if names().any(|name| name == label) {
                continue;
            }
            let hint = suggest::hint(label, names(), || match metric.labels.len() {
                0 => "it has none".to_owned(),
                _ => format!("it has {}", suggest::listed(names())),
            });
            self.complain(part, format!("`{}` has no label `{label}`: {hint}", metric.name));
            return;
        }
    }

    fn condition(&mut self) {
        let Some(condition) = &self.config.condition else { return };
        condition.problems(&mut |message| self.complaints.push(Complaint { part: Part::Where, message }));
        let mut labels = Vec::new();
        condition.labels(&mut |label| labels.push(label));
        labels.dedup();
        for label in labels {
            self.label(Part::Where, label);
        }
    }

    fn groups(&mut self) {
        let labels = &self.config.group_by;
        if labels.len() > MOST_LABELS {
            self.complain(
                Part::GroupBy,
                format!("there are {} labels, and {MOST_LABELS} are the most", labels.len()),
            );
        }
        for (at, label) in labels.iter().enumerate() {
            if labels[..at].contains(label) {
                self.complain(Part::GroupBy, format!("label `{label}` is named twice"));
            } else if label.is_empty() || label == "le" || label == "quantile" {
                self.complain(Part::GroupBy, format!("`{label}` cannot be the label of a result"));
            } else {
                self.label(Part::GroupBy, label);
            }
        }
    }

    fn window(&mut self) {
        let Some(window) = self.config.window else { return };
        if let Err(message) = span(window) {
            self.complain(Part::Window, message);
        }
        let unmoved = |select: &Select| select.agg == Aggregate::Histogram || select.over.is_some();
        if !self.config.select.is_empty() && self.config.select.iter().all(unmoved) {
            let message =
                "it has no effect: histograms, and results over a time of their own, know no windows";
            self.complain(Part::Window, message);
        }
    }
}

fn span(span: Duration) -> Result<(), String> {
    if span < Duration::from_millis(1) || span > LONGEST {
        return Err("a span of time must lie between 1ms and 24h".to_owned());
    }
    if !span.subsec_nanos().is_multiple_of(1_000_000) {
        return Err("a span of time must be of whole milliseconds".to_owned());
    }
    Ok(())
}

/// Whether a metric, or one of its parts, has this name.
fn is_called(metric: &Metric, name: &str) -> bool {
    if metric.name == name {
        return true;
    }
    let Some((before, after)) = metric.name.split_once('*') else { return false };
    let middle = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    middle.is_some_and(|middle| !middle.is_empty())
}
