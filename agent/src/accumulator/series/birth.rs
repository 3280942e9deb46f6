//! The birth of a series: everything about it is decided here, once.

use super::{
    NONE, Raw, SeriesStore, To,
    fold::{Fold, Member, folded_labels, name_of, own_labels},
    legacy::Known,
    population,
    work::{Sink, Work},
};
use crate::{
    accumulator::{
        Candidate, Change, Histogram, Sample, Verdict, Wanted, key, memory::full_name, render::Rendered,
    },
    catalogue::{Kind, Metric},
};

/// What became of a series that is to be shown.
#[derive(Clone, Copy)]
pub(super) enum Place {
    OverLimit,
    Conflict,
    /// A cell of its own.
    Own(u32),
    /// The cell of a fold.
    Folded {
        cell: u32,
        /// It only rises.
        rises: bool,
    },
}

impl Place {
    pub(super) const fn sink(self) -> Sink {
        match self {
            Self::OverLimit => Sink::OverLimit,
            Self::Conflict => Sink::Conflict,
            Self::Own(cell) => Sink::Cell(cell),
            Self::Folded { cell, rises: true } => Sink::Counter(cell),
            Self::Folded { cell, rises: false } => Sink::Sum(cell),
        }
    }
}

impl SeriesStore {
    /// Makes a raw series known; nothing when its metric has too many, which costs nothing.
    #[cold]
    pub(super) fn bear(&mut self, hash: u64, sample: &Sample<'_>) -> Option<u32> {
        let most = self.limits.known_per_metric();
        let population = population(&mut self.populations, sample.metric);
        if population.known >= most {
            return None;
        }
        let index = u32::try_from(self.raws.len()).ok().filter(|&index| index != NONE)?;
        let key = self.keys.add(sample)?;
        population.known += 1;
        let to = self.decide(sample);
        self.raws.push(Raw { metric: sample.metric, key, next: NONE, stamp: 0, to });
        let (raws, keys, hasher) = (&self.raws, &self.keys, &self.hasher);
        self.table.insert_unique(hash, index, |&index| {
            let raw = &raws[index as usize];
            keys.hash(hasher, raw.metric, raw.key)
        });
        Some(index)
    }

    fn decide(&mut self, sample: &Sample<'_>) -> To {
        let name = full_name(sample);
        let candidate = Candidate { metric: sample.metric, name: &name, labels: sample.labels };
        let Verdict::Wanted(wanted) = self.naming.admit(&candidate) else { return To::Nowhere };
        let known = self.legacy.as_mut().and_then(|legacy| legacy.take(sample));
        let sink = if wanted.hidden {
            Sink::Hidden
        } else {
            let member = known.as_ref().is_some_and(|known| known.member);
            self.place(sample, &wanted.name, wanted.metric, member).sink()
        };
        if let Kind::Histogram(_) = sample.metric.kind {
            self.decide_histogram(sample.metric, sink, known)
        } else {
            self.decide_number(sample, &wanted, sink, known.as_ref())
        }
    }

    fn decide_histogram(&mut self, metric: &'static Metric, sink: Sink, known: Option<Known>) -> To {
        let Kind::Histogram(buckets) = metric.kind else { return To::Nowhere };
        match sink {
            Sink::Cell(cell) => To::Histogram(cell),
            Sink::Counter(cell) | Sink::Sum(cell) => {
                if !self.another_member(metric) {
                    return To::OverLimit;
                }
                let index = u32::try_from(self.folds.members.len()).unwrap_or(NONE);
                let last = known.and_then(|known| known.histogram).filter(|last| last.buckets == buckets);
                self.folds.members.push(Member::new(cell, last.unwrap_or_else(|| Histogram::new(buckets))));
                To::Member(index)
            }
            Sink::OverLimit => To::OverLimit,
            Sink::Conflict => To::Conflict,
            Sink::Hidden => To::Nowhere,
        }
    }

    fn decide_number(
        &mut self,
        sample: &Sample<'_>,
        wanted: &Wanted,
        sink: Sink,
        known: Option<&Known>,
    ) -> To {
        let formulas = self.naming.formulas();
        let variable = wanted.variable.zip(formulas);
        let variable = variable.map_or(NONE, |(at, formulas)| self.sets.variable(sample, at, formulas));
        if wanted.change == Change::Pass && variable == NONE {
            match sink {
                Sink::Cell(cell) => return To::Cell(cell),
                Sink::OverLimit => return To::OverLimit,
                Sink::Conflict => return To::Conflict,
                Sink::Hidden => return To::Nowhere,
                Sink::Sum(_) | Sink::Counter(_) => {}
            }
        }
        let mut work = Work::new(wanted.change, sink, variable);
        // A member that the fold has not counted yet contributes all it has.
        if let Some(known) = known.filter(|known| known.counted || !matches!(sink, Sink::Counter(_))) {
            (work.base, work.base_at) = (known.base, known.base_at);
        }
        self.another_work(work)
    }

    fn another_work(&mut self, work: Work) -> To {
        let index = u32::try_from(self.works.len()).unwrap_or(NONE);
        self.works.push(work);
        To::Work(index)
    }

    /// Finds a place for a series that is to be shown: its own, or as a member of a fold.
    pub(super) fn place(
        &mut self,
        sample: &Sample<'_>,
        raw: &str,
        metric: &'static Metric,
        member: bool,
    ) -> Place {
        let name = self.naming.export(raw);
        let own = own_labels(sample);
        // It may be called `other` itself.
        if let Some(fold) = self.folds.find(&name_of(&name, &own)) {
            return Place::Folded { cell: fold.cell, rises: fold.rises };
        }
        let population = population(&mut self.populations, sample.metric);
        if member || population.shown >= self.limits.series_per_metric {
            return self.fold(sample, &name, metric);
        }
        let Some(labels) = self.naming.labels(own) else { return Place::Conflict };
        let rendered = Rendered::new(&name, metric.kind, &labels);
        match self.frame.bear(&name, metric, rendered) {
            Some(cell) => {
                population.shown += 1;
                Place::Own(cell)
            }
            None => Place::OverLimit,
        }
    }

    /// The fold that a series belongs to.
    fn fold(&mut self, sample: &Sample<'_>, name: &str, metric: &'static Metric) -> Place {
        let Some(values) = folded_labels(sample) else { return Place::OverLimit };
        let other = Sample { labels: &values, ..*sample };
        let own = own_labels(&other);
        let id = name_of(name, &own);
        if let Some(fold) = self.folds.find(&id) {
            return Place::Folded { cell: fold.cell, rises: fold.rises };
        }
        let Some(labels) = self.naming.labels(own) else { return Place::Conflict };
        let rendered = Rendered::new(name, metric.kind, &labels);
        let rises = matches!(metric.kind, Kind::Counter | Kind::Histogram(_));
        let cell = match self.frame.find(name, &rendered) {
            Some(cell) => {
                self.join(cell, rises);
                cell
            }
            None => match self.frame.bear(name, metric, rendered) {
                Some(cell) => cell,
                None => return Place::OverLimit,
            },
        };
        let mut key = Vec::new();
        key::push(&other, &mut key);
        if let Some(legacy) = self.legacy.as_mut().filter(|_| rises) {
            legacy.restore(sample.metric, &key, cell, &mut self.frame);
        }
        self.folds.add(Fold { name: id, raw: (sample.metric, key.into()), cell, rises });
        Place::Folded { cell, rises }
    }

    /// Makes a member of the series that has the name of a fold already.
    fn join(&mut self, cell: u32, rises: bool) {
        let sink = Place::Folded { cell, rises }.sink();
        let counted = self.frame.cells.get(cell as usize).map_or(0.0, |cell| cell.number);
        for work in self.works.iter_mut().filter(|work| work.sink == Sink::Cell(cell)) {
            work.sink = sink;
            if rises {
                (work.base, work.base_at) = (counted, self.now);
            }
        }
        self.sets.join(cell, sink);
        let own = |raw: &Raw| raw.to == To::Cell(cell) || raw.to == To::Histogram(cell);
        let Some(at) = self.raws.iter().position(own) else { return };
        self.raws[at].to = if let To::Cell(_) = self.raws[at].to {
            let mut work = Work::new(Change::Pass, sink, NONE);
            (work.base, work.base_at) = (counted, self.now);
            self.another_work(work)
        } else {
            let Some(last) = self.frame.histogram_of(cell).cloned() else { return };
            let index = u32::try_from(self.folds.members.len()).unwrap_or(NONE);
            self.folds.members.push(Member::new(cell, last));
            To::Member(index)
        };
    }
}
