//! A page of metrics, by name and labels.

use std::collections::BTreeMap;

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Series {
    /// Whether it has this name and at least these labels.
    pub(crate) fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let has = |(name, value): &(&str, &str)| self.labels.get(*name).is_some_and(|has| has == value);
        self.name == name && labels.iter().all(has)
    }
}

/// All series of a moment.
#[derive(Debug, Default)]
pub(crate) struct Page(Vec<Series>);

impl Page {
    /// Reads what was scraped. No label of these tests has a quote or a comma inside.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (what, value) = line.rsplit_once(' ')?;
            let (name, labels) = what.split_once('{').unwrap_or((what, ""));
            let pairs = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
            let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()));
            Some(Series { name: name.to_owned(), labels: labels.collect(), value: value.parse().ok()? })
        });
        Self(series.collect())
    }

    /// All with this name and at least these labels.
    pub(crate) fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Series> {
        self.0.iter().filter(|series| series.is(name, labels)).collect()
    }

    /// The only one with this name and at least these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match self.all(name, labels)[..] {
            [] => None,
            [series] => Some(series.value),
            ref several => panic!("several are {name} {labels:?}: {several:?}"),
        }
    }

    /// The sum of all with this name and at least these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).iter().map(|series| series.value).sum()
    }

    /// Every series whose name begins so, for messages; of histograms the sums will do.
    pub(crate) fn beginning(&self, start: &str) -> String {
        let lines = self
            .0
            .iter()
            .filter(|series| series.name.starts_with(start) && !series.name.ends_with("_bucket"));
        let lines = lines.map(|series| format!("{} {:?} {}", series.name, series.labels, series.value));
        lines.collect::<Vec<_>>().join("\n")
    }
}
