//! Pod mode: checks, executed by helpers inside the namespaces of containers.
//!
//! Before privileges are dropped, the agent starts one process from a sealed copy of its own binary: the *spawner*. It
//! keeps what entering namespaces takes and does nothing else. Asked for a helper, it forks; the child enters the
//! namespaces of a container, gives everything up, and executes the requests that the agent sends it.

use std::sync::Arc;

use crate::{
    catalogue::CheckDef,
    container::Container,
    input::check::{HelperError, Request},
};

/// Where a check is executed.
#[derive(Clone, Debug)]
pub enum Target {
    /// In the namespaces of the agent.
    Host,
    /// In those of a container.
    Container(Arc<Container>),
}

/// Where checks are executed: asks the spawner for helpers, and keeps them for as long as they are of use.
#[derive(Clone, Debug)]
pub struct Helpers {}

impl Helpers {
    /// Starts the spawner. Only before any thread was started and before privileges are dropped.
    pub fn start() -> Result<Self, String> {
        Err("not built".to_owned())
    }

    /// Executes a request and returns the response. Never longer than the request's own timeout.
    pub async fn execute(
        &self,
        _target: &Target,
        _needs: &'static CheckDef,
        _request: &Request,
    ) -> Result<Vec<u8>, HelperError> {
        Err(HelperError::Unsupported("not built".to_owned()))
    }
}
