//! The state of an input as a value: shown by `pitot inputs`, `/status` and metrics.

use std::fmt;

use serde::Serialize;

/// What an input is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Switched off.
    Off {
        /// By what.
        reason: String,
    },
    /// Works as meant.
    Running {
        /// How, when there is more than one way.
        #[serde(skip_serializing_if = "Option::is_none")]
        variant: Option<String>,
    },
    /// Works, but something is missing on this host.
    Degraded {
        /// How, when there is more than one way.
        #[serde(skip_serializing_if = "Option::is_none")]
        variant: Option<String>,
        /// What is missing.
        reason: String,
    },
    /// This host does not have what it measures or needs.
    Unsupported {
        /// What that is.
        reason: String,
    },
    /// It should work and does not.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Running { variant: None }
    }
}

impl State {
    /// The word for metrics and tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off { .. } => "off",
            Self::Running { .. } => "running",
            Self::Degraded { .. } => "degraded",
            Self::Unsupported { .. } => "unsupported",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why it is not simply running; empty when it is.
    pub fn reason(&self) -> &str {
        match self {
            Self::Running { .. } => "",
            Self::Off { reason }
            | Self::Degraded { reason, .. }
            | Self::Unsupported { reason }
            | Self::Failed { reason } => reason,
        }
    }

    /// The variant that runs; empty when there is only one.
    pub fn variant(&self) -> &str {
        match self {
            Self::Running { variant } | Self::Degraded { variant, .. } => {
                variant.as_deref().unwrap_or_default()
            }
            _ => "",
        }
    }

    /// Whether it delivers.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Degraded { .. })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        for detail in [self.variant(), self.reason()].into_iter().filter(|d| !d.is_empty()) {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}
