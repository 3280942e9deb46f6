//! Entropy of the kernel's random number generator.

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, Source},
    source::{NumberFile, Roots},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "entropy",
    about: "Entropy that the kernel's random number generator has gathered.",
    prefix: "node_",
    source: Source::Files(&["proc:sys/kernel/random/entropy_avail", "proc:sys/kernel/random/poolsize"]),
    cost: "two files of one number",
    metrics: &[&AVAILABLE, &POOL_SIZE],
    options: &[],
    open: |cx| Ok(Box::new(Entropy::new(cx.roots))),
};

static AVAILABLE: Metric =
    Metric::gauge("entropy_available_bits", "Entropy that is available, in bits.", &[]);
static POOL_SIZE: Metric = Metric::gauge("entropy_pool_size_bits", "Size of the entropy pool, in bits.", &[]);

/// Reads two files of `/proc/sys/kernel/random`.
#[derive(Debug)]
pub struct Entropy {
    available: NumberFile,
    pool_size: NumberFile,
}

impl Entropy {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        Self {
            available: roots.proc_number("sys/kernel/random/entropy_avail"),
            pool_size: roots.proc_number("sys/kernel/random/poolsize"),
        }
    }
}

impl Default for Entropy {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Entropy {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        acc.put(&AVAILABLE, &[], self.available.read()?);
        acc.put(&POOL_SIZE, &[], self.pool_size.read()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::{Tree, collect};

    #[test]
    fn both_numbers_or_none() {
        let tree = Tree::new(&[("proc/sys/kernel/random/entropy_avail", "1337\n")]);
        let mut input = Entropy::new(&tree.roots());
        assert!(collect(&mut input).is_err());
        tree.write("proc/sys/kernel/random/poolsize", b"4096\n");
        let acc = collect(&mut input).unwrap();
        assert_eq!(acc.number("entropy_available_bits", &[]), Some(1337.0));
        assert_eq!(acc.number("entropy_pool_size_bits", &[]), Some(4096.0));
    }
}
