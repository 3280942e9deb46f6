//! Forgetting series that are gone.

use super::{
    NONE, Population, Raw, SeriesStore, To, derived::Set, fold::HISTOGRAMS, key::Keys, population, work::Sink,
};

/// A sweep is only worth its work when so many series are gone.
const SWEEP_AT_LEAST: usize = 64;

impl SeriesStore {
    /// Forgets series that have not been seen for `keep_cycles`, if they are many.
    pub(super) fn sweep(&mut self) {
        self.forget_legacy();
        let oldest = u64::from(self.cycle).saturating_sub(self.limits.keep_cycles);
        let gone = |raw: &Raw| u64::from(raw.stamp) < oldest && !self.is_remembered(raw);
        if self.raws.iter().filter(|raw| gone(raw)).count() < SWEEP_AT_LEAST {
            return;
        }
        // What was left out may find room now.
        let kept: Vec<bool> = self.raws.iter().map(|raw| !gone(raw) && raw.to != To::OverLimit).collect();
        self.retain(&kept);
    }

    /// A member that a counter has counted is remembered while there is room: if it came back unknown, all
    /// that it has would count once more.
    fn is_remembered(&self, raw: &Raw) -> bool {
        let counted = match raw.to {
            To::Member(_) => true,
            To::Work(index) => {
                self.works.get(index as usize).is_some_and(|work| matches!(work.sink, Sink::Counter(_)))
            }
            _ => false,
        };
        let population = self.populations.iter().find(|one| std::ptr::eq(one.metric, raw.metric));
        let crowded = |one: &Population| {
            let many = matches!(raw.to, To::Member(_)) && one.histograms > HISTOGRAMS / 2;
            many || one.known > self.limits.known_per_metric() / 2
        };
        counted && !population.is_some_and(crowded)
    }

    /// Keeps only some raw series, and what they need.
    fn retain(&mut self, kept: &[bool]) {
        let mut raws = std::mem::take(&mut self.raws);
        let mut kept = kept.iter();
        raws.retain(|_| kept.next().copied().unwrap_or(true));
        let (works, mut members) = (std::mem::take(&mut self.works), Vec::new());
        let mut old_members: Vec<_> = std::mem::take(&mut self.folds.members).into_iter().map(Some).collect();
        // What is worked on and what is a member stands in the order of the raw series again.
        for raw in &mut raws {
            match &mut raw.to {
                To::Work(index) => {
                    let work = works.get(*index as usize).copied();
                    *index = u32::try_from(self.works.len()).unwrap_or(NONE);
                    self.works.extend(work);
                }
                To::Member(index) => {
                    let member = old_members.get_mut(*index as usize).and_then(Option::take);
                    *index = u32::try_from(members.len()).unwrap_or(NONE);
                    members.extend(member);
                }
                _ => {}
            }
        }
        self.folds.members = members;
        self.retain_sets();
        self.retain_cells(&mut raws);
        self.raws = raws;
        self.rebuild();
    }

    fn retain_sets(&mut self) {
        let mut used = vec![false; self.sets.all.len()];
        for work in self.works.iter().filter(|work| work.variable != NONE) {
            if let Some(used) = self.sets.of(work.variable).and_then(|set| used.get_mut(set)) {
                *used = true;
            }
        }
        let places = self.sets.retain(|set| used[set]);
        for work in self.works.iter_mut().filter(|work| work.variable != NONE) {
            work.variable = self.sets.moved(work.variable, &places);
        }
    }

    fn retain_cells(&mut self, raws: &mut [Raw]) {
        let mut used = vec![false; self.frame.series.len()];
        let mut mark = |cell: u32| {
            if let Some(used) = used.get_mut(cell as usize) {
                *used = true;
            }
        };
        for raw in &*raws {
            if let To::Cell(cell) | To::Histogram(cell) = raw.to {
                mark(cell);
            }
        }
        self.works.iter().filter_map(|work| work.sink.cell()).for_each(&mut mark);
        self.sets.all.iter().flat_map(Set::cells).for_each(&mut mark);
        self.folds.all.iter().filter(|fold| fold.rises).for_each(|fold| mark(fold.cell));
        let places = self.frame.retain(|cell| used[cell as usize]);
        for raw in raws {
            if let To::Cell(cell) | To::Histogram(cell) = &mut raw.to {
                *cell = places[*cell as usize];
            }
        }
        for work in &mut self.works {
            work.sink = work.sink.moved(&places);
        }
        self.sets.move_cells(&places);
        for member in &mut self.folds.members {
            member.cell = places[member.cell as usize];
        }
        self.folds.retain(|fold| places[fold.cell as usize] != NONE);
        for fold in &mut self.folds.all {
            fold.cell = places[fold.cell as usize];
        }
    }

    /// Makes the table, the keys and the populations fit the raw series that are left.
    fn rebuild(&mut self) {
        (self.first, self.last) = (NONE, NONE);
        let mut keys = Keys::default();
        for raw in &mut self.raws {
            raw.key = keys.take(&self.keys, raw.key);
            raw.next = NONE;
        }
        self.keys = keys;
        self.table.clear();
        self.populations.clear();
        let (raws, keys, hasher) = (&self.raws, &self.keys, &self.hasher);
        let hash = |raw: &Raw| keys.hash(hasher, raw.metric, raw.key);
        for (index, raw) in (0u32..).zip(raws) {
            let population = population(&mut self.populations, raw.metric);
            population.known += 1;
            population.histograms += u32::from(matches!(raw.to, To::Member(_)));
            population.shown += match raw.to {
                To::Cell(_) | To::Histogram(_) => 1,
                To::Work(work) => u32::from(
                    matches!(self.works.get(work as usize), Some(w) if matches!(w.sink, Sink::Cell(_))),
                ),
                _ => 0,
            };
            self.table.insert_unique(hash(raw), index, |&index| hash(&raws[index as usize]));
        }
        self.sets.count(&mut self.populations, &self.frame);
    }
}
