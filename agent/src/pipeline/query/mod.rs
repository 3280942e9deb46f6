//! Queries on metrics: which samples are taken, how they are grouped, and what is computed of them.
//!
//! ```sql
//! SELECT sum(rate(cpu_seconds_total)) AS cpu_busy, max_over(rate(cpu_seconds_total), 60s) AS cpu_peak
//!   FROM cpu WHERE mode != 'idle' GROUP BY cpu WINDOW 10s
//! ```
//!
//! A [`QueryConfig`] comes from SQL like this, from a task file or from the configuration; a [`Query`] runs it
//! between an input and the accumulator of its pipeline, a [`QueryPipeline`] on what another pipeline published.
//!
//! # What is folded
//!
//! Of each series, in each collection (*tick*), one value: the sample itself; with `rate`, its increase per second;
//! with `delta`, its change. Both are since the series' own sample before, by the time that was measured between
//! them, so a missed tick makes no error; the first sample of a series gives nothing. A counter that is smaller
//! than before began anew, and what it shows is its increase. A gauge has no rate, and its `delta` may be negative.
//! Values that are not finite are left out and counted.
//!
//! # How it is folded
//!
//! Over the series of a group and the ticks of a window; without a window, each tick is one. A result is
//! missing where nothing was folded.
//!
//! | | over the series of a tick | over the ticks of a window | type |
//! |---|---|---|---|
//! | `sum(x)` of a counter | all that the group's series have counted | at the end of the window | counter |
//! | `sum(x)` of a gauge, `sum(rate(x))` | sum | mean of the ticks' sums; of rates, weighted with the time between ticks | gauge |
//! | `sum(delta(x))` | sum | sum | gauge |
//! | `avg` | mean | mean of all values; of rates, weighted as above | gauge |
//! | `min`, `max` | extreme | extreme | gauge |
//! | `count` | how many values | how many in all; 0 if series were there but no value was taken | gauge |
//! | `last` | the one that was delivered last | the same of the last tick that had one | gauge |
//! | `p50` | nearest rank, at most 1/64 off | the same of all values | gauge |
//! | `histogram` | | native histogram of all values since the start, never reset | histogram |
//! | `max_over(x, 60s)`, `min_over` | extreme of at least the last 60 s and at most 5 s more | does not heed windows | gauge |
//!
//! The sum of a counter never falls: a series that vanishes leaves what it counted, one that begins anew adds to it.
//! It is a gauge when `WHERE` tests values, because then it can fall. What is computed of sums over series (the
//! peak or the distribution of a whole CPU's use) is a query on the pipeline that makes the sums.
//!
//! `WHERE` tests labels, and `value`, which is what is folded: in `count(rate(x)) ... WHERE value > 0.9` the rate.
//! A label that a series does not have is empty.
//!
//! # Windows
//!
//! A window of 10 s ends at every multiple of 10 s since the Unix epoch, by the aligned time of the ticks; the tick
//! at its end belongs to it. Its results are published with that tick, or else with the first one after it,
//! and stay until the next window ends. One that was not seen from its beginning is not published. Failed
//! collections bring nothing; a window is made of the others.
//!
//! # Limits
//!
//! Past the limit of groups, series are put into one group whose labels are all `other`, and counted. A series that
//! was not seen for a minute (twice the window, if that is longer) is forgotten, and a group that has no
//! series left too.

mod check;
mod condition;
mod config;
mod display;
mod fan;
mod fold;
mod groups;
mod losses;
mod quantile;
mod replay;
mod rolling;
mod run;
mod series;
mod shape;
mod sql;
#[cfg(test)]
mod tests;
mod windows;

pub(crate) use self::fan::Queries;
pub use self::{
    check::{Complaint, Part},
    condition::{Comparison, Condition, LabelList, LabelTest, ValueTest},
    config::{Aggregate, Of, QueryConfig, Select},
    losses::QueryLosses,
    replay::QueryPipeline,
    run::Query,
    sql::SqlError,
};
