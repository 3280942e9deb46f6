//! Heap, garbage collection, threads and classes of Java virtual machines, from what they publish in files.

use super::{EXECUTED, FAILURES, Inside, NetworkMode, PodInput, Request, wire};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Source, Unsupported},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "jvm",
    about: "Heap, garbage collection, threads and classes of Java virtual machines, from what they publish in files.",
    prefix: "pitot_jvm_",
    source: Source::Check(&CheckDef { namespaces: &[], as_target: true, executes: false }),
    cost: "one file of 32 KiB for each machine",
    metrics: &[&EXECUTED, &FAILURES],
    options: &[],
    open: |_| Err(Unsupported("not built".to_owned())),
};

/// The check.
#[derive(Debug, Default)]
pub struct Jvm {}

impl Input for Jvm {
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

impl PodInput for Jvm {
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
