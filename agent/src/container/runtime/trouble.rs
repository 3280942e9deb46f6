//! Why there is no answer.

use std::error::Error;

use super::{ANSWER, CALL};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// There is no such socket: the runtime is not there, or not any more.
    #[error("{0} does not exist")]
    Missing(String),
    /// There is nobody to talk to, or not any more.
    #[error("{0}")]
    Gone(String),
    /// It takes too long.
    #[error("no answer within {} s", CALL.as_secs())]
    Slow,
    /// The answer has no end.
    #[error("the answer is longer than {} MiB", ANSWER >> 20)]
    Long,
    /// It answers that it does not know.
    #[error("{0}")]
    Unknown(String),
    /// It answers that it will not, or something that is not an answer.
    #[error("{0}")]
    Refused(String),
}

impl Trouble {
    /// Whether who listens there is to be asked anew: it may be another one when it is back.
    pub(super) const fn ends_talk(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Gone(_) | Self::Slow)
    }

    /// From the error of a library, whose own words say less than those of its cause.
    pub(super) fn gone(error: &dyn Error) -> Self {
        Self::Gone(cause(error))
    }
}

/// What the innermost cause says.
pub(super) fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}
