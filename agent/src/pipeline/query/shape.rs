//! What the result of one column is: its kind and unit, and how its values are folded. It follows from the
//! column and the definition of the metric.

use pitot_common::histogram::{Scale, TIME_SLOTS};

use super::{Aggregate, Of, Select};
use crate::catalogue::{Buckets, Kind, Metric, Since, Unit};

/// Billionths of a base unit, in classic buckets from a microsecond to 16 s.
const SECONDS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -20, last: 4 };
/// Billionths; classic buckets from a thousandth to 128, which is that many CPUs.
const RATIOS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -10, last: 7 };
/// Billionths; classic buckets from 1 to 16 million. Values from 18 * 10^9 are in the last native bucket.
const THINGS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: 0, last: 24 };
/// Whole bytes, or bytes per second; classic buckets from 1 KiB to 64 GiB.
const BYTES: Buckets = Buckets { scale: Scale::Bytes, slots: TIME_SLOTS, first: 10, last: 36 };

/// How values are folded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Folding {
    /// All increases since the beginning: a sum that only rises.
    Total,
    /// The mean over collections of the sum over series.
    Sum,
    /// The sum of all.
    Plus,
    Avg,
    Min,
    Max,
    Count,
    Last,
    Quantile(u8),
    Histogram(Buckets),
    Rolling,
}

/// The result of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) folding: Folding,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) since: Since,
    /// A smaller value than before means that the source began anew.
    pub(super) resets: bool,
}

impl Shape {
    /// The result of a column that takes this metric, or why it cannot.
    pub(super) fn of(select: &Select, metric: &Metric, tests_values: bool) -> Result<Self, String> {
        let name = &select.metric;
        let counts = matches!(metric.kind, Kind::Counter);
        match (metric.kind, select.of) {
            (Kind::Histogram(_), _) => {
                return Err(format!("`{name}` is a histogram, and queries fold numbers"));
            }
            (Kind::Gauge | Kind::Info, Of::Rate) => {
                return Err(format!("`{name}` is no counter, so it has no rate: did you mean `delta`?"));
            }
            _ => {}
        }
        let raw_counter = counts && select.of == Of::Value;
        let unit = unit(select, metric);
        let folding = match select.agg {
            _ if select.over.is_some() => Folding::Rolling,
            Aggregate::Sum if raw_counter && !tests_values => Folding::Total,
            Aggregate::Sum if select.of == Of::Delta => Folding::Plus,
            Aggregate::Sum => Folding::Sum,
            Aggregate::Avg => Folding::Avg,
            Aggregate::Min => Folding::Min,
            Aggregate::Max => Folding::Max,
            Aggregate::Count => Folding::Count,
            Aggregate::Last => Folding::Last,
            Aggregate::Quantile(_) | Aggregate::Histogram if raw_counter => {
                let agg = select.agg;
                return Err(format!(
                    "a counter only rises, so {agg}({name}) says nothing: did you mean `{agg}(rate({name}))`?"
                ));
            }
            Aggregate::Quantile(percent) => Folding::Quantile(percent),
            Aggregate::Histogram => Folding::Histogram(buckets(unit, select, metric)),
        };
        let (kind, since) = match folding {
            Folding::Total => (Kind::Counter, metric.since),
            Folding::Histogram(buckets) => (Kind::Histogram(buckets), Since::Start),
            Folding::Sum | Folding::Last if metric.kind == Kind::Untyped && select.of == Of::Value => {
                (Kind::Untyped, Since::Now)
            }
            _ => (Kind::Gauge, Since::Now),
        };
        let resets = matches!(metric.kind, Kind::Counter | Kind::Untyped);
        Ok(Self { folding, kind, unit, since, resets })
    }
}

/// The unit of what is folded, and of the result.
fn unit(select: &Select, metric: &Metric) -> Unit {
    match (select.agg, select.of, metric.unit) {
        (Aggregate::Count, ..) => Unit::None,
        (_, Of::Rate, Unit::Seconds) => Unit::Ratio,
        (_, Of::Rate, _) => Unit::None,
        (_, _, unit) => unit,
    }
}

fn buckets(unit: Unit, select: &Select, metric: &Metric) -> Buckets {
    match unit {
        Unit::Seconds => SECONDS,
        Unit::Ratio => RATIOS,
        Unit::Bytes => BYTES,
        Unit::None if select.of == Of::Rate && metric.unit == Unit::Bytes => BYTES,
        Unit::None => THINGS,
    }
}
