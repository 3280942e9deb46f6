//! Pod mode: inputs that are executed inside a pod's namespaces.
//!
//! The agent serialises a request, a helper inside the namespaces executes it, the agent processes the
//! response. This module holds the contract and its wire format; neither knows how the helper gets there.

pub mod wire;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    accumulator::Accumulator,
    input::{Input, InputError},
};

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

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// The target does not exist, or not any more.
    #[error("no such target: {0}")]
    NoTarget(String),
    /// Its namespaces could not be entered, or are not the expected ones. Nothing was executed.
    #[error("cannot enter the target's namespaces: {0}")]
    Enter(String),
    /// The helper did not answer in time and was killed.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The helper ended without an answer.
    #[error("the helper ended: {0}")]
    Died(String),
    /// What came back is not a response.
    #[error("{0}")]
    Wire(#[from] wire::WireError),
    /// The input ran and says that it failed.
    #[error("{0}")]
    Failed(String),
}

/// An input that can be executed inside a pod.
///
/// `execute_request` runs in the helper, on an instance that was made from nothing: whatever it needs is in
/// the request.
pub trait PodInput: Input {
    /// Where this instance is executed.
    fn network_mode(&self) -> NetworkMode;

    /// What the helper is asked to do.
    fn serialize_request(&self) -> Result<Request, InputError>;

    /// In the helper: does it, and leaves the samples in a response.
    fn execute_request(&mut self, body: &[u8], response: &mut wire::Response) -> Result<(), InputError>;

    /// In the agent: delivers the samples of a response.
    fn process_response(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), InputError> {
        wire::deliver(self.definition(), response, acc).map_err(|error| InputError::Other(error.to_string()))
    }

    /// In the agent: delivers what says that the check did not happen, and why, apart from a target that
    /// was checked and found down.
    fn generate_error_metrics(&mut self, error: &HelperError, acc: &mut dyn Accumulator);
}
