//! Pod mode: checks, executed by helpers inside the namespaces of containers.
//!
//! Before privileges are dropped, the agent starts one process from a sealed copy of its own binary: the *spawner*. It
//! keeps what entering namespaces takes and does nothing else. Asked for a helper, it forks; the child enters the
//! namespaces of a container, gives everything up, and executes the requests that the agent sends it. The spawner
//! itself is forked from a *keeper*, which only waits for its end, to fork the next one.
//!
//! ```text
//!  agent ──orders──▶ spawner ──fork──▶ helper: enter, lockdown, then
//!    └──────────────frames───────────▶ request ▶ check ▶ response
//! ```
//!
//! Everything here fails closed: what is not certainly the target is an error, and what a helper says is believed
//! as little as what the target says.

mod client;
mod control;
mod enter;
mod errand;
mod filter;
mod frames;
mod helper;
mod hunt;
mod keeper;
mod launch;
mod lease;
mod lockdown;
mod meters;
mod orders;
mod pool;
mod process;
mod spawner;
mod state;
mod stuck;

use std::{fmt, path::Path, sync::Arc};

use rustix::thread::CapabilitySet;

use self::pool::Pool;
pub use self::spawner::spawner;
use crate::{
    catalogue::CheckDef,
    container::Container,
    input::check::{CHECKS, HelperError, Known, Request},
};

/// Helpers that there are at a time, at the most.
const MOST: usize = 256;

/// Where a check is executed.
#[derive(Clone, Debug)]
pub enum Target {
    /// In the namespaces of the agent.
    Host,
    /// In those of a container.
    Container(Arc<Container>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Container(container) = self else { return f.write_str("the host") };
        if let Some(pod) = &container.pod {
            write!(f, "{}/{}/", pod.namespace, pod.name)?;
        }
        f.write_str(if container.name.is_empty() { &container.id } else { &container.name })
    }
}

/// Where checks are executed: asks the spawner for helpers, and keeps them for as long as they are of use. When the
/// last one is dropped, the spawner ends, and every helper with it.
#[derive(Clone, Debug)]
pub struct Helpers {
    pool: Arc<Pool>,
}

impl Helpers {
    /// Starts the spawner. Only before any thread was started and before privileges are dropped.
    pub fn start() -> Result<Self, String> {
        Self::start_from(Path::new("/proc/self/exe"), CHECKS, MOST)
    }

    /// The same from a binary whose `main` begins with [`spawner`] and the same checks, with a bound of its own.
    pub fn start_from(binary: &Path, checks: &'static [Known], most: usize) -> Result<Self, String> {
        let launched = launch::launch(binary)?;
        if !launched.missing.is_empty() {
            tracing::info!(missing = names(launched.missing), "checks are executed on the host only");
        }
        Ok(Self { pool: Arc::new(Pool::new(launched, checks, most)) })
    }

    /// Executes a request and returns the response. Never longer than the request's own timeout.
    pub async fn execute(
        &self,
        target: &Target,
        needs: &'static CheckDef,
        request: &Request,
    ) -> Result<Vec<u8>, HelperError> {
        self.pool.execute(target, needs, request).await
    }

    /// Helpers that run now, idle ones included and stuck ones not.
    pub fn running(&self) -> usize {
        self.pool.running()
    }

    /// Helpers that were killed and have not ended.
    pub fn stuck(&self) -> usize {
        self.pool.stuck()
    }
}

/// Capabilities by their usual names.
fn names(capabilities: CapabilitySet) -> String {
    let names: Vec<String> = capabilities.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    names.join(", ")
}
