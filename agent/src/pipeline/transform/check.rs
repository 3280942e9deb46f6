//! What is wrong with a configuration, before anything runs by it.

use std::fmt;

use super::{
    Manipulation, Pattern, TransformConfig,
    formula::{self, Script},
    pattern::expression,
    rules::{around, changed_name},
};
use crate::{
    accumulator::Change,
    catalogue::{Kind, Metric},
    config::{glob, is_label_name, suggest::nearest},
    input::InputDef,
};

/// More names than this are not put into a message.
const LISTED: usize = 8;

/// One thing that is wrong with a [`TransformConfig`], and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The field.
    pub key: &'static str,
    /// The entry of a table: a label, a tag, a raw name.
    pub entry: Option<String>,
    /// The element of a list, or of the list that an entry holds.
    pub index: Option<usize>,
    /// The character of that element, from 0.
    pub column: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.fix)
    }
}

impl Complaint {
    fn of(key: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key, entry: None, index: None, column: None, what: what.into(), fix: fix.into() }
    }

    fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    fn entry(self, entry: &str) -> Self {
        Self { entry: Some(entry.to_owned()), ..self }
    }
}

/// Metrics that a transform is given.
#[derive(Clone, Debug)]
pub struct Published {
    /// What has them, for people.
    pub of: String,
    /// Start of their names outside unless the transform says another.
    pub prefix: &'static str,
    /// Their definitions.
    pub metrics: Vec<&'static Metric>,
}

impl Published {
    /// Those of an input.
    pub fn of(def: &InputDef) -> Self {
        Self { of: format!("input `{}`", def.name), prefix: def.prefix, metrics: def.metrics.to_vec() }
    }
}

impl TransformConfig {
    /// Everything that is wrong with it for what it is given, in the order of the fields.
    pub fn check(&self, given: &Published) -> Vec<Complaint> {
        let mut checker = Checker { config: self, given, found: Vec::new() };
        checker.names();
        checker.label_rules();
        checker.rename();
        checker.values();
        checker.derive();
        checker.tags();
        checker.naming();
        checker.found
    }

    /// Names that what it is given may have outside, with `*` where the source completes one. Lists may leave some of
    /// them out.
    pub fn exported(&self, given: &Published) -> Vec<String> {
        let checker = Checker { config: self, given, found: Vec::new() };
        let (script, _) = Script::new(&self.derive);
        let (before, after) = around(self, given.prefix);
        let passed = checker.names_before_formulas().into_iter().filter_map(|(name, _)| {
            let role = script.role(&name);
            (!role.hidden).then(|| role.name.unwrap_or(&name).to_owned())
        });
        let computed = script.results().map(str::to_owned);
        passed.chain(computed).map(|name| format!("{before}{name}{after}")).collect()
    }
}

struct Checker<'a> {
    config: &'a TransformConfig,
    given: &'a Published,
    found: Vec<Complaint>,
}

impl Checker<'_> {
    fn names(&mut self) {
        for (at, text) in self.config.allow.iter().enumerate() {
            self.name_pattern("allow", text, |complaint| complaint.at(at));
        }
        for (at, text) in self.config.deny.iter().enumerate() {
            if self.config.allow.contains(text) {
                let what = format!("`{text}` is both allowed and denied");
                self.found.push(Complaint::of("deny", what, "remove it from one of the lists").at(at));
            } else {
                self.name_pattern("deny", text, |complaint| complaint.at(at));
            }
        }
    }

    /// A pattern on raw names must compile, and fit a metric of the input.
    fn name_pattern(&mut self, key: &'static str, text: &str, place: impl Fn(Complaint) -> Complaint) {
        let problem = match compile(text) {
            Err((what, fix)) => Some((what, fix)),
            Ok(_) if expression(text).is_none() && !text.chars().all(in_glob) => Some((
                format!("\"{text}\" is not a glob on metric names"),
                "it takes letters, digits, `_`, `:`, `*` for any run and `?` for one character; a regular \
                 expression stands between slashes"
                    .to_owned(),
            )),
            Ok(pattern) if self.given.metrics.iter().any(|metric| pattern.may_match(metric.name)) => None,
            Ok(_) => Some(self.unknown(text)),
        };
        self.found.extend(problem.map(|(what, fix)| place(Complaint::of(key, what, fix))));
    }

    /// What to say of a name that no metric has.
    fn unknown(&self, text: &str) -> (String, String) {
        let names = || self.given.metrics.iter().map(|metric| metric.name);
        let matches = |text: &str| names().any(|name| glob::overlap(text, name));
        let fix = match text.strip_prefix(self.given.prefix) {
            Some(bare) if !self.given.prefix.is_empty() && matches(bare) => {
                format!("did you mean `{bare}`, without the prefix?")
            }
            _ => hint(text, names),
        };
        (format!("no metric of {} is called `{text}`", self.given.of), fix)
    }

    fn label_rules(&mut self) {
        let labels = || {
            let all = self.given.metrics.iter().flat_map(|metric| metric.labels);
            let mut names: Vec<&str> = all.map(|label| label.name).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let mut found = Vec::new();
        let lists = [("allow_labels", &self.config.allow_labels), ("deny_labels", &self.config.deny_labels)];
        for (key, (label, patterns)) in
            lists.iter().flat_map(|(key, list)| list.iter().map(move |it| (*key, it)))
        {
            if !labels().contains(&label.as_str()) {
                let what = format!("no metric of {} has a label `{label}`", self.given.of);
                found.push(Complaint::of(key, what, hint(label, || labels().into_iter())).entry(label));
            }
            if patterns.is_empty() {
                let what = format!("`{key}` has no pattern for label `{label}`");
                found.push(Complaint::of(key, what, "give one, or remove the label").entry(label));
            }
            for (at, text) in patterns.iter().enumerate() {
                if let Err((what, fix)) = compile(text) {
                    found.push(Complaint::of(key, what, fix).entry(label).at(at));
                }
            }
        }
        self.found.extend(found);
    }

    fn rename(&mut self) {
        for (at, (from, to)) in self.config.rename.iter().enumerate() {
            let fits = |name: &str| glob::overlap(name, from);
            let metric =
                self.given.metrics.iter().find(|metric| !from.contains(['*', '?']) && fits(metric.name));
            let problem = match metric {
                None => Some(self.unknown(from)),
                _ if !is_metric_name(to) => Some((
                    format!("\"{to}\" is not a metric name"),
                    "it takes letters, digits, `_` and `:`, no digit first".to_owned(),
                )),
                Some(metric) => {
                    let change = self.change_of(from);
                    let gauge = change != Change::Pass || matches!(metric.kind, Kind::Gauge | Kind::Info);
                    (gauge && to.ends_with("_total")).then(|| {
                        let what = format!("`{from}` is a gauge: only counters end in `_total`");
                        (what, "take another name".to_owned())
                    })
                }
            };
            let twice = self.config.rename[..at].iter().any(|(earlier, _)| earlier == from);
            let twice =
                twice.then(|| (format!("`{from}` is renamed twice"), "remove one of them".to_owned()));
            for (what, fix) in problem.into_iter().chain(twice) {
                self.found.push(Complaint::of("rename", what, fix).entry(from));
            }
        }
    }

    fn change_of(&self, raw: &str) -> Change {
        let rule = self.config.values.iter().find(|rule| {
            Pattern::new(&rule.pattern).is_ok_and(|pattern| pattern.matches(raw) || pattern.may_match(raw))
        });
        match rule.map(|rule| rule.manipulation) {
            None | Some(Manipulation::Gauge) => Change::Pass,
            Some(Manipulation::Delta) => Change::Delta { keep_negative: false },
            Some(Manipulation::Rate) => Change::Rate { keep_negative: false },
        }
    }

    fn values(&mut self) {
        for (at, rule) in self.config.values.iter().enumerate() {
            let place = |complaint: Complaint| complaint.entry(&rule.pattern).at(at);
            let before = self.found.len();
            self.name_pattern("values", &rule.pattern, place);
            if self.found.len() > before {
                continue;
            }
            let problem = match Pattern::new(&rule.pattern) {
                _ if rule.manipulation == Manipulation::Gauge && rule.keep_negative => Some((
                    format!("`{}` is published as it is, negative or not", rule.pattern),
                    "remove `keep_negative`".to_owned(),
                )),
                Ok(pattern) if rule.manipulation != Manipulation::Gauge => self.unchangeable(&pattern),
                _ => None,
            };
            self.found.extend(problem.map(|(what, fix)| place(Complaint::of("values", what, fix))));
        }
    }

    /// A metric that a pattern fits and that has no difference between two samples. A regular expression is
    /// not held against names that the source completes.
    fn unchangeable(&self, pattern: &Pattern) -> Option<(String, String)> {
        let metric = self.given.metrics.iter().find(|metric| {
            matches!(metric.kind, Kind::Histogram(_) | Kind::Info) && pattern.may_match(metric.name)
        })?;
        let (what, why) = match metric.kind {
            Kind::Info => ("an info metric", "it never changes"),
            _ => ("a histogram", "Prometheus computes that from its buckets"),
        };
        let what = format!("`{}` is {what}, which has no difference or rate: {why}", metric.name);
        Some((what, "narrow the pattern".to_owned()))
    }

    fn derive(&mut self) {
        let (script, errors) = Script::new(&self.config.derive);
        let place = |at: usize, column: usize, what: String, fix: String| Complaint {
            column: Some(column),
            ..Complaint::of("derive", what, fix).at(at)
        };
        for formula::Error { statement, column, what, fix } in errors {
            self.found.push(place(statement, column, what, fix));
        }
        let names = self.names_before_formulas();
        for (name, statement, column) in script.read() {
            let fits = |(known, _): &(String, Kind)| glob::overlap(known, name);
            let problem = match names.iter().find(|known| fits(known)) {
                None => Some((
                    format!("there is no metric `{name}` to compute from"),
                    hint(name, || names.iter().map(|(known, _)| known.as_str())),
                )),
                Some((_, Kind::Histogram(_))) if script.role(name).variable.is_some() => Some((
                    format!("`{name}` is a histogram, which is no number"),
                    "compute from counters or gauges".to_owned(),
                )),
                Some(_) => None,
            };
            self.found.extend(problem.map(|(what, fix)| place(*statement, *column, what, fix)));
        }
    }

    /// What metrics are called when formulas see them; with `*` where the source completes a name.
    fn names_before_formulas(&self) -> Vec<(String, Kind)> {
        let mut names = Vec::new();
        for metric in &self.given.metrics {
            let renamed = self.config.rename.iter().filter(|(from, _)| glob::overlap(metric.name, from));
            names.extend(renamed.clone().map(|(_, to)| (to.clone(), metric.kind)));
            // A completed name may have been spared.
            if metric.name.contains('*') || renamed.count() == 0 {
                let change = match metric.kind {
                    Kind::Histogram(_) | Kind::Info => Change::Pass,
                    _ => self.change_of(metric.name),
                };
                names.push((changed_name(metric.name, change), metric.kind));
                if metric.name.contains('*') {
                    names.push((metric.name.to_owned(), metric.kind));
                }
            }
        }
        names
    }

    fn tags(&mut self) {
        let mut found = Vec::new();
        for (key, (name, _)) in self
            .config
            .tags
            .iter()
            .map(|tag| ("tags", tag))
            .chain(self.config.target_tags.iter().map(|tag| ("target_tags", tag)))
        {
            if !is_label_name(name) {
                let what = format!("tag `{name}` is not a label name");
                let fix = "it takes letters, digits and `_`, no digit first, no `__` first";
                found.push(Complaint::of(key, what, fix).entry(name));
            } else if name == "le" || name == "quantile" {
                let what = format!("tag `{name}` is reserved by Prometheus");
                found.push(Complaint::of(key, what, "take another name").entry(name));
            }
        }
        self.found.extend(found);
    }

    fn naming(&mut self) {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let begins = |text: &str| !text.starts_with(|c: char| c.is_ascii_digit());
        if let Some(prefix) = &self.config.prefix
            && !(prefix.chars().all(valid) && begins(prefix))
        {
            let what = format!("\"{prefix}\" cannot begin a metric name");
            let fix = "a prefix takes letters, digits, `_` and `:`, no digit first";
            self.found.push(Complaint::of("prefix", what, fix));
        }
        let Some(format) = &self.config.format else { return };
        if self.config.prefix.is_some() {
            let what = "`format` and `prefix` both say what stands before a name";
            self.found.push(Complaint::of("format", what, "remove one of them"));
        }
        let once = format.matches("%s").count() == 1;
        let rest = format.replacen("%s", "", 1);
        if !once || !rest.chars().all(valid) || !begins(format) {
            let what = format!("\"{format}\" is not a format of metric names");
            let fix = "it takes letters, digits, `_` and `:`, no digit first, and one `%s` for the name";
            self.found.push(Complaint::of("format", what, fix));
        }
    }
}

/// A pattern, or what is wrong with it.
fn compile(text: &str) -> Result<Pattern, (String, String)> {
    if text.is_empty() {
        return Err(("an empty pattern matches nothing that has a name".to_owned(), "remove it".to_owned()));
    }
    Pattern::new(text)
        .map_err(|error| (format!("`{text}` is not a regular expression"), format!("correct it: {error}")))
}

fn in_glob(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_:*?".contains(c)
}

fn is_metric_name(text: &str) -> bool {
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':');
    start && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// A suggestion, or what there is.
fn hint<'a, I: Iterator<Item = &'a str>>(name: &str, candidates: impl Fn() -> I) -> String {
    if let Some(near) = nearest(name, candidates()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<_> = candidates().map(|name| format!("`{name}`")).collect();
    match all.len() {
        0 => "it has none".to_owned(),
        1..=LISTED => format!("it has {}", all.join(", ")),
        _ => "`pitot generate metrics-md` lists them".to_owned(),
    }
}
