//! What a pipeline does to samples. Everything is decided once per series, when it is born, in this order:
//!
//! 1. lists of raw names and of label values say whether it is wanted at all;
//! 2. its raw name may be replaced;
//! 3. its values may become differences or rates;
//! 4. formulas compute further metrics from series with the same labels, and hide or rename some;
//! 5. tags are added to its labels, then those of the pod or container whose control group it is about;
//! 6. its name gets the prefix or the format, and what no metric name may hold becomes `_`;
//! 7. past the limit of series it folds into one called `other`.
//!
//! Steps 1 to 3 are keyed by the raw name as the input delivers it.

mod check;
mod formula;
mod pattern;
mod rules;
#[cfg(test)]
mod tests;

pub use self::{
    check::{Complaint, Published},
    pattern::Pattern,
    rules::Rules,
};

/// What a configuration asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformConfig {
    /// Patterns of raw names; empty means all. A pattern is a glob on the whole text (`*`, `?`), or between
    /// slashes a regular expression, which is searched for: `/^cpu_/`.
    pub allow: Vec<String>,
    /// Patterns of raw names that are left out.
    pub deny: Vec<String>,
    /// Patterns of label values: a series that has the label must match one of them.
    pub allow_labels: Vec<(String, Vec<String>)>,
    /// Patterns of label values: a series that has the label must match none of them.
    pub deny_labels: Vec<(String, Vec<String>)>,
    /// Raw names, and what they are called instead.
    pub rename: Vec<(String, String)>,
    /// What is done to values, by raw name: the first rule that matches.
    pub values: Vec<ValueRule>,
    /// Formulas, one after another: `NAME = EXPRESSION`, `drop NAME` or `rename NAME NAME`.
    pub derive: Vec<String>,
    /// Labels added to every series.
    pub tags: Vec<(String, String)>,
    /// Labels that come from the target; one of [`Self::tags`] wins.
    pub target_tags: Vec<(String, String)>,
    /// What happens when a series has a label that is also a tag.
    pub tag_policy: TagPolicy,
    /// Prefix of names, instead of the input's.
    pub prefix: Option<String>,
    /// Names outside, with one `%s` for the raw name, instead of a prefix.
    pub format: Option<String>,
    /// Series that one metric may have by themselves.
    pub max_series: u32,
}

/// What is done to the values of some metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueRule {
    /// Pattern of raw names.
    pub pattern: String,
    /// What is done.
    pub manipulation: Manipulation,
    /// A value that fell is published as a negative one. Otherwise that is a reset: nothing is published in
    /// that cycle, and it is counted.
    pub keep_negative: bool,
}

/// What is done to values. What comes out is a gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manipulation {
    /// They are published as they are.
    Gauge,
    /// The difference to the sample before. `x_total` becomes `x_delta`, as does `x`, unless it is renamed.
    Delta,
    /// The difference to the sample before, by the seconds between the two. `x_total` becomes
    /// `x_per_second`, as does `x`, unless it is renamed.
    Rate,
}

/// What happens when a series has a label that is also a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagPolicy {
    /// Its own value is shown.
    #[default]
    OwnWins,
    /// The tag's value is shown.
    TagsWin,
    /// The series is left out, and its samples are counted.
    Refuse,
}

impl Default for TransformConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            allow_labels: Vec::new(),
            deny_labels: Vec::new(),
            rename: Vec::new(),
            values: Vec::new(),
            derive: Vec::new(),
            tags: Vec::new(),
            target_tags: Vec::new(),
            tag_policy: TagPolicy::default(),
            prefix: None,
            format: None,
            max_series: 10_000,
        }
    }
}
