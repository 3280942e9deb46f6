//! Definitions of checks with the labels of their targets.

use std::sync::{Mutex, PoisonError};

use super::{samples::MOST_LABELS, template::Template};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, Source, Values},
    config::PipelineConfig,
    input::InputDef,
};

/// Labels that say which target it was, and how many values they may have.
pub(crate) const TARGET: [(&str, u32); 3] = [("namespace", 256), ("pod", 2_000), ("container", 2_000)];

/// Tags of one pipeline that may follow from its targets.
pub(crate) const MOST_TAGS: usize = 8;

/// Definitions that were made, each once and for ever. They are few: one for each set of labels of a check.
static MADE: Mutex<Vec<(&'static InputDef, Vec<String>, &'static InputDef)>> = Mutex::new(Vec::new());

/// A definition whose metrics have these labels behind their own. One that a metric has itself is not added to it.
pub(crate) fn labelled(def: &'static InputDef, names: &[String]) -> &'static InputDef {
    if names.is_empty() {
        return def;
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |(of, labels, _): &&(&'static InputDef, Vec<String>, &'static InputDef)| {
        std::ptr::eq(*of, def) && labels == names
    };
    if let Some((.., known)) = made.iter().find(same) {
        return known;
    }
    let metrics: Vec<&'static Metric> = def
        .metrics
        .iter()
        .map(|metric| {
            let bound =
                |name: &str| TARGET.iter().find(|(known, _)| *known == name).map_or(2_000, |(_, most)| *most);
            let more = missing(metric, names).map(|name| (name.as_str(), Values::Bounded(bound(name))));
            metric.labelled(&more.collect::<Vec<_>>())
        })
        .collect();
    let new: &'static InputDef = Box::leak(Box::new(InputDef { metrics: metrics.leak(), ..*def }));
    made.push((def, names.to_vec(), new));
    new
}

/// Those of the labels that a metric does not have itself.
fn missing<'n>(metric: &Metric, names: &'n [String]) -> impl Iterator<Item = &'n String> {
    let labels: &'static [Label] = metric.labels;
    names.iter().filter(move |name| !labels.iter().any(|label| label.name == name.as_str()))
}

/// The definition of what the input of a pipeline delivers: that of a check with targets has their labels.
pub(crate) fn delivered(config: &PipelineConfig) -> &'static InputDef {
    if !matches!(config.def.source, Source::Check(_)) || config.check.target.is_none() {
        return config.def;
    }
    let mut names: Vec<String> = TARGET.iter().map(|(name, _)| (*name).to_owned()).collect();
    for (tag, _) in tags(config) {
        if !names.contains(&tag) {
            names.push(tag);
        }
    }
    labelled(config.def, &names)
}

/// Those tags of a pipeline that follow from its targets. What cannot be read was refused with the configuration.
pub(super) fn tags(config: &PipelineConfig) -> Vec<(String, Template)> {
    let transform = &config.transform;
    let mut found: Vec<(String, Template)> = Vec::new();
    for (name, text) in transform.tags.iter().chain(&transform.target_tags) {
        if let Ok(template) = Template::parse(text)
            && !template.is_plain()
            && !found.iter().any(|(known, _)| known == name)
        {
            found.push((name.clone(), template));
        }
    }
    found
}

/// A definition with the labels of a target, and their values.
#[derive(Debug)]
pub(super) struct Labelled {
    /// Without them.
    of: &'static InputDef,
    /// With the labels.
    pub(super) def: &'static InputDef,
    /// The values of the labels.
    values: Vec<String>,
    /// Which values each metric takes.
    taken: Vec<Vec<usize>>,
}

impl Labelled {
    pub(super) fn new(def: &'static InputDef, labels: &[(String, String)]) -> Self {
        let names: Vec<String> = labels.iter().map(|(name, _)| name.clone()).collect();
        let taken = |metric: &&Metric| {
            let at = |wanted: &String| names.iter().position(|name| name == wanted);
            missing(metric, &names).filter_map(at).collect()
        };
        Self {
            of: def,
            def: labelled(def, &names),
            values: labels.iter().map(|(_, value)| value.clone()).collect(),
            taken: def.metrics.iter().map(taken).collect(),
        }
    }

    /// The values that stand behind the own ones of a metric.
    pub(super) fn values(&self, metric: usize) -> impl Iterator<Item = &[u8]> {
        let taken = self.taken.get(metric).map(Vec::as_slice).unwrap_or_default();
        taken.iter().filter_map(|at| self.values.get(*at)).map(String::as_bytes)
    }

    /// Delivers a count by one label of its own, behind which are those of the target.
    pub(super) fn count(&self, metric: &'static Metric, label: &str, count: u64, acc: &mut dyn Accumulator) {
        let Some(at) = self.of.metrics.iter().position(|known| std::ptr::eq(*known, metric)) else { return };
        let mut labels: [&[u8]; MOST_LABELS] = [b""; MOST_LABELS];
        let all = std::iter::once(label.as_bytes()).chain(self.values(at));
        let mut used = 0;
        for (place, value) in labels.iter_mut().zip(all) {
            *place = value;
            used += 1;
        }
        acc.put(self.def.metrics[at], labels.get(..used).unwrap_or_default(), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::check::{CHECKS, dialcheck};

    #[test]
    fn a_definition_with_labels_is_made_once() {
        let names = ["namespace".to_owned(), "pod".to_owned()];
        let made = labelled(&dialcheck::DEF, &names);
        assert!(std::ptr::eq(made, labelled(&dialcheck::DEF, &names)));
        let executed = made.metrics[0];
        assert_eq!(executed.labels.iter().map(|label| label.name).collect::<Vec<_>>(), names);
        assert_eq!((executed.name, made.metrics.len()), ("executed", dialcheck::DEF.metrics.len()));
        assert!(std::ptr::eq(labelled(&dialcheck::DEF, &[]), &raw const dialcheck::DEF));
    }

    #[test]
    fn a_label_that_a_metric_has_itself_is_not_added() {
        let labels = [("reason".to_owned(), "x".to_owned()), ("pod".to_owned(), "p".to_owned())];
        let labelled = Labelled::new(&dialcheck::DEF, &labels);
        let values = |metric| labelled.values(metric).collect::<Vec<_>>();
        assert_eq!((values(0), values(1)), (vec![&b"x"[..], b"p"], vec![&b"p"[..]]));
        assert_eq!(labelled.def.metrics[1].labels.len(), 2);
    }

    #[test]
    fn no_check_has_a_label_of_its_targets() {
        for metric in CHECKS.iter().flat_map(|known| known.def.metrics) {
            let own = |label: &Label| TARGET.iter().any(|(name, _)| *name == label.name);
            assert!(!metric.labels.iter().any(own), "{}", metric.name);
            assert!(metric.labels.len() + TARGET.len() + MOST_TAGS <= MOST_LABELS);
        }
    }
}
