//! Memory: how much there is and what it is used for, under the names that `/proc/meminfo` gives.

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, Source, Unit},
    source::{File, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "meminfo",
    about: "How much memory the host has and what it is used for.",
    prefix: "node_",
    source: Source::Files(&["proc:meminfo"]),
    cost: "one file of about fifty lines",
    metrics: &[&AMOUNT, &COUNT],
    options: &[],
    open: |cx| Ok(Box::new(Meminfo::new(cx.roots))),
};

static AMOUNT: Metric =
    Metric::gauge("memory_*_bytes", "The amount of memory that /proc/meminfo gives under this name.", &[])
        .unit(Unit::Bytes);
static COUNT: Metric =
    Metric::gauge("memory_*", "The number of pages that /proc/meminfo gives under this name.", &[]);

/// Longest name that is taken; the kernel's longest has 17 bytes.
const NAME: usize = 64;

/// Reads `/proc/meminfo`.
#[derive(Debug)]
pub struct Meminfo {
    file: File,
}

impl Meminfo {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        Self { file: roots.proc("meminfo") }
    }
}

impl Default for Meminfo {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Meminfo {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let content = self.file.read()?;
        if content.bytes().is_empty() {
            return Err(content.malformed("amounts of memory", b"").into());
        }
        let mut buffer = [0; NAME];
        for line in content.lines() {
            let malformed = || content.malformed("a name, an amount and perhaps kB", line);
            let (key, rest) = parse::split_once(line, b':').ok_or_else(malformed)?;
            let name = metric_name(key, &mut buffer).ok_or_else(malformed)?;
            let mut fields = parse::fields(rest);
            let value = fields.next().and_then(parse::number).ok_or_else(malformed)? as f64;
            match fields.next() {
                None => acc.put_part(&COUNT, name, &[], value),
                Some(b"kB") => acc.put_part(&AMOUNT, name, &[], value * 1024.0),
                Some(_) => return Err(malformed().into()),
            }
        }
        Ok(())
    }
}

/// The key as part of a metric name: `Active(anon)` becomes `Active_anon`.
fn metric_name<'a>(key: &'a [u8], buffer: &'a mut [u8; NAME]) -> Option<&'a [u8]> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if key.iter().all(is_plain) {
        return (!key.is_empty()).then_some(key);
    }
    let key = key.strip_suffix(b")").unwrap_or(key);
    let name = buffer.get_mut(..key.len())?;
    name.copy_from_slice(key);
    for byte in name.iter_mut().filter(|byte| !is_plain(byte)) {
        *byte = b'_';
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::{Tree, collect, few, soup, survives};

    fn read(content: &str) -> Result<crate::accumulator::MemoryAccumulator, InputError> {
        collect(&mut Meminfo::new(&Tree::new(&[("proc/meminfo", content)]).roots()))
    }

    #[test]
    fn units_and_brackets_decide_the_name() {
        let acc = read("MemTotal: 2 kB\nActive(anon):   1 kB\nHugePages_Total:  3\n").unwrap();
        assert_eq!(acc.number("memory_MemTotal_bytes", &[]), Some(2048.0));
        assert_eq!(acc.number("memory_Active_anon_bytes", &[]), Some(1024.0));
        assert_eq!(acc.number("memory_HugePages_Total", &[]), Some(3.0));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in ["", "MemTotal 2 kB", "MemTotal: x kB", "MemTotal: 2 MB", "MemTotal:", ": 1 kB"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(content in soup(&["MemTotal:", "Active(anon):", "(", ")", " kB\n", "MB"])) {
            let tree = Tree::new(&[]);
            tree.write("proc/meminfo", &content);
            survives(&mut Meminfo::new(&tree.roots()));
        }
    }
}
