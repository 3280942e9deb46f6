//! The rules of one pipeline, compiled.

use std::{borrow::Cow, collections::HashMap};

use super::{Manipulation, Pattern, TagPolicy, TransformConfig, formula::Script};
use crate::{
    accumulator::{Candidate, Change, Formulas, Labels, Naming, Verdict, Wanted},
    catalogue::{Kind, Metric, Unit},
    pipeline::Owners,
};

/// The rules of one pipeline. Lists are keyed by raw names; the prefix comes last.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    allow: Option<Vec<Pattern>>,
    deny: Vec<Pattern>,
    allow_labels: Vec<(String, Vec<Pattern>)>,
    deny_labels: Vec<(String, Vec<Pattern>)>,
    rename: HashMap<String, String>,
    values: Vec<(Pattern, Change)>,
    script: Script,
    tags: Vec<(String, String)>,
    policy: TagPolicy,
    owners: Option<Owners>,
    /// What stands before and after the raw name.
    around: (String, String),
}

impl Rules {
    /// The rules that a configuration asks for, for an input with this prefix. What does not compile has no
    /// effect: [`TransformConfig::check`] tells it beforehand.
    pub fn of(config: &TransformConfig, prefix: &str) -> Self {
        let labels = |rules: &[(String, Vec<String>)]| {
            rules.iter().map(|(label, patterns)| (label.clone(), Pattern::all(patterns))).collect()
        };
        let values = config.values.iter().filter_map(|rule| {
            let keep_negative = rule.keep_negative;
            let change = match rule.manipulation {
                Manipulation::Gauge => Change::Pass,
                Manipulation::Delta => Change::Delta { keep_negative },
                Manipulation::Rate => Change::Rate { keep_negative },
            };
            Some((Pattern::new(&rule.pattern).ok()?, change))
        });
        let mut tags = config.tags.clone();
        for tag in &config.target_tags {
            if !tags.iter().any(|(name, _)| *name == tag.0) {
                tags.push(tag.clone());
            }
        }
        Self {
            allow: (!config.allow.is_empty()).then(|| Pattern::all(&config.allow)),
            deny: Pattern::all(&config.deny),
            allow_labels: labels(&config.allow_labels),
            deny_labels: labels(&config.deny_labels),
            rename: config.rename.iter().cloned().collect(),
            values: values.collect(),
            script: Script::new(&config.derive).0,
            tags,
            policy: config.tag_policy,
            owners: None,
            around: around(config, prefix),
        }
    }

    /// The same, with the labels of whoever owns a control group.
    pub fn with_owners(self, owners: Option<Owners>) -> Self {
        Self { owners, ..self }
    }

    fn wants(&self, candidate: &Candidate<'_>) -> bool {
        let any = |list: &[Pattern], text: &str| list.iter().any(|pattern| pattern.matches(text));
        if self.allow.as_ref().is_some_and(|allow| !any(allow, candidate.name))
            || any(&self.deny, candidate.name)
        {
            return false;
        }
        let value = |wanted: &str| {
            let at = candidate.metric.labels.iter().position(|label| label.name == wanted)?;
            candidate.labels.get(at).map(|value| String::from_utf8_lossy(value))
        };
        let allowed = |(label, list): &(String, Vec<Pattern>)| value(label).is_none_or(|v| any(list, &v));
        let denied = |(label, list): &(String, Vec<Pattern>)| value(label).is_some_and(|v| any(list, &v));
        self.allow_labels.iter().all(allowed) && !self.deny_labels.iter().any(denied)
    }
}

impl Naming for Rules {
    fn admit(&self, candidate: &Candidate<'_>) -> Verdict {
        if !self.wants(candidate) {
            return Verdict::Unwanted;
        }
        let change = match candidate.metric.kind {
            Kind::Histogram(_) | Kind::Info => None,
            _ => self.values.iter().find(|(pattern, _)| pattern.matches(candidate.name)),
        };
        let change = change.map_or(Change::Pass, |(_, change)| *change);
        let name = match self.rename.get(candidate.name) {
            Some(name) => gauge_name(name, change),
            None => changed_name(candidate.name, change),
        };
        let role = self.script.role(&name);
        Verdict::Wanted(Wanted {
            metric: changed_metric(candidate.metric, change),
            change,
            name: role.name.map_or(name, str::to_owned),
            hidden: role.hidden,
            variable: role.variable,
        })
    }

    fn export(&self, raw: &str) -> String {
        let (before, after) = &self.around;
        let mut name = String::with_capacity(before.len() + raw.len() + after.len());
        // A part that the source names may hold anything; a metric name may not.
        let valid =
            raw.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' });
        name.push_str(before);
        name.extend(valid);
        name.push_str(after);
        name
    }

    fn labels<'a>(&'a self, mut own: Labels<'a>) -> Option<Labels<'a>> {
        let owned = self.owners.as_ref().and_then(|owners| Some((owners, owners.path_of(&own)?)));
        for (tag, value) in &self.tags {
            let value = Cow::from(value.as_str());
            match own.iter_mut().find(|(name, _)| name == tag) {
                None => own.push((tag, value)),
                Some(label) => match self.policy {
                    TagPolicy::OwnWins => {}
                    TagPolicy::TagsWin => label.1 = value,
                    TagPolicy::Refuse => return None,
                },
            }
        }
        if let Some((owners, path)) = owned {
            owners.label(&path, &mut own);
        }
        Some(own)
    }

    fn formulas(&self) -> Option<&Formulas> {
        self.script.formulas()
    }
}

/// What stands before and after a raw name outside.
pub(super) fn around(config: &TransformConfig, prefix: &str) -> (String, String) {
    match config.format.as_deref().and_then(|format| format.split_once("%s")) {
        Some((before, after)) => (before.to_owned(), after.to_owned()),
        None => (config.prefix.clone().unwrap_or_else(|| prefix.to_owned()), String::new()),
    }
}

/// The name of what comes out of a change: a gauge's, which does not end in `_total`.
pub(super) fn changed_name(raw: &str, change: Change) -> String {
    match change {
        Change::Pass => raw.to_owned(),
        Change::Delta { .. } => format!("{}_delta", gauge_name(raw, change)),
        Change::Rate { .. } => format!("{}_per_second", gauge_name(raw, change)),
    }
}

/// The same where it has been named: only the ending that a gauge must not have is taken off.
fn gauge_name(name: &str, change: Change) -> String {
    match change {
        Change::Pass => name,
        Change::Delta { .. } | Change::Rate { .. } => name.strip_suffix("_total").unwrap_or(name),
    }
    .to_owned()
}

/// The definition of what comes out of a change. A rate has no base unit, not even one of seconds.
fn changed_metric(metric: &'static Metric, change: Change) -> &'static Metric {
    let (what, unit) = match change {
        Change::Pass => return metric,
        Change::Delta { .. } => ("Change between two collections", metric.unit),
        Change::Rate { .. } => ("Per second", Unit::None),
    };
    let help = format!("{what}: {}", metric.help);
    Metric::derived(&changed_name(metric.name, change), &help, unit, metric.labels)
}
