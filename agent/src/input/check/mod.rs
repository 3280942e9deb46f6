//! Checks: inputs that may be executed inside a pod's namespaces.
//!
//! The agent serialises a request, a helper inside the namespaces executes it, the agent processes the
//! response. This module holds the contract and its wire format; neither knows how the helper gets there.

pub mod dialcheck;
pub mod disk;
pub mod dns;
pub mod exec;
pub mod httpcheck;
mod inside;
pub mod jvm;
pub mod ping;
pub mod processes;
mod reach;
pub mod resolve;
mod shelf;
pub mod sockets;
pub mod wire;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use self::inside::{Dir, Inside};
use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, Since},
};

/// A check, as its helper makes it: from nothing but defaults.
#[derive(Debug)]
pub struct Known {
    /// Its definition.
    pub def: &'static InputDef,
    /// Makes one that has no settings.
    pub blank: fn() -> Box<dyn PodInput>,
}

/// Every check.
pub static CHECKS: &[Known] = &[
    Known { def: &httpcheck::DEF, blank: || Box::<httpcheck::HttpCheck>::default() },
    Known { def: &dialcheck::DEF, blank: || Box::<dialcheck::DialCheck>::default() },
    Known { def: &dns::DEF, blank: || Box::<dns::Dns>::default() },
    Known { def: &ping::DEF, blank: || Box::<ping::Ping>::default() },
    Known { def: &sockets::DEF, blank: || Box::<sockets::Sockets>::default() },
    Known { def: &processes::DEF, blank: || Box::<processes::Processes>::default() },
    Known { def: &disk::DEF, blank: || Box::<disk::Disk>::default() },
    Known { def: &jvm::DEF, blank: || Box::<jvm::Jvm>::default() },
    Known { def: &exec::DEF, blank: || Box::<exec::Exec>::default() },
];

/// Whether the check was executed, whatever it found: apart from a target that was checked and found down.
pub static EXECUTED: Metric =
    Metric::gauge("executed", "Whether the last check was executed, whatever it found.", &[]);

/// Why a check was not executed.
pub static FAILURES: Metric = Metric::counter(
    "failures_total",
    "Checks that were not executed, by what prevented it.",
    &[Label::fixed("reason", HelperError::REASONS)],
)
.since(Since::Start);

/// Where an input is executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// By the agent, in the host's namespaces.
    #[default]
    Agent,
    /// By the helper, in the namespaces of the target.
    Pod,
}

/// A request for the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which input executes it there.
    pub input: String,
    /// The input's own settings, in its own format.
    pub body: Vec<u8>,
    /// How long it may take in all.
    pub timeout: Duration,
}

impl Request {
    /// Asks an input for what its settings say.
    pub fn new(def: &InputDef, settings: &impl Serialize, timeout: Duration) -> Result<Self, InputError> {
        let body = serde_json::to_vec(settings).map_err(InputError::other)?;
        Ok(Self { input: def.name.to_owned(), body, timeout })
    }

    /// The settings in the body of a request.
    pub fn settings<'a, S: Deserialize<'a>>(body: &'a [u8]) -> Result<S, InputError> {
        serde_json::from_slice(body).map_err(|error| InputError::Other(format!("the request: {error}")))
    }
}

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// The target does not exist, or not any more.
    #[error("no such target: {0}")]
    NoTarget(String),
    /// What the target is does not allow it, as with a sandboxed runtime. Nothing was executed.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Its namespaces could not be entered, or are not the expected ones. Nothing was executed.
    #[error("cannot enter the target's namespaces: {0}")]
    Enter(String),
    /// The helper did not answer in time and was killed.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// A helper that an earlier check had made was killed and has not ended. Nothing was executed.
    #[error("an earlier check of it is stuck in the kernel: its helper was killed and has not ended")]
    Stuck,
    /// The helper ended without an answer.
    #[error("the helper ended: {0}")]
    Died(String),
    /// What came back is not a response.
    #[error("{0}")]
    Wire(#[from] wire::WireError),
    /// The input could not do it, which says nothing about the target.
    #[error("{0}")]
    Failed(String),
}

impl HelperError {
    /// Every [`Self::reason`].
    pub const REASONS: &[&str] =
        &["no_target", "unsupported", "enter", "timeout", "stuck", "died", "wire", "failed"];

    /// One word for it.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoTarget(_) => "no_target",
            Self::Unsupported(_) => "unsupported",
            Self::Enter(_) => "enter",
            Self::Timeout(_) => "timeout",
            Self::Stuck => "stuck",
            Self::Died(_) => "died",
            Self::Wire(wire::WireError::Failed(_)) | Self::Failed(_) => "failed",
            Self::Wire(_) => "wire",
        }
    }
}

/// An input that can be executed inside a pod.
///
/// `execute_request` runs in the helper, on an instance that was made from nothing but defaults: whatever it needs
/// is in the request. All else runs in the agent, on an instance of its own for each target, which may keep counters.
pub trait PodInput: Input {
    /// Where this instance is executed.
    fn network_mode(&self) -> NetworkMode;

    /// What the helper is asked to do.
    fn serialize_request(&self) -> Result<Request, InputError>;

    /// In the helper: does it, and leaves the samples in a response. A target that is down is a response; an error
    /// says that nothing was found out.
    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError>;

    /// In the agent: delivers the samples of a response.
    fn process_response(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), HelperError> {
        wire::deliver(self.definition(), response, acc)?;
        acc.put(&EXECUTED, &[], true);
        Ok(())
    }

    /// In the agent: delivers what says that the check did not happen, apart from a target that was checked and
    /// found down. Why is counted by whoever runs it ([`FAILURES`]).
    fn generate_error_metrics(&mut self, _error: &HelperError, acc: &mut dyn Accumulator) {
        acc.put(&EXECUTED, &[], false);
    }
}

/// Executes a check right here, in the namespaces of the agent: what `collect` of a check is.
pub fn collect_here<C: PodInput>(
    check: &mut C,
    cx: &CollectContext,
    acc: &mut dyn Accumulator,
) -> Result<(), InputError> {
    let left = cx.deadline.saturating_duration_since(Instant::now());
    execute_here(check, &Inside::host(left).map_err(InputError::other)?, acc)
}

/// Asks, executes and delivers in one go.
fn execute_here<C: PodInput>(
    check: &mut C,
    inside: &Inside,
    acc: &mut dyn Accumulator,
) -> Result<(), InputError> {
    let request = check.serialize_request()?;
    let mut response = wire::Response::new();
    check.execute_request(&request.body, inside, &mut response)?;
    let bytes = response.into_bytes().map_err(InputError::other)?;
    check.process_response(&bytes, acc).map_err(InputError::other)
}
