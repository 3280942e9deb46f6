//! Free space and inodes of the file systems that the target has mounted.

use super::{EXECUTED, FAILURES, Inside, NetworkMode, PodInput, Request, wire};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Source, Unsupported},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "disk",
    about: "Free space and inodes of the file systems that the target has mounted.",
    prefix: "pitot_disk_",
    source: Source::Check(&CheckDef { namespaces: &[], as_target: true, executes: false }),
    cost: "one system call for each mount",
    metrics: &[&EXECUTED, &FAILURES],
    options: &[],
    open: |_| Err(Unsupported("not built".to_owned())),
};

/// The check.
#[derive(Debug, Default)]
pub struct Disk {}

impl Input for Disk {
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

impl PodInput for Disk {
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
