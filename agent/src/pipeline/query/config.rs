//! A query as data: what a task file, the configuration or SQL says.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Condition;

/// A query on metrics: which samples are taken, how they are grouped, and what is computed of them.
///
/// [`std::fmt::Display`] writes it as SQL, from which [`Self::from_sql`] makes the same query again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QueryConfig {
    /// Input or pipeline that delivers the samples.
    pub from: String,
    /// What is computed.
    pub select: Vec<Select>,
    /// Which samples are taken; all, if nothing is said.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Labels that are kept: one result for each combination of their values.
    #[serde(default, alias = "group_by", skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// Span of time that is folded into one result; without one, each collection by itself.
    #[serde(default, with = "span", skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
}

/// One result of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Metric, as its source calls it. A name with a `*`, as the documents have it, takes all of its parts.
    pub metric: String,
    /// Name of the result.
    #[serde(rename = "as")]
    pub name: String,
    /// How values are folded.
    pub agg: Aggregate,
    /// What is folded of each series.
    #[serde(default, skip_serializing_if = "Of::is_value")]
    pub of: Of,
    /// For `max` and `min`: folds the last so much time, anew at each collection, instead of the window.
    #[serde(default, with = "span", skip_serializing_if = "Option::is_none")]
    pub over: Option<Duration>,
}

/// How values of several series, and of several moments, become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Aggregate {
    /// Sum over the series.
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
    /// The value that so many per cent do not exceed, 1 to 99; written `p50`.
    Quantile(u8),
    /// Native histogram of all values since the start.
    Histogram,
}

/// What of a series is folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Its value.
    #[default]
    Value,
    /// Its increase per second since the collection before.
    Rate,
    /// Its change since the collection before.
    Delta,
}

impl Of {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_value(&self) -> bool {
        *self == Self::Value
    }
}

/// Aggregates that have a name of their own.
const AGGREGATES: [(&str, Aggregate); 7] = [
    ("sum", Aggregate::Sum),
    ("avg", Aggregate::Avg),
    ("min", Aggregate::Min),
    ("max", Aggregate::Max),
    ("count", Aggregate::Count),
    ("last", Aggregate::Last),
    ("histogram", Aggregate::Histogram),
];

impl Aggregate {
    /// The words that stand for aggregates, and examples of those with a number.
    pub const WORDS: [&'static str; 10] =
        ["sum", "avg", "min", "max", "count", "last", "histogram", "p50", "p90", "p99"];

    /// The aggregate with that name, in small or capital letters.
    pub fn named(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        if let Some(&(_, aggregate)) = AGGREGATES.iter().find(|(name, _)| *name == word) {
            return Some(aggregate);
        }
        let digits = word.strip_prefix('p').filter(|digits| matches!(digits.len(), 1 | 2))?;
        let percent = digits.parse().ok().filter(|percent| (1..=99).contains(percent))?;
        Some(Self::Quantile(percent))
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantile(percent) => write!(f, "p{percent}"),
            other => {
                let name = AGGREGATES.iter().find(|(_, aggregate)| aggregate == other);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

impl TryFrom<String> for Aggregate {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        Self::named(&word).ok_or_else(|| match word.to_ascii_lowercase().as_str() {
            "rate" | "delta" => format!("`{word}` is not an aggregate: give it as `of`, and `agg` as `sum`"),
            _ => format!("there is no aggregate `{word}`: it takes {}", Self::WORDS.join(", ")),
        })
    }
}

impl From<Aggregate> for String {
    fn from(aggregate: Aggregate) -> Self {
        aggregate.to_string()
    }
}

/// A span of time in a task file: milliseconds, or a text such as `"10s"`.
mod span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Span {
        Millis(u64),
        Text(String),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        match Span::deserialize(from)? {
            Span::Millis(millis) => Ok(Some(Duration::from_millis(millis))),
            Span::Text(text) => crate::config::parse_duration(&text).map(Some).ok_or_else(|| {
                D::Error::custom(format!(
                    "`{text}` is not a span of time: it takes a whole number and ms, s, m or h, as in \"10s\""
                ))
            }),
        }
    }

    #[expect(clippy::ref_option, reason = "serde passes it so")]
    pub(super) fn serialize<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => to.serialize_str(&crate::config::written_duration(*span)),
            None => to.serialize_none(),
        }
    }
}
