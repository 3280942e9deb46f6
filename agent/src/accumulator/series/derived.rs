//! Metrics that are computed: the variables of every set of labels, and where results go.

use std::collections::HashMap;

use super::{NONE, Population, SeriesStore, fold::own_labels, population, work::Sink};
use crate::{
    accumulator::{Formula, Formulas, Frame, Sample, Value, evaluate},
    catalogue::{Kind, Label, Metric, Unit},
};

/// All sets of labels that formulas are computed for.
#[derive(Debug, Default)]
pub(super) struct Sets {
    by_labels: HashMap<Box<[u8]>, u32>,
    pub(super) all: Vec<Set>,
    /// Those of the first set, then those of the second one, ..
    variables: Vec<Variable>,
    /// How many each set has.
    stride: usize,
}

/// Series with the same labels.
#[derive(Debug)]
pub(super) struct Set {
    key: Box<[u8]>,
    labels: &'static [Label],
    values: Box<[Box<[u8]>]>,
    /// Where the result of each formula goes, once there has been one.
    sinks: Box<[Option<Sink>]>,
}

impl Set {
    /// Cells of its results.
    pub(super) fn cells(&self) -> impl Iterator<Item = u32> {
        self.sinks.iter().filter_map(|sink| sink.as_ref()?.cell())
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Variable {
    value: f64,
    stamp: u32,
}

/// A result whose series is not born yet.
struct Unborn {
    set: usize,
    formula: usize,
    value: f64,
}

impl Sets {
    /// Where the value of a series goes that is a variable.
    pub(super) fn variable(&mut self, sample: &Sample<'_>, variable: u16, formulas: &Formulas) -> u32 {
        self.stride = usize::from(formulas.variables);
        let mut labels = own_labels(sample);
        labels.sort_unstable();
        let mut key = Vec::new();
        for (name, value) in &labels {
            for piece in [name, &**value] {
                key.extend_from_slice(piece.as_bytes());
                key.push(0xff);
            }
        }
        let set = self.by_labels.get(&*key).copied().unwrap_or_else(|| {
            let set = u32::try_from(self.all.len()).unwrap_or(NONE);
            let key = key.into_boxed_slice();
            self.by_labels.insert(key.clone(), set);
            self.all.push(Set {
                key,
                labels: sample.metric.labels,
                values: sample.labels.iter().map(|&value| value.into()).collect(),
                sinks: vec![None; formulas.list.len()].into(),
            });
            self.variables.resize(self.all.len() * self.stride, Variable::default());
            set
        });
        u32::try_from(set as usize * self.stride + usize::from(variable)).unwrap_or(NONE)
    }

    /// Gives a variable its value in this cycle. Of two, the first one is it.
    #[inline]
    pub(super) fn give(&mut self, variable: u32, cycle: u32, value: f64) {
        if let Some(variable) = self.variables.get_mut(variable as usize)
            && variable.stamp != cycle
        {
            *variable = Variable { value, stamp: cycle };
        }
    }

    /// Results that had a cell now go into the fold that took it over.
    pub(super) fn join(&mut self, cell: u32, to: Sink) {
        for sink in self.all.iter_mut().flat_map(|set| &mut set.sinks) {
            if *sink == Some(Sink::Cell(cell)) {
                *sink = Some(to);
            }
        }
    }

    /// The set that a variable belongs to.
    pub(super) fn of(&self, variable: u32) -> Option<usize> {
        (variable as usize).checked_div(self.stride)
    }

    /// Forgets all sets but these, and says where they are now.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut places = vec![NONE; self.all.len()];
        self.by_labels.clear();
        self.variables.clear();
        for (old, set) in std::mem::take(&mut self.all).into_iter().enumerate() {
            if !keep(old) {
                continue;
            }
            places[old] = u32::try_from(self.all.len()).unwrap_or(NONE);
            self.by_labels.insert(set.key.clone(), places[old]);
            self.all.push(set);
        }
        self.variables.resize(self.all.len() * self.stride, Variable::default());
        places
    }

    /// Where a variable is, now that sets have moved.
    pub(super) fn moved(&self, variable: u32, places: &[u32]) -> u32 {
        let Some((set, at)) = self.of(variable).zip((variable as usize).checked_rem(self.stride)) else {
            return NONE;
        };
        match places.get(set) {
            Some(&place) if place != NONE => u32::try_from(place as usize * self.stride + at).unwrap_or(NONE),
            _ => NONE,
        }
    }

    /// Adds the results that are left to the populations of their metrics. Those that found no room may do so now.
    pub(super) fn count(&mut self, populations: &mut Vec<Population>, frame: &Frame) {
        for slot in self.all.iter_mut().flat_map(|set| &mut set.sinks) {
            if *slot == Some(Sink::OverLimit) {
                *slot = None;
            }
            let Some(sink) = slot else { continue };
            if let Some(series) = sink.cell().and_then(|cell| frame.series.get(cell as usize)) {
                let population = population(populations, series.metric);
                population.known += 1;
                population.shown += u32::from(matches!(sink, Sink::Cell(_)));
            }
        }
    }

    /// Results go where cells are now.
    pub(super) fn move_cells(&mut self, places: &[u32]) {
        for sink in self.all.iter_mut().flat_map(|set| &mut set.sinks).flatten() {
            *sink = sink.moved(places);
        }
    }
}

impl SeriesStore {
    /// Computes every formula for every set of labels.
    pub(super) fn derive(&mut self) {
        if self.sets.all.is_empty() {
            return;
        }
        let Some(formulas) = self.naming.formulas() else { return };
        let (cycle, stride) = (self.cycle, self.sets.stride);
        let mut unborn = Vec::new();
        let Sets { all, variables, .. } = &mut self.sets;
        let sets = all.iter_mut().zip(variables.chunks_exact_mut(stride.max(1)));
        for (set, (labels, variables)) in sets.enumerate() {
            for (at, formula) in formulas.list.iter().enumerate() {
                let known = |index: u16| {
                    let variable = variables.get(usize::from(index))?;
                    (variable.stamp == cycle).then_some(variable.value)
                };
                let Some(value) = evaluate(&formula.program, known) else { continue };
                if let Some(variable) = variables.get_mut(usize::from(formula.target)) {
                    *variable = Variable { value, stamp: cycle };
                }
                match labels.sinks.get(at).copied().flatten() {
                    Some(Sink::Cell(cell)) => self.frame.cells[cell as usize].set(cycle, value),
                    Some(Sink::Sum(cell)) => {
                        self.frame.cells[cell as usize].add(cycle, value);
                        self.folded += 1;
                    }
                    Some(Sink::OverLimit) => self.over_limit += 1,
                    Some(Sink::Conflict) => self.conflicts += 1,
                    Some(Sink::Hidden | Sink::Counter(_)) => {}
                    None => unborn.push(Unborn { set, formula: at, value }),
                }
            }
        }
        for one in unborn {
            self.bear_result(&one);
        }
    }

    #[cold]
    fn bear_result(&mut self, unborn: &Unborn) {
        let formula = self.naming.formulas().and_then(|all| all.list.get(unborn.formula)).cloned();
        let (Some(formula), Some(set)) = (formula, self.sets.all.get(unborn.set)) else { return };
        let (labels, values) = (set.labels, set.values.clone());
        let sink = if formula.hidden { Sink::Hidden } else { self.place_result(&formula, labels, &values) };
        match sink {
            Sink::Cell(cell) => self.frame.cells[cell as usize].set(self.cycle, unborn.value),
            Sink::Sum(cell) => {
                self.frame.cells[cell as usize].add(self.cycle, unborn.value);
                self.folded += 1;
            }
            Sink::OverLimit => self.over_limit += 1,
            Sink::Conflict => self.conflicts += 1,
            Sink::Hidden | Sink::Counter(_) => {}
        }
        self.sets.all[unborn.set].sinks[unborn.formula] = Some(sink);
    }

    fn place_result(&mut self, formula: &Formula, labels: &'static [Label], values: &[Box<[u8]>]) -> Sink {
        let help = format!("Computed: {}.", formula.text);
        let unit = Unit::of_name(&formula.name);
        let metric = Metric::interned(&formula.name, &help, Kind::Gauge, unit, labels);
        let most = self.limits.known_per_metric();
        let population = population(&mut self.populations, metric);
        if population.known >= most {
            return Sink::OverLimit;
        }
        population.known += 1;
        let values: Vec<&[u8]> = values.iter().map(|value| &**value).collect();
        let sample = Sample { metric, prefix: "", part: b"", labels: &values, value: Value::Number(0.0) };
        self.place(&sample, &formula.name, metric, false).sink()
    }
}
