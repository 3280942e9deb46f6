//! What a program of the target prints as metrics. Only programs that the configuration lists are started.

use super::{EXECUTED, FAILURES, Inside, NetworkMode, PodInput, Request, wire};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Namespace, Source, Unsupported},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "exec",
    about: "What a program of the target prints as metrics. Only programs that the configuration lists are started.",
    prefix: "pitot_exec_",
    source: Source::Check(&CheckDef {
        namespaces: &[Namespace::Net, Namespace::Pid, Namespace::Mount, Namespace::Ipc, Namespace::Uts],
        as_target: true,
        executes: true,
    }),
    cost: "what the program costs",
    metrics: &[&EXECUTED, &FAILURES],
    options: &[],
    open: |_| Err(Unsupported("not built".to_owned())),
};

/// The check.
#[derive(Debug, Default)]
pub struct Exec {}

impl Input for Exec {
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

impl PodInput for Exec {
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
