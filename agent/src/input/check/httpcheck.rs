//! Whether an HTTP endpoint answers as it should, and how long each phase takes.

use super::{EXECUTED, FAILURES, Inside, NetworkMode, PodInput, Request, wire};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Namespace, Source, Unsupported},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "httpcheck",
    about: "Whether an HTTP endpoint answers as it should, and how long each phase takes.",
    prefix: "pitot_httpcheck_",
    source: Source::Check(&CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false }),
    cost: "one connection and one request",
    metrics: &[&EXECUTED, &FAILURES],
    options: &[],
    open: |_| Err(Unsupported("not built".to_owned())),
};

/// The check.
#[derive(Debug, Default)]
pub struct HttpCheck {}

impl Input for HttpCheck {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, _acc: &mut dyn Accumulator) -> Result<(), InputError> {
        Err(InputError::Other("not built".to_owned()))
    }

    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for HttpCheck {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        Err(InputError::Other("not built".to_owned()))
    }

    fn execute_request(
        &mut self,
        _body: &[u8],
        _inside: &Inside,
        _response: &mut wire::Response,
    ) -> Result<(), InputError> {
        Err(InputError::Other("not built".to_owned()))
    }
}
