//! Load averages: how many tasks ran, waited to run or slept uninterruptibly.

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, Source},
    source::{File, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "loadavg",
    about: "Load averages over one, five and fifteen minutes.",
    prefix: "node_",
    source: Source::Files(&["proc:loadavg"]),
    cost: "one short file",
    metrics: &[&LOAD1, &LOAD5, &LOAD15],
    options: &[],
    open: |cx| Ok(Box::new(Loadavg::new(cx.roots))),
};

static LOAD1: Metric = Metric::gauge("load1", "Load average over one minute.", &[]);
static LOAD5: Metric = Metric::gauge("load5", "Load average over five minutes.", &[]);
static LOAD15: Metric = Metric::gauge("load15", "Load average over fifteen minutes.", &[]);

/// Reads `/proc/loadavg`.
#[derive(Debug)]
pub struct Loadavg {
    file: File,
}

impl Loadavg {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        Self { file: roots.proc("loadavg") }
    }
}

impl Default for Loadavg {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Loadavg {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let content = self.file.read()?;
        let mut fields = parse::fields(content.bytes());
        for metric in [&LOAD1, &LOAD5, &LOAD15] {
            let value = fields.next().and_then(parse::float);
            let value = value.ok_or_else(|| content.malformed("three load averages", content.bytes()))?;
            acc.put(metric, &[], value);
        }
        Ok(())
    }
}
