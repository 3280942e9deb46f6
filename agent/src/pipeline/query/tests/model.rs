//! Every aggregate against its definition, written down without thought for cost.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{accumulator::Histogram, catalogue::Kind};

const CPUS: [&str; 2] = ["0", "1"];
const MODES: [&str; 3] = ["user", "system", "idle"];
/// Half a second, so that ticks often lie at the end of a window.
const STEP: u64 = 500;

/// What a series does in a tick: absent, or up by so much, or anew.
type Move = Option<(bool, u8)>;

#[derive(Clone, Debug)]
struct Tick {
    at: u64,
    /// Value of the counter of each of the six series.
    values: [Option<f64>; 6],
}

/// Ticks at least one step apart.
fn ticks(moves: &[(u64, [Move; 6])]) -> Vec<Tick> {
    let (mut at, mut counters) = (10_000, [0.0; 6]);
    moves
        .iter()
        .map(|(steps, moves)| {
            at += (1 + steps) * STEP;
            let mut values = [None; 6];
            for ((value, counter), one) in values.iter_mut().zip(&mut counters).zip(moves) {
                if let Some((anew, up)) = one {
                    *counter = f64::from(*up) + if *anew { 0.0 } else { *counter };
                    *value = Some(*counter);
                }
            }
            Tick { at, values }
        })
        .collect()
}

fn aggregates() -> Vec<(Aggregate, Of, &'static str)> {
    use Aggregate::{Avg, Count, Last, Max, Min, Quantile, Sum};
    let mut all = vec![(Sum, Of::Value, "cpu_seconds_total")];
    for agg in [Sum, Avg, Min, Max, Count, Last, Quantile(50), Quantile(99), Aggregate::Histogram] {
        all.push((agg, Of::Rate, "cpu_seconds_total"));
        all.push((agg, Of::Value, "level"));
        if agg != Aggregate::Histogram {
            all.push((agg, Of::Delta, "cpu_seconds_total"));
            all.push((agg, Of::Delta, "level"));
        }
    }
    all
}

/// The value that a column folds of a series in a tick, and what the tick weighs.
struct Folded {
    at: u64,
    value: f64,
    weight: f64,
}

struct Model<'t> {
    ticks: &'t [Tick],
    window: Option<u64>,
    above: Option<f64>,
}

impl Model<'_> {
    fn number(&self, at: u64) -> u64 {
        at.div_ceil(self.window.unwrap_or(1) * 1000)
    }

    /// The ticks whose values make what is published at the last tick.
    fn span(&self) -> Option<Vec<usize>> {
        let last = self.ticks.last()?.at;
        let Some(window) = self.window else { return Some(vec![self.ticks.len() - 1]) };
        let number = self.number(last);
        let ended = if last == number * window * 1000 { number } else { number - 1 };
        let of =
            |number| (0..self.ticks.len()).filter(|&t| self.number(self.ticks[t].at) == number).collect();
        let (inside, before): (Vec<_>, Vec<_>) = (of(ended), of(ended - 1));
        (!inside.is_empty() && !before.is_empty()).then_some(inside)
    }

    /// What is folded of a group over some ticks, and whether it was there at all.
    fn folded(&self, cpu: usize, of: Of, counter: bool, span: &[usize]) -> (Vec<Folded>, bool) {
        let (mut all, mut there) = (Vec::new(), false);
        for &t in span {
            for series in (0..6).filter(|series| series / 3 == cpu) {
                let Some(now) = self.ticks[t].values[series] else { continue };
                let before =
                    self.ticks[..t].iter().rev().find_map(|tick| Some((tick.at, tick.values[series]?)));
                let change = |before| if counter && now < before { now } else { now - before };
                let mut weight = 1.0;
                let value = match (of, before) {
                    (Of::Value, _) => now,
                    (_, None) => continue,
                    (Of::Delta, Some((_, before))) => change(before),
                    (Of::Rate, Some((at, before))) => {
                        let brought = |tick: &&Tick| tick.values.iter().any(Option::is_some);
                        let last = self.ticks[..t].iter().rev().find(brought).unwrap().at;
                        weight = (self.ticks[t].at - last) as f64 / 1e3;
                        change(before) / ((self.ticks[t].at - at) as f64 / 1e3)
                    }
                };
                there = true;
                let at = self.ticks[t].at;
                if self.above.is_none_or(|above| value > above) {
                    all.push(Folded { at, value, weight });
                } else {
                    all.push(Folded { at, value: f64::NAN, weight });
                }
            }
        }
        (all, there)
    }

    fn expected(&self, cpu: usize, (agg, of, metric): (Aggregate, Of, &str)) -> Option<f64> {
        let counter = metric == "cpu_seconds_total";
        let span = self.span()?;
        let (all, there) = self.folded(cpu, of, counter, &span);
        let taken = || all.iter().filter(|folded| !folded.value.is_nan());
        let values: Vec<f64> = taken().map(|folded| folded.value).collect();
        if agg == Aggregate::Count {
            return there.then_some(values.len() as f64);
        }
        if values.is_empty() {
            return None;
        }
        Some(match agg {
            Aggregate::Sum if counter && of == Of::Value && self.above.is_none() => {
                self.total(cpu, *span.last()?)
            }
            Aggregate::Sum if of == Of::Delta => values.iter().sum(),
            Aggregate::Sum => {
                let weights: BTreeMap<u64, f64> =
                    all.iter().map(|folded| (folded.at, folded.weight)).collect();
                taken().map(|folded| folded.value * folded.weight).sum::<f64>()
                    / weights.values().sum::<f64>()
            }
            Aggregate::Avg => {
                taken().map(|folded| folded.value * folded.weight).sum::<f64>()
                    / taken().map(|folded| folded.weight).sum::<f64>()
            }
            Aggregate::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Aggregate::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Aggregate::Last => *values.last()?,
            Aggregate::Quantile(percent) => {
                let mut sorted = values;
                sorted.sort_by(f64::total_cmp);
                sorted[(sorted.len() * usize::from(percent)).div_ceil(100).max(1) - 1]
            }
            Aggregate::Count | Aggregate::Histogram => return None,
        })
    }

    /// All that the group's series have counted up to a tick.
    fn total(&self, cpu: usize, until: usize) -> f64 {
        let mut total = 0.0;
        for series in (0..6).filter(|series| series / 3 == cpu) {
            let mut before = 0.0;
            for value in self.ticks[..=until].iter().filter_map(|tick| tick.values[series]) {
                total += if value < before { value } else { value - before };
                before = value;
            }
        }
        total
    }

    fn histogram(&self, cpu: usize, of: Of, counter: bool, kind: Kind) -> Histogram {
        let Kind::Histogram(buckets) = kind else { panic!("{kind:?}") };
        let mut histogram = Histogram::new(buckets);
        let all: Vec<usize> = (0..self.ticks.len()).collect();
        for folded in self.folded(cpu, of, counter, &all).0 {
            if !folded.value.is_nan() {
                let raw = (folded.value * buckets.scale.per_unit()).round();
                histogram.observe(if raw < 0.0 { continue } else { raw.to_string().parse().unwrap() });
            }
        }
        histogram
    }
}

fn check(moves: &[(u64, [Move; 6])], window: Option<u64>, above: Option<f64>) -> Result<(), TestCaseError> {
    let selected: Vec<_> = aggregates()
        .into_iter()
        .enumerate()
        .map(|(at, (agg, of, metric))| select(agg, of, metric, &format!("r{at}")))
        .collect();
    let config = QueryConfig {
        condition: above.map(|than| Condition::Value(ValueTest { is: Comparison::Gt, than })),
        window: window.map(Duration::from_secs),
        ..by(query(selected), &["cpu"])
    };
    let mut bench = Bench::new(&config);
    let ticks = ticks(moves);
    for (t, tick) in ticks.iter().enumerate() {
        let mut given: Vec<Given<'_>> = Vec::new();
        for (series, value) in tick.values.iter().enumerate() {
            let Some(value) = *value else { continue };
            for metric in [&SECONDS, &LEVEL] {
                given.push((metric, CPUS[series / 3], MODES[series % 3], value));
            }
        }
        let samples = bench.tick(tick.at, &given);
        let model = Model { ticks: &ticks[..=t], window, above };
        for (at, column) in aggregates().into_iter().enumerate() {
            for (cpu, name) in CPUS.iter().enumerate() {
                let found = samples
                    .iter()
                    .find(|sample| sample.name == format!("r{at}") && sample.labels[0].1 == *name);
                if column.0 == Aggregate::Histogram {
                    let Some(sample) = found else { continue };
                    let OwnedValue::Histogram(found) = &sample.value else { panic!() };
                    let counter = column.2 == "cpu_seconds_total";
                    let expected = model.histogram(cpu, column.1, counter, sample.metric.kind);
                    prop_assert_eq!(found.zero, expected.zero);
                    prop_assert_eq!(&found.counts, &expected.counts);
                    prop_assert_eq!(found.sum, expected.sum);
                    continue;
                }
                let found = found.map(|sample| match sample.value {
                    OwnedValue::Number(value) => value,
                    OwnedValue::Histogram(_) => panic!(),
                });
                let expected = model.expected(cpu, column);
                let allowed = if matches!(column.0, Aggregate::Quantile(_)) { 1.0 / 64.0 } else { 1e-9 };
                let near = match (found, expected) {
                    (Some(a), Some(b)) => (a - b).abs() <= allowed * b.abs() + 1e-12,
                    (None, None) => true,
                    _ => false,
                };
                prop_assert!(near, "{column:?} of cpu {name} in tick {t}: {found:?}, not {expected:?}");
            }
        }
    }
    Ok(())
}

fn moves() -> impl Strategy<Value = Vec<(u64, [Move; 6])>> {
    let one = prop_oneof![1 => Just(None), 4 => (prop::bool::weighted(0.1), 0u8..20).prop_map(Some)];
    prop::collection::vec((0u64..4, prop::array::uniform6(one)), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn each_collection_by_itself(moves in moves(), above in prop::option::of(-5.0..15.0)) {
        check(&moves, None, above)?;
    }

    #[test]
    fn windows_of_collections(moves in moves(), window in 1u64..6, above in prop::option::of(-5.0..15.0)) {
        check(&moves, Some(window), above)?;
    }
}
