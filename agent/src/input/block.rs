//! Block I/O: queue time, device time and size of every request, by device and operation; how many are in flight;
//! and what was done for each cgroup.

mod devices;
mod disks;

use std::sync::atomic::{AtomicU64, Ordering};

use pitot_common::{
    block::{
        BANK_WORDS, BANKS, BYTES, DONE, IN_FLIGHT, IO, ISSUED, Operation, QUEUE, REQUESTS, device, header,
        owner,
    },
    histogram::{SIZE_SLOTS, Scale, TIME_SLOTS, words},
    owner as owners,
};

use self::devices::Devices;
use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{
        Opened,
        map::View,
        owner::{OWNER_MAPS, Owners, Place},
    },
    catalogue::{
        BpfDef, Buckets, Entries, Field, Hook, KernelVersion, Label, MapDef, Metric, ProgramKind, Since,
        Source, UnderWay, Unit, Variant,
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "block",
    about: "Queue time, device time and size of block requests, and what cgroups had of them, counted in the kernel.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "two programs and a table entry per request; 2.8 MiB of kernel memory",
    metrics: &[
        &IO_SECONDS,
        &QUEUE_SECONDS,
        &IO_BYTES,
        &STILL_IN_FLIGHT,
        &CGROUP_REQUESTS_TOTAL,
        &CGROUP_BYTES_TOTAL,
        &UNTIMED_TOTAL,
        &FOLDED_TOTAL,
    ],
    options: &[],
    open: |cx| {
        let opened = cx.bpf.open(&BPF, |settings| {
            settings.set("BIO_OWNER", u32::from(settings.has(BIO_OWNER)));
        })?;
        let owners = cx.bpf.owners(&opened)?;
        owners.clean_up(opened.writable_view("BLOCK_OWNER", owners::BANKS, owner::WORDS)?, PLACE);
        let table = opened.writable_view("BLOCK_DEVICE", 1, device::TABLE_WORDS)?;
        let banks = opened.writable_view("BLOCK", BANKS, BANK_WORDS)?;
        Ok(Box::new(Block {
            devices: Devices::new(table, banks, &cx.roots.sysfs, opened.is_keeper()),
            banks: opened.view("BLOCK", BANKS, BANK_WORDS)?,
            header: opened.view("BLOCK_HEADER", 1, header::WORDS)?,
            owners,
            by_owner: opened.view("BLOCK_OWNER", owners::BANKS, owner::WORDS)?,
            times: Histogram::new(TIMES),
            sizes: Histogram::new(SIZES),
            opened,
        }))
    },
};

/// Fields that say whose a bio is.
const BIO_OWNER: &[&str] = &[
    "RQ_BIO",
    "BIO_GROUP",
    "GROUP_BLKCG",
    "BLKCG_CGROUP",
    "CGROUP_ROOT",
    "ROOT_HIERARCHY",
    "CGROUP_LEVEL",
    "CGROUP_NODE",
    "NODE_ID",
];
/// What is lost without them.
const NO_BIO_OWNER: &str = "cgroups of delayed writes";

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
        Field { setting: "DISK_SEQUENCE", paths: &["gendisk.diskseq"], loses: "" },
        Field { setting: "RQ_BIO", paths: &["request.bio"], loses: NO_BIO_OWNER },
        Field { setting: "BIO_GROUP", paths: &["bio.bi_blkg"], loses: NO_BIO_OWNER },
        Field { setting: "GROUP_BLKCG", paths: &["blkcg_gq.blkcg"], loses: NO_BIO_OWNER },
        Field { setting: "BLKCG_CGROUP", paths: &["blkcg.css.cgroup"], loses: NO_BIO_OWNER },
        Field { setting: "CGROUP_ROOT", paths: &["cgroup.root"], loses: NO_BIO_OWNER },
        Field { setting: "ROOT_HIERARCHY", paths: &["cgroup_root.hierarchy_id"], loses: NO_BIO_OWNER },
        Field { setting: "CGROUP_LEVEL", paths: &["cgroup.level"], loses: NO_BIO_OWNER },
        Field { setting: "CGROUP_NODE", paths: &["cgroup.kn"], loses: NO_BIO_OWNER },
        Field { setting: "NODE_ID", paths: &["kernfs_node.id"], loses: NO_BIO_OWNER },
    ],
    maps: &[
        MapDef { name: "BLOCK", entries: Entries::Fixed(BANKS) },
        MapDef { name: "BLOCK_OWNER", entries: Entries::Fixed(owners::BANKS) },
        MapDef { name: "BLOCK_HEADER", entries: Entries::Fixed(1) },
        MapDef { name: "BLOCK_DEVICE", entries: Entries::Fixed(1) },
        MapDef { name: "BLOCK_START", entries: Entries::Fixed(IN_FLIGHT) },
    ],
    shared: OWNER_MAPS,
    under_way: &[
        UnderWay::Map("BLOCK_START"),
        UnderWay::Words { map: "BLOCK", bank: BANK_WORDS, words: &[ISSUED..ISSUED + 1, DONE..DONE + 1] },
    ],
    // Taking a slot with a compare-and-swap (5.12), and `request_queue.disk`.
    oldest: Some(KernelVersion(5, 15)),
};

const TIMES: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -20, last: 4 };
const SIZES: Buckets = Buckets { scale: Scale::Bytes, slots: SIZE_SLOTS, first: 9, last: 24 };

/// The devices with slots of their own, and the others.
const DEVICE: Label = Label::bounded("device", device::SLOTS + 1);
const OPERATION: Label = Label::fixed("operation", Operation::LABELS);
const LABELS: &[Label] = &[DEVICE, OPERATION];

/// Where the banks of owners are.
const PLACE: Place = Place::banks(owner::WORDS);
const BY_OWNER: &[Label] = &[Label::bounded("cgroup", owners::SLOTS + 1), OPERATION];

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

static STILL_IN_FLIGHT: Metric = Metric::gauge(
    "block_in_flight",
    "Requests that were handed to the driver and are not completed; none of those from before counting began.",
    &[DEVICE],
);

static CGROUP_REQUESTS_TOTAL: Metric = Metric::counter(
    "block_cgroup_requests_total",
    "Completed requests by the cgroup of their data (io controller of version 2), otherwise of the task that handed them to the driver.",
    BY_OWNER,
)
.since(Since::Attach);

static CGROUP_BYTES_TOTAL: Metric = Metric::counter(
    "block_cgroup_bytes_total",
    "Bytes of completed requests by the cgroup of their data (io controller of version 2), otherwise of the task that handed them to the driver.",
    BY_OWNER,
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
    devices: Devices,
    banks: View,
    header: View,
    owners: Owners,
    by_owner: View,
    times: Histogram,
    sizes: Histogram,
}

impl Block {
    fn header(&self, word: usize) -> u64 {
        self.header.words()[word].load(Ordering::Relaxed)
    }
}

impl Input for Block {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.devices.look(cx.started);
        let Self { devices, banks, times, sizes, .. } = self;
        let mut deliver = Deliver { banks, times, sizes, acc };
        for (slot, name) in devices.named() {
            deliver.device(name, || [slot].into_iter());
        }
        deliver.device(b"other", || devices.others());
        self.owners.sums(cx.started, &self.by_owner, PLACE, |cgroup, sums: &[u64; owner::COUNTERS]| {
            for operation in Operation::ALL {
                let [requests, bytes] =
                    [owner::REQUESTS, owner::BYTES].map(|word| sums[word + operation.index()]);
                if requests > 0 {
                    let labels = &[cgroup, operation.label().as_bytes()];
                    acc.put(&CGROUP_REQUESTS_TOTAL, labels, requests);
                    acc.put(&CGROUP_BYTES_TOTAL, labels, bytes);
                }
            }
        });
        acc.put(&UNTIMED_TOTAL, &[b"before_attach"], self.header(header::UNSEEN));
        acc.put(&UNTIMED_TOTAL, &[b"table_full"], self.header(header::LOST));
        acc.put(&FOLDED_TOTAL, &[], self.header(header::FOLDED));
        Ok(())
    }
}

/// Delivers what some slots counted as one device.
struct Deliver<'a> {
    banks: &'a View,
    times: &'a mut Histogram,
    sizes: &'a mut Histogram,
    acc: &'a mut dyn Accumulator,
}

impl Deliver<'_> {
    fn device<S: Iterator<Item = u32>>(&mut self, name: &[u8], slots: impl Fn() -> S) {
        // What ends while this is read must not end before it began.
        let done = self.sum(slots(), DONE);
        let issued = self.sum(slots(), ISSUED);
        for operation in Operation::ALL {
            self.operation(name, *operation, &slots);
        }
        if issued > 0 {
            self.acc.put(&STILL_IN_FLIGHT, &[name], issued.saturating_sub(done));
        }
    }

    fn operation<S: Iterator<Item = u32>>(
        &mut self,
        name: &[u8],
        operation: Operation,
        slots: impl Fn() -> S,
    ) {
        let used = || {
            let banks = slots().map(|slot| bank(self.banks, slot, operation));
            banks.filter(|bank| bank[REQUESTS].load(Ordering::Relaxed) > 0)
        };
        let labels = &[name, operation.label().as_bytes()];
        for (metric, at) in [(&IO_SECONDS, IO), (&QUEUE_SECONDS, QUEUE)] {
            self.times.clear();
            used().for_each(|bank| self.times.merge(&bank[at..at + words(TIME_SLOTS)]));
            if self.times.count() > 0 {
                self.acc.put(metric, labels, &*self.times);
            }
        }
        self.sizes.clear();
        used().for_each(|bank| self.sizes.merge(&bank[BYTES..BYTES + words(SIZE_SLOTS)]));
        if self.sizes.count() > 0 {
            self.acc.put(&IO_BYTES, labels, &*self.sizes);
        }
    }

    /// The sum of a word over the operations of some slots.
    fn sum(&self, slots: impl Iterator<Item = u32>, word: usize) -> u64 {
        let word = |slot, operation| bank(self.banks, slot, operation)[word].load(Ordering::Acquire);
        slots.map(|slot| Operation::ALL.iter().map(|&operation| word(slot, operation)).sum::<u64>()).sum()
    }
}

/// The bank of a device's slot and an operation.
fn bank(banks: &View, slot: u32, operation: Operation) -> &[AtomicU64] {
    let at = (slot as usize * Operation::COUNT + operation.index()) * BANK_WORDS;
    &banks.words()[at..at + BANK_WORDS]
}
