//! Open files: how many the kernel holds and how many it may.

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, Source},
    source::{File, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "filefd",
    about: "Open files of the whole host and their limit.",
    prefix: "node_",
    source: Source::Files(&["proc:sys/fs/file-nr"]),
    cost: "one short file",
    metrics: &[&ALLOCATED, &MAXIMUM],
    options: &[],
    open: |cx| Ok(Box::new(Filefd::new(cx.roots))),
};

static ALLOCATED: Metric = Metric::gauge("filefd_allocated", "Files that are open on the whole host.", &[]);
static MAXIMUM: Metric = Metric::gauge("filefd_maximum", "Files that may be open on the whole host.", &[]);

/// Reads `/proc/sys/fs/file-nr`.
#[derive(Debug)]
pub struct Filefd {
    file: File,
}

impl Filefd {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        Self { file: roots.proc("sys/fs/file-nr") }
    }
}

impl Default for Filefd {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Filefd {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let content = self.file.read()?;
        let malformed = || content.malformed("three numbers", content.bytes());
        // The one between them has been 0 since Linux 2.6.
        let mut fields = parse::fields(content.bytes().trim_ascii_end());
        let allocated = fields.next().and_then(parse::number).ok_or_else(malformed)?;
        let maximum = fields.nth(1).and_then(parse::number).ok_or_else(malformed)?;
        acc.put(&ALLOCATED, &[], allocated);
        acc.put(&MAXIMUM, &[], maximum);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::{Tree, collect, few, soup, survives};

    #[test]
    fn two_of_three_numbers() {
        let tree = Tree::new(&[("proc/sys/fs/file-nr", "1024\t0\t9223372036854775807\n")]);
        let mut input = Filefd::new(&tree.roots());
        let acc = collect(&mut input).unwrap();
        assert_eq!(acc.number("filefd_allocated", &[]), Some(1024.0));
        assert_eq!(acc.number("filefd_maximum", &[]), Some(i64::MAX as f64));
        tree.write("proc/sys/fs/file-nr", b"1024\t0\n");
        assert!(collect(&mut input).is_err());
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(content in soup(&["1024", "\t0\t"])) {
            let tree = Tree::new(&[]);
            tree.write("proc/sys/fs/file-nr", &content);
            survives(&mut Filefd::new(&tree.roots()));
        }
    }
}
