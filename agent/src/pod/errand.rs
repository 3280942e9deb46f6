//! What a helper is sent for.

use rustix::thread::CapabilitySet;

use super::{
    Target, names,
    orders::{Expected, Needs},
    state::Key,
};
use crate::{
    container::Container,
    input::check::{HelperError, Request},
};

/// A request, and who may make it.
#[derive(Debug)]
pub(super) struct Errand<'a> {
    pub(super) target: &'a Target,
    pub(super) request: &'a Request,
    pub(super) key: Key,
    pub(super) expected: Option<Expected>,
}

impl<'a> Errand<'a> {
    pub(super) fn new(
        target: &'a Target,
        needs: Needs,
        request: &'a Request,
        missing: CapabilitySet,
    ) -> Result<Self, HelperError> {
        let expected = match target {
            Target::Host => None,
            Target::Container(container) => Some((container.id.clone(), expected(container, missing)?)),
        };
        let (container, expected) =
            expected.map(|(id, expected)| ((id, expected.pid, expected.started), expected)).unzip();
        Ok(Self { target, request, key: Key { container, needs }, expected })
    }
}

/// How the container is recognised, unless nobody can enter it.
fn expected(container: &Container, missing: CapabilitySet) -> Result<Expected, HelperError> {
    if let Some(why) = &container.sandboxed {
        return Err(HelperError::Unsupported(why.clone()));
    }
    if !missing.is_empty() {
        let takes = format!("entering containers takes {}: run as root, or grant them", names(missing));
        return Err(HelperError::Unsupported(takes));
    }
    let process = container
        .process
        .ok_or_else(|| HelperError::NoTarget("its first process is not visible from here".to_owned()))?;
    Ok(Expected {
        pid: process.pid,
        started: process.started,
        net: None,
        is_apart: container.host_network == Some(false),
        cgroup: container.cgroup.clone(),
    })
}
