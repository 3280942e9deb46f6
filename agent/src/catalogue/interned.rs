//! Definitions that are made at run time: results of queries, derived metrics.

use std::sync::{Mutex, PoisonError};

use super::{Kind, Label, Metric, Since, Unit, Values};

/// Values that a label made at run time may take: as many as a store takes series of one metric.
const VALUES: u32 = 10_000;

/// All that were made, each once. They are few: one for each result of a configuration.
static MADE: Mutex<Vec<&'static Metric>> = Mutex::new(Vec::new());

impl Metric {
    /// The definition with these contents. The same contents give the same definition, so that whoever keeps
    /// series by definition finds them again after a change of configuration. What was made is kept for ever.
    ///
    /// Counters and histograms count from the start of the agent; [`Self::interned_since`] says otherwise.
    pub fn interned(name: &str, help: &str, kind: Kind, unit: Unit, labels: &[&str]) -> &'static Self {
        Self::interned_since(name, help, kind, unit, labels, since(kind))
    }

    /// The same, for what began to count at another time.
    pub fn interned_since(
        name: &str,
        help: &str,
        kind: Kind,
        unit: Unit,
        labels: &[&str],
        since: Since,
    ) -> &'static Self {
        let labels: Vec<_> = labels.iter().map(|&name| (name, Values::Bounded(VALUES))).collect();
        intern(name, help, (kind, unit, since), &labels)
    }

    /// The same metric with further labels behind its own.
    pub(crate) fn labelled(&self, more: &[(&str, Values)]) -> &'static Self {
        let own = self.labels.iter().map(|label| (label.name, label.values));
        let labels: Vec<_> = own.chain(more.iter().copied()).collect();
        intern(self.name, self.help, (self.kind, self.unit, self.since), &labels)
    }

    /// The gauge with these contents, with the labels of another definition and their bounds.
    pub fn derived(name: &str, help: &str, unit: Unit, labels: &[Label]) -> &'static Self {
        let labels: Vec<_> = labels.iter().map(|label| (label.name, label.values)).collect();
        intern(name, help, (Kind::Gauge, unit, Since::Now), &labels)
    }
}

fn since(kind: Kind) -> Since {
    match kind {
        Kind::Counter | Kind::Histogram(_) => Since::Start,
        Kind::Gauge | Kind::Info | Kind::Untyped => Since::Now,
    }
}

fn intern(
    name: &str,
    help: &str,
    (kind, unit, since): (Kind, Unit, Since),
    labels: &[(&str, Values)],
) -> &'static Metric {
    // Nothing is left half done inside.
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |metric: &&&'static Metric| {
        metric.name == name
            && metric.help == help
            && (metric.kind, metric.unit, metric.since) == (kind, unit, since)
            && metric.labels.iter().map(|label| (label.name, label.values)).eq(labels.iter().copied())
    };
    if let Some(metric) = made.iter().find(same) {
        return metric;
    }
    let labels: Vec<Label> =
        labels.iter().map(|&(name, values)| Label { name: leaked(name), values }).collect();
    let metric: &'static Metric = Box::leak(Box::new(Metric {
        name: leaked(name),
        help: leaked(help),
        kind,
        unit,
        labels: labels.leak(),
        since,
    }));
    made.push(metric);
    metric
}

fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_contents_are_the_same_definition() {
        let made =
            |name: &str, labels: &[&str]| Metric::interned(name, "X.", Kind::Gauge, Unit::None, labels);
        let first = made("interned_x", &["a", "b"]);
        assert!(std::ptr::eq(first, made("interned_x", &["a", "b"])));
        assert!(!std::ptr::eq(first, made("interned_x", &["b", "a"])));
        assert!(!std::ptr::eq(first, made("interned_y", &["a", "b"])));
        assert_eq!((first.name, first.labels[1].name, first.since), ("interned_x", "b", Since::Now));
    }

    #[test]
    fn counters_count_from_the_start_unless_it_is_said_otherwise() {
        let labels: &[&str] = &[];
        let counter = Metric::interned("interned_total", "X.", Kind::Counter, Unit::None, labels);
        assert_eq!(counter.since, Since::Start);
        let boot =
            Metric::interned_since("interned_total", "X.", Kind::Counter, Unit::None, labels, Since::Boot);
        assert_eq!(boot.since, Since::Boot);
        assert!(!std::ptr::eq(counter, boot));
    }
}
