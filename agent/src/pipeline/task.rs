//! Queries, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A query on metrics: what to take from an input, which of it, and how to fold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlTask {
    /// Input or pipeline that delivers the samples.
    pub from: String,
    /// What to compute.
    pub select: Vec<Select>,
    /// Which series count: label and pattern, all of which must match.
    #[serde(default, rename = "where")]
    pub conditions: BTreeMap<String, String>,
    /// Labels that are kept.
    #[serde(default, rename = "groupBy")]
    pub group_by: Vec<String>,
    /// Span of time that is folded, in milliseconds.
    #[serde(default, rename = "window")]
    pub window_ms: Option<u64>,
}

/// One column of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Metric, by raw name.
    pub metric: String,
    /// Name of the result.
    #[serde(rename = "as")]
    pub name: String,
    /// How values are folded.
    pub agg: Aggregate,
}

/// How values of several series, or of several moments, become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Avg,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// How many.
    Count,
    /// The latest.
    Last,
}
