//! Sockets by protocol, and the memory that they hold.

use nix::unistd::{SysconfVar, sysconf};

use super::{CollectContext, Input, InputDef, InputError, Unsupported};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, Source, Unit},
    source::{Content, OptionalFile, Roots, SourceError, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "sockstat",
    about: "Sockets in use by protocol, and the memory of their buffers.",
    prefix: "node_",
    source: Source::Files(&["proc:net/sockstat", "proc:net/sockstat6"]),
    cost: "two short files",
    metrics: &[&USED, &INUSE, &ORPHAN, &TW, &ALLOC, &MEM, &MEM_BYTES, &MEMORY],
    options: &[],
    open: |cx| Ok(Box::new(Sockstat::new(cx.roots))),
};

static USED: Metric = Metric::gauge("sockstat_sockets_used", "Sockets in use, of all families.", &[]);
static INUSE: Metric = Metric::gauge("sockstat_*_inuse", "Sockets of the protocol that are in use.", &[]);
static ORPHAN: Metric = Metric::gauge(
    "sockstat_*_orphan",
    "Sockets of the protocol that no process holds any more but that are not closed.",
    &[],
);
static TW: Metric = Metric::gauge("sockstat_*_tw", "Sockets of the protocol that wait out TIME_WAIT.", &[]);
static ALLOC: Metric =
    Metric::gauge("sockstat_*_alloc", "Sockets of the protocol that are allocated, in any state.", &[]);
static MEM: Metric =
    Metric::gauge("sockstat_*_mem", "Memory of the protocol's socket buffers, in pages.", &[]);
static MEM_BYTES: Metric =
    Metric::gauge("sockstat_*_mem_bytes", "Memory of the protocol's socket buffers.", &[]).unit(Unit::Bytes);
static MEMORY: Metric =
    Metric::gauge("sockstat_*_memory", "Memory that holds fragments of the protocol, in bytes.", &[]);

/// What a protocol's line may say. `inuse` stands on every one.
static FIELDS: [(&[u8], &Metric); 6] = [
    (b"inuse", &INUSE),
    (b"orphan", &ORPHAN),
    (b"tw", &TW),
    (b"alloc", &ALLOC),
    (b"mem", &MEM),
    (b"memory", &MEMORY),
];

/// Reads `/proc/net/sockstat` and `/proc/net/sockstat6`.
#[derive(Debug)]
pub struct Sockstat {
    v4: OptionalFile,
    v6: OptionalFile,
    page: f64,
}

impl Sockstat {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
        Self {
            v4: OptionalFile::new(roots.net("sockstat")),
            v6: OptionalFile::new(roots.net("sockstat6")),
            page: page as f64,
        }
    }
}

impl Default for Sockstat {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Sockstat {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let mut any = false;
        for file in [&mut self.v4, &mut self.v6] {
            if let Some(content) = file.read()? {
                any = true;
                deliver(content, self.page, acc)?;
            }
        }
        if any { Ok(()) } else { Err(InputError::Unsupported(Unsupported("net/sockstat is missing".into()))) }
    }
}

fn deliver(content: Content<'_>, page: f64, acc: &mut dyn Accumulator) -> Result<(), SourceError> {
    for line in content.lines() {
        parse_line(line, page, acc).ok_or_else(|| content.malformed("a protocol and its counts", line))?;
    }
    Ok(())
}

fn parse_line(line: &[u8], page: f64, acc: &mut dyn Accumulator) -> Option<()> {
    let (protocol, rest) = parse::split_once(line, b':')?;
    let mut fields = parse::fields(rest);
    while let Some(key) = fields.next() {
        let value = parse::signed(fields.next()?)? as f64;
        if protocol == b"sockets" {
            if key == b"used" {
                acc.put(&USED, &[], value);
            }
            continue;
        }
        let Some((_, metric)) = FIELDS.iter().find(|(name, _)| *name == key) else { continue };
        acc.put_part(metric, protocol, &[], value);
        if key == b"mem" {
            acc.put_part(&MEM_BYTES, protocol, &[], value * page);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::accumulator::MemoryAccumulator;

    fn collect(files: &[(&str, &str)]) -> Result<MemoryAccumulator, InputError> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("net")).unwrap();
        for (name, content) in files {
            fs::write(dir.path().join("net").join(name), content).unwrap();
        }
        let roots = Roots { procfs: dir.path().to_owned(), ..Roots::default() };
        let mut acc = MemoryAccumulator::new();
        Sockstat::new(&roots).collect(&CollectContext::new(Duration::from_secs(1)), &mut acc)?;
        Ok(acc)
    }

    #[test]
    fn pages_become_bytes_and_unknown_counts_are_left_out() {
        let acc = collect(&[("sockstat", "sockets: used 229\nTCP: inuse 4 new 9 mem 3\n")]).unwrap();
        let page = sysconf(SysconfVar::PAGE_SIZE).unwrap().unwrap() as f64;
        assert_eq!(acc.number("sockstat_sockets_used", &[]), Some(229.0));
        assert_eq!(acc.number("sockstat_TCP_mem", &[]), Some(3.0));
        assert_eq!(acc.number("sockstat_TCP_mem_bytes", &[]), Some(3.0 * page));
        assert_eq!(acc.samples().len(), 4);
    }

    #[test]
    fn either_family_may_be_off() {
        let acc = collect(&[("sockstat6", "FRAG6: inuse 0 memory 7\n")]).unwrap();
        assert_eq!(acc.number("sockstat_FRAG6_memory", &[]), Some(7.0));
        assert!(matches!(collect(&[]), Err(InputError::Unsupported(_))));
    }

    #[test]
    fn half_a_pair_is_an_error() {
        for bad in ["TCP inuse 4\n", "TCP: inuse\n", "TCP: inuse x\n"] {
            assert!(matches!(collect(&[("sockstat", bad)]), Err(InputError::Source(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(line: Vec<u8>) {
            let _ = parse_line(&line, 4096.0, &mut MemoryAccumulator::new());
        }
    }
}
