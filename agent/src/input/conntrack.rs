//! Connection tracking: entries, their limit, and what became of lookups and insertions.

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, Source},
    source::{Content, File, NumberFile, Roots, SourceError, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "conntrack",
    about: "Connections that netfilter tracks, and what became of lookups and insertions.",
    prefix: "node_",
    source: Source::Files(&[
        "proc:sys/net/netfilter/nf_conntrack_count",
        "proc:sys/net/netfilter/nf_conntrack_max",
        "proc:net/stat/nf_conntrack",
    ]),
    cost: "two files of one number and one file of a line per CPU",
    metrics: &[
        &ENTRIES,
        &LIMIT,
        &FOUND,
        &INVALID,
        &IGNORE,
        &INSERT,
        &INSERT_FAILED,
        &DROP,
        &EARLY_DROP,
        &SEARCH_RESTART,
    ],
    options: &[],
    open: |cx| Ok(Box::new(Conntrack::new(cx.roots))),
};

static ENTRIES: Metric = Metric::gauge("nf_conntrack_entries", "Connections that are tracked now.", &[]);
static LIMIT: Metric =
    Metric::gauge("nf_conntrack_entries_limit", "Connections that may be tracked at most.", &[]);

/// The statistics only rise, but node_exporter calls them gauges and so must we.
const fn stat(name: &'static str, help: &'static str) -> Metric {
    Metric::gauge(name, help, &[])
}

static FOUND: Metric = stat("nf_conntrack_stat_found", "Lookups that found an entry.");
static INVALID: Metric = stat("nf_conntrack_stat_invalid", "Packets that could not be tracked.");
static IGNORE: Metric = stat("nf_conntrack_stat_ignore", "Packets that already belonged to an entry.");
static INSERT: Metric = stat("nf_conntrack_stat_insert", "Entries that were inserted.");
static INSERT_FAILED: Metric =
    stat("nf_conntrack_stat_insert_failed", "Entries whose insertion failed, such as for an equal one.");
static DROP: Metric =
    stat("nf_conntrack_stat_drop", "Packets that were dropped because tracking them failed.");
static EARLY_DROP: Metric =
    stat("nf_conntrack_stat_early_drop", "Entries that were dropped early because the table was full.");
static SEARCH_RESTART: Metric =
    stat("nf_conntrack_stat_search_restart", "Lookups that began anew because the table was resized.");

/// Columns of the statistics that are published. The kernel keeps the place of a column even when it has no
/// more use for it.
const COLUMNS: [(usize, &Metric); 8] = [
    (2, &FOUND),
    (4, &INVALID),
    (5, &IGNORE),
    (8, &INSERT),
    (9, &INSERT_FAILED),
    (10, &DROP),
    (11, &EARLY_DROP),
    (16, &SEARCH_RESTART),
];

/// Reads what netfilter shows in `/proc`.
#[derive(Debug)]
pub struct Conntrack {
    count: NumberFile,
    max: NumberFile,
    /// Nothing once it is known that this kernel tracks connections but has no such file.
    stat: Option<File>,
}

impl Conntrack {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        Self {
            count: roots.proc_number("sys/net/netfilter/nf_conntrack_count"),
            max: roots.proc_number("sys/net/netfilter/nf_conntrack_max"),
            stat: Some(roots.proc("net/stat/nf_conntrack")),
        }
    }
}

impl Default for Conntrack {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Conntrack {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        acc.put(&ENTRIES, &[], self.count.read().map_err(InputError::missing_is_unsupported)?);
        acc.put(&LIMIT, &[], self.max.read().map_err(InputError::missing_is_unsupported)?);
        match self.stat.as_mut().map(File::read) {
            Some(Ok(content)) => {
                let sums = add_up(content)?;
                for ((_, metric), sum) in COLUMNS.into_iter().zip(sums) {
                    acc.put(metric, &[], sum);
                }
            }
            Some(Err(error)) if error.is_missing() => self.stat = None,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        Ok(())
    }
}

/// Adds up the lines of all CPUs, column by column.
fn add_up(content: Content<'_>) -> Result<[u64; COLUMNS.len()], SourceError> {
    let mut sums = [0u64; COLUMNS.len()];
    let mut cpus = 0;
    // The first line is the heading.
    for line in content.lines().skip(1) {
        let malformed = || content.malformed("16 or 17 hexadecimal numbers", line);
        let mut columns = 0;
        for (index, field) in parse::fields(line).enumerate() {
            let value = parse::hex(field).ok_or_else(malformed)?;
            if let Some(slot) = COLUMNS.iter().position(|(column, _)| *column == index) {
                sums[slot] = sums[slot].wrapping_add(value);
            }
            columns = index + 1;
        }
        // The seventeenth came with Linux 2.6.35.
        if !(16..=17).contains(&columns) {
            return Err(malformed());
        }
        cpus += 1;
    }
    if cpus == 0 {
        return Err(content.malformed("a line per CPU", content.bytes()));
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::{Tree, collect, few, soup, survives};

    const COUNTS: [(&str, &str); 2] = [
        ("proc/sys/net/netfilter/nf_conntrack_count", "123\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
    ];

    #[test]
    fn cpus_are_added_up() {
        let tree = Tree::new(&COUNTS);
        let row = |n: u32| (0..17).map(|i| format!("{:08x}", i * n)).collect::<Vec<_>>().join(" ");
        let table = format!("entries searched ...\n{}\n{}\n", row(1), row(10));
        tree.write("proc/net/stat/nf_conntrack", table.as_bytes());
        let acc = collect(&mut Conntrack::new(&tree.roots())).unwrap();
        assert_eq!(acc.number("nf_conntrack_entries", &[]), Some(123.0));
        assert_eq!(acc.number("nf_conntrack_stat_found", &[]), Some(22.0));
        assert_eq!(acc.number("nf_conntrack_stat_search_restart", &[]), Some(176.0));
        assert_eq!(acc.samples().len(), 10);
    }

    #[test]
    fn without_the_module_it_is_unsupported_and_without_the_table_it_has_less() {
        let tree = Tree::new(&[]);
        let mut input = Conntrack::new(&tree.roots());
        assert!(matches!(collect(&mut input), Err(InputError::Unsupported(_))));
        for (path, content) in COUNTS {
            tree.write(path, content.as_bytes());
        }
        assert_eq!(collect(&mut input).unwrap().samples().len(), 2);
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(content in soup(&["entries searched\n", "0000588a ", "ffffffffffffffff "])) {
            let tree = Tree::new(&COUNTS);
            tree.write("proc/net/stat/nf_conntrack", &content);
            survives(&mut Conntrack::new(&tree.roots()));
        }
    }
}
