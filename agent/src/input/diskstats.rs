//! Block devices: requests, bytes and times of each, and what udev knows about them.

mod about;

use std::time::{Duration, Instant};

use self::about::About;
use super::{CollectContext, Input, InputDef, InputError, Options, Pattern};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, OptionDef, OptionValue, Source, Unit},
    source::{File, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "diskstats",
    about: "Requests, bytes and times of each block device, and what kind of device it is.",
    prefix: "node_",
    source: Source::Files(&["proc:diskstats", "root:run/udev/data/b*", "sys:block/*/queue/rotational"]),
    cost: "one file of a line per block device; two small files per device every five minutes",
    metrics: &[
        &READS,
        &READS_MERGED,
        &READ_BYTES,
        &READ_TIME,
        &WRITES,
        &WRITES_MERGED,
        &WRITTEN_BYTES,
        &WRITE_TIME,
        &IO_NOW,
        &IO_TIME,
        &IO_TIME_WEIGHTED,
        &DISCARDS,
        &DISCARDS_MERGED,
        &DISCARDED_SECTORS,
        &DISCARD_TIME,
        &FLUSHES,
        &FLUSH_TIME,
        &INFO,
        &FILESYSTEM_INFO,
        &MAPPER_INFO,
        &ATA_WRITE_CACHE,
        &ATA_WRITE_CACHE_ENABLED,
        &ATA_ROTATION_RATE,
    ],
    options: &[OptionDef {
        key: "device_exclude",
        default: OptionValue::Regex(r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$"),
        help: "The devices that are left out.",
    }],
    open: |cx| Ok(Box::new(Diskstats::new(cx.roots, cx.options))),
};

/// Block devices of a large host that are not left out.
const DEVICE: Label = Label::bounded("device", 500);

const fn count(name: &'static str, help: &'static str) -> Metric {
    Metric::counter(name, help, &[DEVICE])
}

static READS: Metric = count("disk_reads_completed_total", "Reads that a device completed.");
static READS_MERGED: Metric =
    count("disk_reads_merged_total", "Reads that were merged with a neighbour before they reached a device.");
static READ_BYTES: Metric = count("disk_read_bytes_total", "Bytes that were read.").unit(Unit::Bytes);
static READ_TIME: Metric =
    count("disk_read_time_seconds_total", "Time that all reads together took.").unit(Unit::Seconds);
static WRITES: Metric = count("disk_writes_completed_total", "Writes that a device completed.");
static WRITES_MERGED: Metric = count(
    "disk_writes_merged_total",
    "Writes that were merged with a neighbour before they reached a device.",
);
static WRITTEN_BYTES: Metric =
    count("disk_written_bytes_total", "Bytes that were written.").unit(Unit::Bytes);
static WRITE_TIME: Metric =
    count("disk_write_time_seconds_total", "Time that all writes together took.").unit(Unit::Seconds);
static IO_NOW: Metric = Metric::gauge("disk_io_now", "Requests that a device is working on.", &[DEVICE]);
static IO_TIME: Metric =
    count("disk_io_time_seconds_total", "Time during which a device had anything to do.").unit(Unit::Seconds);
static IO_TIME_WEIGHTED: Metric = count(
    "disk_io_time_weighted_seconds_total",
    "Time that all requests together spent in a device and its queue.",
)
.unit(Unit::Seconds);
static DISCARDS: Metric = count("disk_discards_completed_total", "Discards that a device completed.");
static DISCARDS_MERGED: Metric = count(
    "disk_discards_merged_total",
    "Discards that were merged with a neighbour before they reached a device.",
);
static DISCARDED_SECTORS: Metric =
    count("disk_discarded_sectors_total", "Sectors of 512 bytes that were discarded.");
static DISCARD_TIME: Metric =
    count("disk_discard_time_seconds_total", "Time that all discards together took.").unit(Unit::Seconds);
static FLUSHES: Metric = count("disk_flush_requests_total", "Requests to flush that a device completed.");
static FLUSH_TIME: Metric =
    count("disk_flush_requests_time_seconds_total", "Time that all requests to flush together took.")
        .unit(Unit::Seconds);
static INFO: Metric = Metric::info(
    "disk_info",
    "What the kernel and udev say about a device.",
    &[
        DEVICE,
        Label::bounded("major", 1),
        Label::bounded("minor", 1),
        Label::bounded("path", 1),
        Label::bounded("wwn", 1),
        Label::bounded("model", 1),
        Label::bounded("serial", 1),
        Label::bounded("revision", 1),
        Label::fixed("rotational", &["0", "1"]),
    ],
);
static FILESYSTEM_INFO: Metric = Metric::info(
    "disk_filesystem_info",
    "What udev found on a device.",
    &[
        DEVICE,
        Label::bounded("type", 1),
        Label::bounded("usage", 1),
        Label::bounded("uuid", 1),
        Label::bounded("version", 1),
    ],
);
static MAPPER_INFO: Metric = Metric::info(
    "disk_device_mapper_info",
    "What udev says about a device of the device mapper.",
    &[
        DEVICE,
        Label::bounded("name", 1),
        Label::bounded("uuid", 1),
        Label::bounded("vg_name", 1),
        Label::bounded("lv_name", 1),
        Label::bounded("lv_layer", 1),
    ],
);
static ATA_WRITE_CACHE: Metric =
    Metric::gauge("disk_ata_write_cache", "Whether an ATA device has a write cache.", &[DEVICE]);
static ATA_WRITE_CACHE_ENABLED: Metric = Metric::gauge(
    "disk_ata_write_cache_enabled",
    "Whether the write cache of an ATA device is on.",
    &[DEVICE],
);
static ATA_ROTATION_RATE: Metric = Metric::gauge(
    "disk_ata_rotation_rate_rpm",
    "How often an ATA device rotates per minute, 0 for one that does not.",
    &[DEVICE],
);

const BYTES_PER_SECTOR: f64 = 512.0;
const SECONDS_PER_TICK: f64 = 0.001;

/// The numbers of a line, and what one of each is worth in the unit of its metric.
static COLUMNS: [(&Metric, f64); 17] = [
    (&READS, 1.0),
    (&READS_MERGED, 1.0),
    (&READ_BYTES, BYTES_PER_SECTOR),
    (&READ_TIME, SECONDS_PER_TICK),
    (&WRITES, 1.0),
    (&WRITES_MERGED, 1.0),
    (&WRITTEN_BYTES, BYTES_PER_SECTOR),
    (&WRITE_TIME, SECONDS_PER_TICK),
    (&IO_NOW, 1.0),
    (&IO_TIME, SECONDS_PER_TICK),
    (&IO_TIME_WEIGHTED, SECONDS_PER_TICK),
    (&DISCARDS, 1.0),
    (&DISCARDS_MERGED, 1.0),
    (&DISCARDED_SECTORS, 1.0),
    (&DISCARD_TIME, SECONDS_PER_TICK),
    (&FLUSHES, 1.0),
    (&FLUSH_TIME, SECONDS_PER_TICK),
];
/// How many numbers a line may have: as many as every kernel has, with discards (4.18), with flushes (5.5).
/// Longer lines are those of kernels to come.
const LENGTHS: [usize; 3] = [11, 15, 17];

/// How long what is known about a device is believed.
const KEPT: Duration = Duration::from_secs(300);
/// How often a device that udev does not know is asked for again at once: a new one may be faster than udev.
const PATIENCE: u8 = 3;

/// A device, in the order of the file.
#[derive(Debug)]
struct Device {
    name: Box<[u8]>,
    major: u32,
    minor: u32,
    /// Nothing for one that is left out.
    about: Option<About>,
    asked: u8,
}

/// Reads `/proc/diskstats`.
#[derive(Debug)]
pub struct Diskstats {
    roots: Roots,
    file: File,
    exclude: Pattern,
    devices: Vec<Device>,
    /// When all devices were last looked at.
    looked: Option<Instant>,
}

impl Diskstats {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots, options: Options<'_>) -> Self {
        Self {
            roots: roots.clone(),
            file: roots.proc("diskstats"),
            exclude: options.pattern("device_exclude"),
            devices: Vec::new(),
            looked: None,
        }
    }
}

impl Default for Diskstats {
    fn default() -> Self {
        Self::new(&Roots::default(), Options::new(DEF.options, &[]))
    }
}

impl Input for Diskstats {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let content = self.file.read()?;
        let refresh = self.looked.is_none_or(|at| cx.started.saturating_duration_since(at) >= KEPT);
        let mut count = 0;
        for line in content.lines() {
            let malformed = || content.malformed("a block device and its numbers", line);
            let small = |field| parse::number(field).and_then(|number| u32::try_from(number).ok());
            let mut fields = parse::fields(line);
            let major = fields.next().and_then(small).ok_or_else(malformed)?;
            let minor = fields.next().and_then(small).ok_or_else(malformed)?;
            let name = fields.next().ok_or_else(malformed)?;

            let is_this = |d: &Device| *d.name == *name && d.major == major && d.minor == minor;
            if !place(&mut self.devices, count, is_this) {
                let about = (!self.exclude.matches(name)).then(About::default);
                self.devices.insert(count, Device { name: name.into(), major, minor, about, asked: 0 });
            }
            let device = &mut self.devices[count];
            count += 1;
            let Some(about) = &mut device.about else { continue };

            let mut values = [0.0; COLUMNS.len()];
            let mut length = 0;
            for (slot, field) in values.iter_mut().zip(fields) {
                *slot = parse::number(field).ok_or_else(malformed)? as f64;
                length += 1;
            }
            // Partitions had lines of another form once.
            if !LENGTHS.contains(&length) {
                continue;
            }
            if refresh || (!about.is_known() && device.asked < PATIENCE) {
                *about = About::read(&self.roots, name, major, minor);
                device.asked = device.asked.saturating_add(1);
            }
            for ((metric, worth), value) in COLUMNS.iter().zip(values).take(length) {
                acc.put(metric, &[name], value * worth);
            }
            about.put(name, acc);
        }
        self.devices.truncate(count);
        if refresh {
            self.looked = Some(cx.started);
        }
        Ok(())
    }
}

/// Brings the device that is looked for to its place, as far as it is known: it stands there already unless
/// devices came or went.
fn place(devices: &mut [Device], at: usize, is_wanted: impl Fn(&Device) -> bool) -> bool {
    let found = devices.get(at..).and_then(|rest| rest.iter().position(is_wanted));
    if let Some(distance) = found.filter(|distance| *distance > 0) {
        devices.swap(at, at + distance);
    }
    found.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::{Tree, collect, few, now, soup, survives};

    fn input(tree: &Tree) -> Diskstats {
        Diskstats::new(&tree.roots(), Options::new(DEF.options, &[]))
    }

    const LINE: &str = "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n";

    #[test]
    fn numbers_get_the_units_of_their_metrics() {
        let tree = Tree::new(&[("proc/diskstats", LINE)]);
        let acc = collect(&mut input(&tree)).unwrap();
        assert_eq!(acc.number("disk_read_bytes_total", &["sda"]), Some(1536.0));
        assert_eq!(acc.number("disk_read_time_seconds_total", &["sda"]), Some(0.004));
        assert_eq!(acc.number("disk_io_now", &["sda"]), Some(9.0));
        assert_eq!(acc.number("disk_discards_completed_total", &["sda"]), None);
    }

    #[test]
    fn partitions_and_loop_devices_are_left_out() {
        let names = "sda sda1 nvme0n1 nvme0n1p2 loop0 ram7 zram0 fd0 vdb2 dm-0 mmcblk0p1 md127 sr0";
        let lines: String = names.split(' ').map(|name| LINE.replace("sda", name)).collect();
        let acc = collect(&mut input(&Tree::new(&[("proc/diskstats", &lines)]))).unwrap();
        let reads = acc.samples().iter().filter(|sample| sample.name == "disk_reads_completed_total");
        let devices: Vec<_> = reads.map(|sample| sample.labels[0].1.as_str()).collect();
        assert_eq!(devices, ["sda", "nvme0n1", "dm-0", "mmcblk0p1", "md127", "sr0"]);
    }

    #[test]
    fn lines_of_another_length_are_passed_over_and_others_are_errors() {
        let tree = Tree::new(&[("proc/diskstats", "8 1 dm-1 1 2 3 4\n")]);
        assert!(collect(&mut input(&tree)).unwrap().samples().is_empty());
        for bad in ["8 0\n", "8 x sda 1 2\n", "8 0 sda 1 2 x\n"] {
            assert!(collect(&mut input(&Tree::new(&[("proc/diskstats", bad)]))).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn udev_is_asked_for_new_devices_at_once_and_for_others_now_and_then() {
        let serial = |acc: &crate::accumulator::MemoryAccumulator| {
            acc.samples().iter().find(|s| s.name == "disk_info").unwrap().labels[6].1.clone()
        };
        let tree = Tree::new(&[("proc/diskstats", LINE)]);
        let mut input = input(&tree);
        assert_eq!(serial(&collect(&mut input).unwrap()), "");
        tree.write("run/udev/data/b8:0", b"E:ID_SERIAL=one\n");
        assert_eq!(serial(&collect(&mut input).unwrap()), "one");
        tree.write("run/udev/data/b8:0", b"E:ID_SERIAL=two\n");
        assert_eq!(serial(&collect(&mut input).unwrap()), "one");
        let mut acc = crate::accumulator::MemoryAccumulator::new();
        let mut later = now();
        later.started += KEPT;
        input.collect(&later, &mut acc).unwrap();
        assert_eq!(serial(&acc), "two");
        tree.write("run/udev/data/b8:16", b"E:ID_SERIAL=three\n");
        tree.write("proc/diskstats", LINE.replace("8 0", "8 16").as_bytes());
        assert_eq!(serial(&collect(&mut input).unwrap()), "three");
    }

    #[test]
    fn devices_may_come_go_and_change_places() {
        let tree = Tree::new(&[]);
        let mut input = input(&tree);
        for order in [&["a", "b", "c"][..], &["c", "a"], &["x", "c", "b", "a"], &["b"]] {
            let lines: String = order.iter().map(|name| LINE.replace("sda", name)).collect();
            tree.write("proc/diskstats", lines.as_bytes());
            collect(&mut input).unwrap();
            let known: Vec<_> = input.devices.iter().map(|d| str::from_utf8(&d.name).unwrap()).collect();
            assert_eq!(known, order);
        }
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(content in soup(&["\n8 0 sda", "1 2 3 4 5 6 7 8 9 10 11\n", "\n7 0 loop0"])) {
            let tree = Tree::new(&[]);
            tree.write("proc/diskstats", &content);
            survives(&mut input(&tree));
        }
    }
}
