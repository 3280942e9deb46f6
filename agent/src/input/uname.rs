//! What the kernel says about itself and the host.

use std::os::unix::ffi::OsStrExt;

use nix::sys::utsname::uname;

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, Source},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "uname",
    about: "Release of the kernel, architecture and name of the host.",
    prefix: "node_",
    source: Source::Calls(&["uname"]),
    cost: "one system call",
    metrics: &[&INFO],
    options: &[],
    open: |_| Ok(Box::new(Uname)),
};

static INFO: Metric = Metric::info(
    "uname_info",
    "What the system call uname says about the kernel and the host.",
    &[
        Label::bounded("sysname", 1),
        Label::bounded("release", 1),
        Label::bounded("version", 1),
        Label::bounded("machine", 1),
        Label::bounded("nodename", 1),
        Label::bounded("domainname", 1),
    ],
);

/// Calls `uname`, which answers for the UTS namespace of the agent.
#[derive(Debug, Default)]
pub struct Uname;

impl Input for Uname {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let names = uname().map_err(|error| InputError::Other(format!("uname: {error}")))?;
        let labels = [
            names.sysname(),
            names.release(),
            names.version(),
            names.machine(),
            names.nodename(),
            names.domainname(),
        ];
        acc.put(&INFO, &labels.map(OsStrExt::as_bytes), 1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::collect;

    #[test]
    fn the_kernel_has_a_release() {
        let acc = collect(&mut Uname).unwrap();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(acc.samples()[0].labels[1], ("release", release.trim().to_owned()));
    }
}
