//! Block I/O: queue time, device time and size of every request, by device and operation.

use std::{path::PathBuf, sync::atomic::Ordering};

use aya::maps::{HashMap, MapData};
use pitot_common::{
    block::{
        BANK_WORDS, BANKS, BYTES, DEVICES, IN_FLIGHT, IO, OTHER_DEVICE, Operation, QUEUE, REQUESTS, header,
    },
    histogram::{SIZE_SLOTS, Scale, TIME_SLOTS, words},
};

use super::{CollectContext, Input, InputDef, InputError, Unsupported};
use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{Opened, map::View},
    catalogue::{
        BpfDef, Buckets, Entries, Field, Hook, KernelVersion, Label, MapDef, Metric, ProgramKind, Since,
        Source, UnderWay, Unit, Variant,
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "block",
    about: "Queue time, device time and size of block requests, counted in the kernel.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "two programs and a table entry per request; 2.4 MiB of kernel memory",
    metrics: &[&IO_SECONDS, &QUEUE_SECONDS, &IO_BYTES, &UNTIMED_TOTAL, &FOLDED_TOTAL],
    options: &[],
    open: |cx| {
        let mut opened = cx.bpf.open(&BPF, |_| {})?;
        let devices = aya::maps::Map::HashMap(opened.take_map("BLOCK_DEVICE")?);
        Ok(Box::new(Block {
            banks: opened.view("BLOCK", BANKS, BANK_WORDS)?,
            header: opened.view("BLOCK_HEADER", 1, header::WORDS)?,
            devices: HashMap::try_from(devices).map_err(|error| Unsupported(error.to_string()))?,
            sys_dev: cx.roots.sysfs.join("dev/block"),
            names: vec![None; DEVICES as usize],
            known: 0,
            looks_left: 0,
            times: Histogram::new(TIMES),
            sizes: Histogram::new(SIZES),
            opened,
        }))
    },
};

static BPF: BpfDef = BpfDef {
    object: "block",
    hooks: &[
        Hook {
            name: "block_rq_issue",
            variants: &[Variant { program: "block_issue", kind: ProgramKind::TpBtf, loses: "" }],
            when: "",
        },
        Hook {
            name: "block_rq_complete",
            variants: &[Variant { program: "block_complete", kind: ProgramKind::TpBtf, loses: "" }],
            when: "",
        },
    ],
    fields: &[
        Field { setting: "RQ_START", paths: &["request.start_time_ns"], loses: "" },
        Field { setting: "RQ_FLAGS", paths: &["request.cmd_flags"], loses: "" },
        Field { setting: "RQ_LENGTH", paths: &["request.__data_len"], loses: "" },
        Field { setting: "RQ_QUEUE", paths: &["request.q"], loses: "" },
        Field { setting: "QUEUE_DISK", paths: &["request_queue.disk"], loses: "" },
        Field { setting: "DISK_MAJOR", paths: &["gendisk.major"], loses: "" },
        Field { setting: "DISK_MINOR", paths: &["gendisk.first_minor"], loses: "" },
    ],
    maps: &[
        MapDef { name: "BLOCK", entries: Entries::Fixed(BANKS) },
        MapDef { name: "BLOCK_HEADER", entries: Entries::Fixed(1) },
        MapDef { name: "BLOCK_DEVICE", entries: Entries::Fixed(DEVICES) },
        MapDef { name: "BLOCK_START", entries: Entries::Fixed(IN_FLIGHT) },
    ],
    shared: &[],
    under_way: &[UnderWay::Map("BLOCK_START")],
    // An atomic add that returns what was there (5.12), and `request_queue.disk`.
    oldest: Some(KernelVersion(5, 15)),
};

const TIMES: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -20, last: 4 };
const SIZES: Buckets = Buckets { scale: Scale::Bytes, slots: SIZE_SLOTS, first: 9, last: 24 };

const LABELS: &[Label] = &[Label::bounded("device", DEVICES), Label::fixed("operation", Operation::LABELS)];

static IO_SECONDS: Metric = Metric::histogram(
    "block_io_seconds",
    "Time that the device took for a request, from being handed to the driver until completed.",
    TIMES,
    LABELS,
)
.unit(Unit::Seconds)
.since(Since::Attach);

static QUEUE_SECONDS: Metric = Metric::histogram(
    "block_queue_seconds",
    "Time that a request spent in the kernel's queues before it was handed to the driver.",
    TIMES,
    LABELS,
)
.unit(Unit::Seconds)
.since(Since::Attach);

static IO_BYTES: Metric = Metric::histogram(
    "block_io_bytes",
    "Size of a completed request as it was handed to the driver.",
    SIZES,
    LABELS,
)
.unit(Unit::Bytes)
.since(Since::Attach);

static UNTIMED_TOTAL: Metric = Metric::counter(
    "block_untimed_requests_total",
    "Completed requests in no histogram: issued before counting began, or the table of requests in flight was full.",
    &[Label::fixed("reason", &["before_attach", "table_full"])],
)
.since(Since::Attach);

static FOLDED_TOTAL: Metric = Metric::counter(
    "block_folded_requests_total",
    "Requests counted under the device other because all device slots were taken.",
    &[],
)
.since(Since::Attach);

struct Block {
    opened: Opened,
    banks: View,
    header: View,
    devices: HashMap<MapData, u32, u32>,
    sys_dev: PathBuf,
    /// Device names by slot.
    names: Vec<Option<Box<str>>>,
    /// Slots handed out when the names were last looked up.
    known: u64,
    /// How often to look again although no slot was handed out.
    looks_left: u32,
    times: Histogram,
    sizes: Histogram,
}

impl Block {
    fn header(&self, word: usize) -> u64 {
        self.header.words()[word].load(Ordering::Relaxed)
    }

    /// Names the devices that got a slot since the last look. Slots are few and never given back.
    fn learn_names(&mut self) {
        let handed_out = self.header(header::NEXT_DEVICE).min(u64::from(OTHER_DEVICE));
        // A slot is handed out a moment before its device stands in the table; one for which two CPUs
        // competed is nobody's, and is looked for a few times only.
        if handed_out == self.known && self.looks_left == 0 {
            return;
        }
        self.looks_left = if handed_out == self.known { self.looks_left - 1 } else { 3 };
        self.known = handed_out;
        for (device, slot) in self.devices.iter().flatten() {
            if let Some(name) = self.names.get_mut(slot as usize)
                && name.is_none()
            {
                *name = Some(device_name(&self.sys_dev, device).into_boxed_str());
            }
        }
    }
}

/// The kernel's name of a device, or its number where sysfs does not tell.
fn device_name(sys_dev: &std::path::Path, device: u32) -> String {
    let number = format!("{}:{}", device >> 20, device & 0xf_ffff);
    let link = std::fs::read_link(sys_dev.join(&number)).ok();
    // sysfs writes '!' where a device name has '/'.
    let name = link.as_deref().and_then(|l| l.file_name()).map(|n| n.to_string_lossy().replace('!', "/"));
    name.unwrap_or(number)
}

impl Input for Block {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.learn_names();
        let folded = self.header(header::FOLDED) > 0;
        for (number, bank) in self.banks.words().chunks_exact(BANK_WORDS).enumerate() {
            // Banks of slots that nobody has are not even looked at: their pages would take memory.
            let slot = number / Operation::COUNT;
            if self.names[slot].is_none() && !(folded && slot == OTHER_DEVICE as usize) {
                continue;
            }
            if bank[REQUESTS].load(Ordering::Relaxed) == 0 {
                continue;
            }
            let operation = Operation::ALL[number % Operation::COUNT];
            let device = self.names[slot].as_deref().map_or(&b"other"[..], str::as_bytes);
            let labels = &[device, operation.label().as_bytes()];
            for (metric, at) in [(&IO_SECONDS, IO), (&QUEUE_SECONDS, QUEUE)] {
                self.times.clear();
                self.times.merge(&bank[at..at + words(TIME_SLOTS)]);
                if self.times.count() > 0 {
                    acc.put(metric, labels, &self.times);
                }
            }
            self.sizes.clear();
            self.sizes.merge(&bank[BYTES..BYTES + words(SIZE_SLOTS)]);
            acc.put(&IO_BYTES, labels, &self.sizes);
        }
        acc.put(&UNTIMED_TOTAL, &[b"before_attach"], self.header(header::UNSEEN));
        acc.put(&UNTIMED_TOTAL, &[b"table_full"], self.header(header::LOST));
        acc.put(&FOLDED_TOTAL, &[], self.header(header::FOLDED));
        Ok(())
    }
}
