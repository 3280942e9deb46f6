//! Interrupts, context switches, forks and the time of boot, from the lines of `/proc/stat` that are not
//! about single CPUs.

use super::{CollectContext, Input, InputDef, InputError, Options};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, OptionDef, OptionValue, Source, Unit},
    source::{File, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "stat",
    about: "Interrupts, context switches, forks, boot time and the processes that run or are blocked.",
    prefix: "node_",
    source: Source::Files(&["proc:stat"]),
    cost: "one file, for which the kernel adds up every interrupt of every CPU",
    metrics: &[&INTR, &CONTEXT_SWITCHES, &FORKS, &BOOT_TIME, &PROCS_RUNNING, &PROCS_BLOCKED, &SOFTIRQS],
    options: &[OptionDef {
        key: "softirq",
        default: OptionValue::Bool(false),
        help: "Also count the soft interrupts by vector.",
    }],
    open: |cx| Ok(Box::new(Stat::new(cx.roots, cx.options))),
};

static INTR: Metric = Metric::counter("intr_total", "Interrupts that the kernel has served.", &[]);
static CONTEXT_SWITCHES: Metric =
    Metric::counter("context_switches_total", "Switches of a CPU from one task to another.", &[]);
static FORKS: Metric = Metric::counter("forks_total", "Tasks that were created, threads included.", &[]);
static BOOT_TIME: Metric =
    Metric::gauge("boot_time_seconds", "When the host was booted, in seconds since the Unix epoch.", &[])
        .unit(Unit::Seconds);
static PROCS_RUNNING: Metric = Metric::gauge("procs_running", "Tasks that run or are ready to run.", &[]);
static PROCS_BLOCKED: Metric = Metric::gauge("procs_blocked", "Tasks that wait for I/O to complete.", &[]);
static SOFTIRQS: Metric = Metric::counter(
    "softirqs_total",
    "Soft interrupts that the kernel has served, by vector.",
    &[Label::fixed("vector", VECTORS)],
);

/// In the order of the file.
const VECTORS: &[&str] =
    &["hi", "timer", "net_tx", "net_rx", "block", "block_iopoll", "tasklet", "sched", "hrtimer", "rcu"];

/// Reads `/proc/stat`.
#[derive(Debug)]
pub struct Stat {
    file: File,
    softirq: bool,
}

impl Stat {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots, options: Options<'_>) -> Self {
        Self { file: roots.proc("stat"), softirq: options.bool("softirq") }
    }
}

impl Default for Stat {
    fn default() -> Self {
        Self::new(&Roots::default(), Options::new(DEF.options, &[]))
    }
}

impl Input for Stat {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let content = self.file.read()?;
        let mut found = 0;
        for line in content.lines() {
            let mut fields = parse::fields(line);
            let metric = match fields.next() {
                // Thousands of numbers may follow the first, one per interrupt line; they are not looked at.
                Some(b"intr") => &INTR,
                Some(b"ctxt") => &CONTEXT_SWITCHES,
                Some(b"processes") => &FORKS,
                Some(b"btime") => &BOOT_TIME,
                Some(b"procs_running") => &PROCS_RUNNING,
                Some(b"procs_blocked") => &PROCS_BLOCKED,
                Some(b"softirq") if self.softirq => {
                    // The first number is the sum of the others.
                    let mut counts = fields.skip(1);
                    for vector in VECTORS {
                        let value = counts.next().and_then(parse::number);
                        let value = value.ok_or_else(|| content.malformed("a number per vector", line))?;
                        acc.put(&SOFTIRQS, &[vector.as_bytes()], value);
                    }
                    continue;
                }
                _ => continue,
            };
            let value = fields.next().and_then(parse::number);
            acc.put(metric, &[], value.ok_or_else(|| content.malformed("a number", line))?);
            found += 1;
        }
        if found == 0 {
            return Err(content.malformed("the lines of /proc/stat", content.bytes()).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::{
        OptionSetting,
        testing::{Tree, collect, few, soup, survives},
    };

    #[test]
    fn only_the_sum_of_a_long_line_is_taken() {
        let content = format!("cpu  1 2\nintr 77{}\nctxt 5\n", " 12".repeat(20_000));
        let tree = Tree::new(&[("proc/stat", &content)]);
        let acc = collect(&mut Stat::new(&tree.roots(), Options::new(DEF.options, &[]))).unwrap();
        assert_eq!(acc.number("intr_total", &[]), Some(77.0));
        assert_eq!(acc.samples().len(), 2);
    }

    #[test]
    fn soft_interrupts_are_an_option() {
        let tree = Tree::new(&[("proc/stat", "ctxt 1\nsoftirq 55 1 2 3 4 5 6 7 8 9 10\n")]);
        let given = [("softirq".to_owned(), OptionSetting::Bool(true))];
        let acc = collect(&mut Stat::new(&tree.roots(), Options::new(DEF.options, &given))).unwrap();
        assert_eq!(acc.number("softirqs_total", &["hi"]), Some(1.0));
        assert_eq!(acc.number("softirqs_total", &["rcu"]), Some(10.0));
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(content in soup(&["intr", "ctxt", "softirq", "btime", "processes"])) {
            let tree = Tree::new(&[]);
            tree.write("proc/stat", &content);
            let given = [("softirq".to_owned(), OptionSetting::Bool(true))];
            survives(&mut Stat::new(&tree.roots(), Options::new(DEF.options, &given)));
        }
    }
}
