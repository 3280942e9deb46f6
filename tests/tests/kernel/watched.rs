//! An input of the library with programs of its own, which live as long as it does.

use std::{collections::BTreeSet, path::Path, time::Duration};

use pitot::{
    accumulator::{Histogram, MemoryAccumulator, OwnedValue},
    bpf::{Loader, Pinning},
    input::{CollectContext, INPUTS, Input, OpenContext, OptionSetting, Options},
    source::Roots,
};

pub(crate) struct Watched {
    input: Box<dyn Input>,
    /// An input whose programs it needs.
    _beside: Option<Box<dyn Input>>,
}

fn open(name: &str, given: &[(String, OptionSetting)], loader: &mut Loader) -> Box<dyn Input> {
    let def = INPUTS.iter().find(|def| def.name == name).unwrap();
    let options = Options::new(def.options, given);
    (def.open)(&mut OpenContext { roots: &Roots::default(), options, bpf: loader }).unwrap()
}

/// What an input delivered at one moment.
pub(crate) struct Reading(MemoryAccumulator);

impl Watched {
    pub(crate) fn open(name: &str, options: &[(&str, bool)]) -> Self {
        Self::open_without(name, options, &[])
    }

    /// Opens it where it may lack these and nothing else.
    pub(crate) fn open_without(name: &str, options: &[(&str, bool)], may_lack: &[&str]) -> Self {
        let given: Vec<_> =
            options.iter().map(|(key, value)| ((*key).to_owned(), OptionSetting::Bool(*value))).collect();
        let opened = Self::of(open(name, &given, &mut Loader::new(Path::new("/sys"), Pinning::Ignore)));
        let said = opened.input.degraded();
        let lost = said.iter().flat_map(|said| said.split("; "));
        let unknown: Vec<_> = lost.filter(|lost| !may_lack.iter().any(|may| lost.starts_with(may))).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        opened
    }

    /// Whether it says that it lacks this.
    pub(crate) fn lacks(&self, what: &str) -> bool {
        self.input.degraded().is_some_and(|said| said.split("; ").any(|lost| lost.starts_with(what)))
    }

    pub(crate) fn of(input: Box<dyn Input>) -> Self {
        Self { input, _beside: None }
    }

    /// Opens it after another one, with which it shares maps.
    pub(crate) fn open_beside(other: &str, name: &str, given: &[(String, OptionSetting)]) -> Self {
        let mut loader = Loader::new(Path::new("/sys"), Pinning::Ignore);
        let beside = open(other, &[], &mut loader);
        Self { input: open(name, given, &mut loader), _beside: Some(beside) }
    }

    /// Collects for nobody.
    pub(crate) fn discard(&mut self) {
        struct Nobody;
        impl pitot::accumulator::Accumulator for Nobody {
            fn add(&mut self, _: &pitot::accumulator::Sample<'_>) {}
        }
        self.input.collect(&CollectContext::new(Duration::from_secs(1)), &mut Nobody).unwrap();
    }

    pub(crate) fn variant(&self) -> String {
        self.input.variant().unwrap_or_default()
    }

    pub(crate) fn read(&mut self) -> Reading {
        self.read_after(Duration::ZERO)
    }

    /// Reads as if so much time had passed.
    pub(crate) fn read_after(&mut self, time: Duration) -> Reading {
        let mut samples = MemoryAccumulator::new();
        let mut then = CollectContext::new(Duration::from_secs(1));
        (then.started, then.deadline) = (then.started + time, then.deadline + time);
        self.input.collect(&then, &mut samples).unwrap();
        Reading(samples)
    }
}

impl Reading {
    /// A counter; one that has no series yet has counted nothing.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters of a test are small and whole"
    )]
    pub(crate) fn count(&self, name: &str, labels: &[&str]) -> u64 {
        self.0.number(name, labels).unwrap_or(0.0) as u64
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.0.samples().len()
    }

    /// The value of a series, if there is such a one.
    pub(crate) fn number(&self, name: &str, labels: &[&str]) -> Option<f64> {
        self.0.number(name, labels)
    }

    /// What the first label of a metric is in all its series.
    pub(crate) fn label_values(&self, name: &str) -> BTreeSet<String> {
        let first = |s: &pitot::accumulator::OwnedSample| Some(s.labels.first()?.1.clone());
        self.0.samples().iter().filter(|s| s.name == name).filter_map(first).collect()
    }

    /// What all series of a counter together have grown since another reading. A series that was not there
    /// before began at zero.
    pub(crate) fn growth(&self, before: &Self, name: &str) -> f64 {
        let series = self.0.samples().iter().filter(|sample| sample.name == name);
        let growths = series.map(|sample| {
            let labels: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_str()).collect();
            let [now, then] = [self, before].map(|reading| reading.number(name, &labels).unwrap_or(0.0));
            assert!(now >= then, "{name} {labels:?} went from {then} to {now}");
            now - then
        });
        growths.sum()
    }

    /// Whether there is any series of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.samples().iter().any(|sample| sample.name == name)
    }

    /// The sum of a counter over all its series.
    pub(crate) fn total(&self, name: &str) -> u64 {
        let labels = |s: &pitot::accumulator::OwnedSample| -> Vec<String> {
            s.labels.iter().map(|(_, value)| value.clone()).collect()
        };
        let series: Vec<_> = self.0.samples().iter().filter(|s| s.name == name).map(labels).collect();
        assert!(!series.is_empty(), "no {name}");
        let refs =
            |labels: &Vec<String>| self.count(name, &labels.iter().map(String::as_str).collect::<Vec<_>>());
        series.iter().map(refs).sum()
    }

    /// Count, raw sum and buckets of a histogram; nothing of one that has no series yet.
    pub(crate) fn histogram(&self, name: &str, labels: &[&str]) -> Distribution {
        let sample = self.0.samples().iter().find(|s| {
            s.name == name && s.labels.iter().map(|(_, value)| value.as_str()).eq(labels.iter().copied())
        });
        match sample.map(|sample| &sample.value) {
            None => Distribution::default(),
            Some(OwnedValue::Histogram(histogram)) => Distribution::of(histogram),
            Some(OwnedValue::Number(_)) => panic!("{name} is no histogram"),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    /// In raw units: nanoseconds or bytes.
    pub(crate) sum: u64,
    slots: Vec<u64>,
}

impl Distribution {
    fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            sum: histogram.sum.try_into().unwrap_or(u64::MAX),
            slots: histogram.counts.clone(),
        }
    }

    /// Observations in the bucket of one slot.
    pub(crate) fn slot(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).copied().unwrap_or(0)
    }
}
