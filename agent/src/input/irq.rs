//! Interrupts: run time of hard interrupt handlers, and when asked for of soft ones and how long those waited to run.
//!
//! A line goes by the name of its handlers, as in the last column of /proc/interrupts, and lines of one name
//! are one series: a line's number is given out anew at every boot, its handlers' names stay, on every host
//! that has the device. Interrupts that are no lines, such as the local timer's, have no handlers to time.

use std::{fs, ops::Range, path::PathBuf, sync::atomic::Ordering};

use pitot_common::{
    histogram::{SUM, Scale, TIME_SLOTS, ZERO, words},
    irq::{
        LINE_WORDS, LINES, NUMBERS, OTHER_LINE, Vector, cpu, header,
        vector::{self, RAISED, RUN, SLOTS, STARTED, WAIT},
    },
};

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{Opened, map::View},
    catalogue::{
        BpfDef, Buckets, Entries, Hook, KernelVersion, Label, MapDef, Metric, OptionDef, OptionValue,
        ProgramKind, Since, Source, UnderWay, Unit, Variant,
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "irq",
    about: "Run time of devices' interrupt handlers, counted in the kernel; run time and wait of soft interrupts when \
            asked for.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "two short programs per hard interrupt of a device, and 0.3 MiB of kernel memory; with softirqs three \
           per soft interrupt as well, and 10 KiB per CPU",
    metrics: &[&SOFTIRQ_SECONDS, &SOFTIRQ_WAIT_SECONDS, &HARDIRQ_SECONDS, &UNTIMED_TOTAL, &FOLDED_TOTAL],
    options: &[OptionDef {
        key: "softirqs",
        default: OptionValue::Bool(false),
        help: "Time soft interrupts as well, by vector: how long they run, and wait from being raised; each of them then pays for three programs, 2 to 3 % of a short exchange over TCP.",
    }],
    open: |cx| {
        let wanted = cx.options.bool("softirqs");
        let opened = cx.bpf.open(&BPF, |settings| settings.set(SOFTIRQS_ON, u32::from(wanted)))?;
        Ok(Box::new(Irq {
            cpus: opened.view("IRQ_CPU", opened.cpus(), cpu::WORDS)?,
            softirqs: if opened.is_on(SOFTIRQS_ON) {
                Some(opened.view("IRQ_SOFT", opened.cpus() * VECTORS, vector::WORDS)?)
            } else {
                None
            },
            banks: opened.view("IRQ_LINE", LINES, LINE_WORDS)?,
            header: opened.view("IRQ_HEADER", 1, header::WORDS)?,
            interrupts: cx.roots.procfs.join("interrupts"),
            lines: Vec::new(),
            known: [false; LINES as usize],
            runs: Histogram::new(SOFTIRQ_TIMES),
            waits: Histogram::new(SOFTIRQ_TIMES),
            line: Histogram::new(TIMES),
            opened,
        }))
    },
};

/// Whether soft interrupts are timed.
const SOFTIRQS_ON: &str = "SOFTIRQS_ON";

const VECTORS: u32 = 10;
const _: () = assert!(VECTORS as usize == Vector::COUNT);

/// When the line's handler that runs began to, and which line it is.
const LINE_MARKS: &[Range<usize>] = &[cpu::LINE_STARTED..cpu::LINE, cpu::LINE..cpu::UNTIMED_SOFTIRQS];
/// When what waits or runs began to.
const MARKS: &[Range<usize>] = &[RAISED..STARTED, STARTED..RUN];

static BPF: BpfDef = BpfDef {
    object: "irq",
    // Runs before raises: of a raise whose run was not seen, the time would be taken for the next one's.
    hooks: &[
        Hook {
            name: "softirq_entry",
            variants: &[
                Variant { program: "softirq_entry", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "softirq_entry_r", kind: ProgramKind::RawTp, loses: "" },
            ],
            when: SOFTIRQS_ON,
        },
        Hook {
            name: "softirq_exit",
            variants: &[
                Variant { program: "softirq_exit", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "softirq_exit_r", kind: ProgramKind::RawTp, loses: "" },
            ],
            when: SOFTIRQS_ON,
        },
        Hook {
            name: "softirq_raise",
            variants: &[
                Variant { program: "softirq_raise", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "softirq_raise_r", kind: ProgramKind::RawTp, loses: "" },
            ],
            when: SOFTIRQS_ON,
        },
        Hook {
            name: "irq_handler_entry",
            variants: &[
                Variant { program: "irq_entry", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "irq_entry_r", kind: ProgramKind::RawTp, loses: "" },
            ],
            when: "",
        },
        Hook {
            name: "irq_handler_exit",
            variants: &[
                Variant { program: "irq_exit", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "irq_exit_r", kind: ProgramKind::RawTp, loses: "" },
            ],
            when: "",
        },
    ],
    fields: &[],
    maps: &[
        MapDef { name: "IRQ_CPU", entries: Entries::PerCpu },
        MapDef { name: "IRQ_SOFT", entries: Entries::PerCpuTimes(VECTORS) },
        MapDef { name: "IRQ_LINE", entries: Entries::Fixed(LINES) },
        MapDef { name: "IRQ_HEADER", entries: Entries::Fixed(1) },
        MapDef { name: "IRQ_SLOT", entries: Entries::Fixed(NUMBERS) },
    ],
    shared: &[],
    under_way: &[
        UnderWay::Words { map: "IRQ_CPU", bank: cpu::WORDS, words: LINE_MARKS },
        UnderWay::Words { map: "IRQ_SOFT", bank: vector::WORDS, words: MARKS },
    ],
    // An atomic compare and exchange.
    oldest: Some(KernelVersion(5, 12)),
};

const TIMES: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -20, last: 0 };
const SOFTIRQ_TIMES: Buckets = Buckets { scale: Scale::NanosecondOctaves, slots: SLOTS, first: -20, last: 0 };

const VECTOR: &[Label] = &[Label::fixed("vector", Vector::LABELS)];

static SOFTIRQ_SECONDS: Metric = Metric::histogram(
    "irq_softirq_seconds",
    "Time that a soft interrupt ran, including the hard interrupts that came in between.",
    SOFTIRQ_TIMES,
    VECTOR,
)
.unit(Unit::Seconds)
.since(Since::Attach);

static SOFTIRQ_WAIT_SECONDS: Metric = Metric::histogram(
    "irq_softirq_wait_seconds",
    "Time from raising a soft interrupt, for the first time since its last run began, until it ran.",
    SOFTIRQ_TIMES,
    VECTOR,
)
.unit(Unit::Seconds)
.since(Since::Attach);

static HARDIRQ_SECONDS: Metric = Metric::histogram(
    "irq_hardirq_seconds",
    "Time that a handler of a device's hard interrupt ran, each one of a shared line by itself and without its thread, by the names of the line's handlers; not those of the processor itself, such as its timer.",
    TIMES,
    &[Label::bounded("irq", LINES)],
)
.unit(Unit::Seconds)
.since(Since::Attach);

static UNTIMED_TOTAL: Metric = Metric::counter(
    "irq_untimed_runs_total",
    "Runs in no histogram because their start was not seen, as of those that ran when counting began.",
    &[Label::fixed("kind", &["softirq", "hardirq"])],
)
.since(Since::Attach);

static FOLDED_TOTAL: Metric = Metric::counter(
    "irq_folded_runs_total",
    "Runs of hard interrupt handlers counted under the line other because all line slots were taken.",
    &[],
)
.since(Since::Attach);

struct Irq {
    opened: Opened,
    /// Marks by CPU.
    cpus: View,
    /// Banks of soft interrupts by CPU and vector, if they are timed.
    softirqs: Option<View>,
    /// Histograms of lines by slot.
    banks: View,
    header: View,
    interrupts: PathBuf,
    /// Name and slot of each line that has run, by name.
    lines: Vec<(Box<str>, usize)>,
    /// The slots that are in `lines`.
    known: [bool; LINES as usize],
    runs: Histogram,
    waits: Histogram,
    line: Histogram,
}

impl Irq {
    fn header(&self, word: usize) -> u64 {
        self.header.words()[word].load(Ordering::Relaxed)
    }

    /// Names the lines that ran for the first time since the last look: the only time that the file, long on
    /// a large host, is read. A number that goes to another device later keeps its name.
    fn learn_lines(&mut self) {
        let mut text = None;
        for slot in 0..OTHER_LINE as usize {
            let line = self.header(header::LINES + slot);
            if self.known[slot] || line == 0 {
                continue;
            }
            let text = text.get_or_insert_with(|| {
                String::from_utf8_lossy(&fs::read(&self.interrupts).unwrap_or_default()).into_owned()
            });
            let number = line - 1;
            self.learn(slot, handlers(text, number).map_or_else(|| number.to_string(), str::to_owned));
        }
        if self.header(header::FOLDED) > 0 && !self.known[OTHER_LINE as usize] {
            self.learn(OTHER_LINE as usize, "other".to_owned());
        }
    }

    fn learn(&mut self, slot: usize, name: String) {
        self.known[slot] = true;
        self.lines.push((name.into_boxed_str(), slot));
        self.lines.sort_unstable();
    }

    fn put_softirqs(&mut self, acc: &mut dyn Accumulator) {
        let Some(softirqs) = &self.softirqs else { return };
        for &vector in Vector::ALL {
            self.runs.clear();
            self.waits.clear();
            let mut has_run = false;
            let banks = softirqs.words().chunks_exact(vector::WORDS);
            for bank in banks.skip(vector.index()).step_by(Vector::COUNT) {
                let is_used = |word: usize| bank[word].load(Ordering::Relaxed) > 0;
                if is_used(RUN + SUM) || is_used(RUN + ZERO) {
                    has_run = true;
                    self.runs.merge(&bank[RUN..][..words(SLOTS)]);
                    self.waits.merge(&bank[WAIT..][..words(SLOTS)]);
                }
            }
            if has_run {
                let labels = &[vector.label().as_bytes()];
                acc.put(&SOFTIRQ_SECONDS, labels, &self.runs);
                acc.put(&SOFTIRQ_WAIT_SECONDS, labels, &self.waits);
            }
        }
        acc.put(&UNTIMED_TOTAL, &[b"softirq"], self.cpus.sum(cpu::WORDS, cpu::UNTIMED_SOFTIRQS));
    }

    fn put_hardirqs(&mut self, acc: &mut dyn Accumulator) {
        for same_name in self.lines.chunk_by(|a, b| a.0 == b.0) {
            self.line.clear();
            for (_, slot) in same_name {
                self.line.merge(&self.banks.words()[slot * LINE_WORDS..][..words(TIME_SLOTS)]);
            }
            acc.put(&HARDIRQ_SECONDS, &[same_name[0].0.as_bytes()], &self.line);
        }
    }
}

/// The names of a line's handlers, as /proc/interrupts joins them: what follows the last two spaces. Before
/// them is a column of unknown make that is filled up with spaces where no handler follows.
fn handlers(interrupts: &str, number: u64) -> Option<&str> {
    let rest = interrupts.lines().find_map(|line| {
        let (label, rest) = line.split_once(':')?;
        (label.trim_start().parse() == Ok(number)).then_some(rest)
    })?;
    let (_, names) = rest.rsplit_once("  ")?;
    (!names.is_empty() && !names.ends_with(' ')).then_some(names)
}

impl Input for Irq {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.learn_lines();
        self.put_softirqs(acc);
        self.put_hardirqs(acc);
        acc.put(&UNTIMED_TOTAL, &[b"hardirq"], self.cpus.sum(cpu::WORDS, cpu::UNTIMED_HARDIRQS));
        acc.put(&FOLDED_TOTAL, &[], self.header(header::FOLDED));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const X86: &str = concat!(
        "           CPU0       CPU1       \n",
        "  0:         36          0  IR-IO-APIC   2-edge      timer\n",
        "  4:          1          0  IR-IO-APIC   4-edge    \n",
        " 16:          0          9  IR-IO-APIC  16-fasteoi   ehci_hcd:usb1, uhci_hcd:usb3\n",
        " 24:          0          9 IR-PCI-MSIX-0000:01:00.0   1-edge      mlx5_comp0@pci:0000:01:00.0\n",
        "NMI:          0          0   Non-maskable interrupts\n",
    );
    const ARM: &str = concat!(
        "           CPU0       CPU1       \n",
        " 11:      11163       9123     GICv3  27 Level     arch_timer\n",
        " 14:          3          0 Phytium MSI 524288 Edge      PCIe PME\n",
        " 15:          3          0     GICv3  33 Level   \n",
        "IPI0:      1163       2391       Rescheduling interrupts\n",
    );

    #[test]
    fn a_line_goes_by_its_handlers() {
        assert_eq!(handlers(X86, 0), Some("timer"));
        assert_eq!(handlers(X86, 16), Some("ehci_hcd:usb1, uhci_hcd:usb3"));
        assert_eq!(handlers(X86, 24), Some("mlx5_comp0@pci:0000:01:00.0"));
        assert_eq!(handlers(ARM, 11), Some("arch_timer"));
        assert_eq!(handlers(ARM, 14), Some("PCIe PME"));
    }

    #[test]
    fn a_line_without_handlers_or_that_is_gone_has_no_name() {
        assert_eq!(handlers(X86, 4), None);
        assert_eq!(handlers(ARM, 15), None);
        assert_eq!(handlers(X86, 99), None);
        assert_eq!(handlers("", 0), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[ 0-9:a-z\n]{0,80}", number in 0u64..30) {
            if let Some(names) = handlers(&text, number) {
                prop_assert!(!names.is_empty() && !names.contains("  "));
            }
        }
    }
}
