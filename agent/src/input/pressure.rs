//! Pressure stall information: for how long tasks had to wait for a resource.

use super::{CollectContext, Input, InputDef, InputError, Unsupported};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, Source, Unit},
    source::{Content, File, Roots, SourceError, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "pressure",
    about: "How long tasks waited for CPU, I/O and memory, and were held up by interrupts.",
    prefix: "node_",
    source: Source::Files(&[
        "proc:pressure/cpu",
        "proc:pressure/io",
        "proc:pressure/memory",
        "proc:pressure/irq",
    ]),
    cost: "four short files",
    metrics: &[&CPU_WAITING, &IO_WAITING, &IO_STALLED, &MEMORY_WAITING, &MEMORY_STALLED, &IRQ_STALLED],
    options: &[],
    open: |cx| Ok(Box::new(Pressure::new(cx.roots))),
};

const fn seconds(name: &'static str, help: &'static str) -> Metric {
    Metric::counter(name, help, &[]).unit(Unit::Seconds)
}

static CPU_WAITING: Metric =
    seconds("pressure_cpu_waiting_seconds_total", "Time during which at least one task waited for a CPU.");
static IO_WAITING: Metric =
    seconds("pressure_io_waiting_seconds_total", "Time during which at least one task waited for I/O.");
static IO_STALLED: Metric = seconds(
    "pressure_io_stalled_seconds_total",
    "Time during which every task that was not idle waited for I/O.",
);
static MEMORY_WAITING: Metric = seconds(
    "pressure_memory_waiting_seconds_total",
    "Time during which at least one task waited for memory.",
);
static MEMORY_STALLED: Metric = seconds(
    "pressure_memory_stalled_seconds_total",
    "Time during which every task that was not idle waited for memory.",
);
static IRQ_STALLED: Metric = seconds(
    "pressure_irq_stalled_seconds_total",
    "Time during which interrupts kept every task that was not idle from its work.",
);

/// A resource, and what is published of its `some` and its `full` line.
#[derive(Debug)]
struct Resource {
    file: File,
    some: Option<&'static Metric>,
    full: Option<&'static Metric>,
    /// This kernel lacks it while it has others, which does not change before the next boot.
    absent: bool,
}

/// Reads the files of `/proc/pressure`.
#[derive(Debug)]
pub struct Pressure {
    resources: [Resource; 4],
}

impl Pressure {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        let resource = |path, some, full| Resource { file: roots.proc(path), some, full, absent: false };
        Self {
            resources: [
                resource("pressure/cpu", Some(&CPU_WAITING), None),
                resource("pressure/io", Some(&IO_WAITING), Some(&IO_STALLED)),
                resource("pressure/memory", Some(&MEMORY_WAITING), Some(&MEMORY_STALLED)),
                resource("pressure/irq", None, Some(&IRQ_STALLED)),
            ],
        }
    }
}

impl Default for Pressure {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Pressure {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let mut missing = None;
        for resource in self.resources.iter_mut().filter(|resource| !resource.absent) {
            let content = match resource.file.read() {
                Ok(content) => content,
                Err(error) if error.is_missing() => {
                    resource.absent = true;
                    missing.get_or_insert(error);
                    continue;
                }
                Err(error) if is_switched_off(&error) => {
                    return Err(InputError::Unsupported(Unsupported(
                        "pressure stall information is off: boot with psi=1".to_owned(),
                    )));
                }
                Err(error) => return Err(error.into()),
            };
            for (word, metric) in [(&b"some"[..], resource.some), (b"full", resource.full)] {
                let Some(metric) = metric else { continue };
                let micros = total(content, word)
                    .ok_or_else(|| content.malformed("a line with a total", content.bytes()))?;
                acc.put(metric, &[], micros as f64 / 1000.0 / 1000.0);
            }
        }
        match missing {
            Some(error) if self.resources.iter().all(|resource| resource.absent) => {
                for resource in &mut self.resources {
                    resource.absent = false;
                }
                Err(InputError::missing_is_unsupported(error))
            }
            _ => Ok(()),
        }
    }
}

/// The files are there, but reading or opening them is refused.
fn is_switched_off(error: &SourceError) -> bool {
    matches!(error, SourceError::Io { error, .. } if error.raw_os_error() == Some(libc::EOPNOTSUPP))
}

/// The sum at the end of the line that begins with a word, in microseconds.
fn total(content: Content<'_>, word: &[u8]) -> Option<u64> {
    let line = content.lines().find(|line| parse::fields(line).next() == Some(word))?;
    parse::fields(line).find_map(|field| field.strip_prefix(b"total=")).and_then(parse::number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::{Tree, collect, few, soup, survives};

    const SOME: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n";

    #[test]
    fn a_kernel_may_lack_some_resources_but_not_all() {
        let tree = Tree::new(&[]);
        let mut input = Pressure::new(&tree.roots());
        assert!(matches!(collect(&mut input), Err(InputError::Unsupported(_))));
        tree.write("proc/pressure/cpu", SOME.as_bytes());
        for _ in 0..2 {
            let acc = collect(&mut input).unwrap();
            assert_eq!(acc.number("pressure_cpu_waiting_seconds_total", &[]), Some(1.5));
            assert_eq!(acc.samples().len(), 1);
        }
    }

    #[test]
    fn a_line_that_should_be_there_is_not_made_up() {
        let tree = Tree::new(&[("proc/pressure/io", SOME)]);
        assert!(matches!(collect(&mut Pressure::new(&tree.roots())), Err(InputError::Source(_))));
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(content in soup(&["some", "full", "total=1", "total=", "avg10=0"])) {
            let tree = Tree::new(&[]);
            tree.write("proc/pressure/io", &content);
            survives(&mut Pressure::new(&tree.roots()));
        }
    }
}
