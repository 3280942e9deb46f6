//! What is decided about a series when it is born: by whoever runs the store, never by the input.

use std::borrow::Cow;

use super::Formulas;
use crate::catalogue::Metric;

/// The labels of a series: names and values.
pub type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Decides what becomes of a series, when it is born.
pub trait Naming: Send {
    /// What becomes of a series.
    fn admit(&self, candidate: &Candidate<'_>) -> Verdict;
    /// The name outside of a raw name.
    fn export(&self, raw: &str) -> String;
    /// The labels outside of a series with these labels of its own; nothing when they contradict what is to be
    /// added, and the series is not to be shown for that.
    fn labels<'a>(&'a self, own: Labels<'a>) -> Option<Labels<'a>>;
    /// What is computed from the series that were admitted.
    fn formulas(&self) -> Option<&Formulas> {
        None
    }
}

/// A series that is about to be born.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its definition.
    pub metric: &'static Metric,
    /// Its raw name, with the source's part.
    pub name: &'a str,
    /// Its label values, in the order of the definition.
    pub labels: &'a [&'a [u8]],
}

/// What becomes of a series.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is left out, as was asked for.
    Unwanted,
    /// It is taken.
    Wanted(Wanted),
}

/// How a series is taken.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its raw name from here on.
    pub name: String,
    /// The definition of what is published: the input's own, unless the change makes another type of it.
    pub metric: &'static Metric,
    /// What is done to its values.
    pub change: Change,
    /// It is only there to compute from.
    pub hidden: bool,
    /// The variable of the formulas that it is.
    pub variable: Option<u16>,
}

/// What is done to the values of a series. A value that cannot be told (the first one, one after a reset) is
/// not published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    #[default]
    Pass,
    /// The difference to the sample before, whenever that was.
    Delta {
        /// A fall is published as it is; otherwise it is a reset.
        keep_negative: bool,
    },
    /// The difference to the sample before, by the seconds that passed between the two.
    Rate {
        /// A fall is published as it is; otherwise it is a reset.
        keep_negative: bool,
    },
}

/// Takes every series as it is.
#[cfg(test)]
pub(crate) struct AsIs;

#[cfg(test)]
impl Naming for AsIs {
    fn admit(&self, candidate: &Candidate<'_>) -> Verdict {
        Verdict::Wanted(Wanted {
            name: candidate.name.to_owned(),
            metric: candidate.metric,
            change: Change::Pass,
            hidden: false,
            variable: None,
        })
    }
    fn export(&self, raw: &str) -> String {
        raw.to_owned()
    }
    fn labels<'a>(&'a self, own: Labels<'a>) -> Option<Labels<'a>> {
        Some(own)
    }
}
