//! Network devices and disks, each read from short files of its own.

use std::{fs, marker::PhantomData, path::PathBuf};

use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, Unit},
    input::{InputError, Pattern},
    source::{File, NumberFile, Roots, SourceError, parse},
};

pub(super) static NETWORK_BYTES: Metric = Metric::counter(
    "network_bytes_total",
    "Bytes of network devices, by direction.",
    &[Label::bounded("device", 64), Label::fixed("direction", &["receive", "transmit"])],
)
.unit(Unit::Bytes);

pub(super) static DISK_BUSY_SECONDS: Metric = Metric::counter(
    "disk_busy_seconds_total",
    "Time in which a disk had requests to work on.",
    &[Label::bounded("device", 64)],
)
.unit(Unit::Seconds);

pub(super) static DISK_BYTES: Metric = Metric::counter(
    "disk_bytes_total",
    "Bytes of disks, by direction.",
    &[Label::bounded("device", 64), Label::fixed("direction", &["read", "write"])],
)
.unit(Unit::Bytes);

/// Bytes of a sector, which the kernel counts in whatever the disk has.
const SECTOR: u64 = 512;

/// A kind of device.
pub(super) trait Device: Sized {
    /// Where sysfs lists them.
    const FOLDER: &'static str;

    /// One of them, by its folder.
    fn new(folder: PathBuf) -> Self;

    /// Delivers its counters.
    fn collect(&mut self, name: &[u8], acc: &mut dyn Accumulator) -> Result<(), SourceError>;
}

/// All devices of a kind that are read.
pub(super) struct Devices<D> {
    folder: PathBuf,
    wanted: Pattern,
    known: Vec<(String, D)>,
    kind: PhantomData<D>,
}

impl<D: Device> Devices<D> {
    pub(super) fn new(roots: &Roots, wanted: Pattern) -> Self {
        Self { folder: roots.sysfs.join(D::FOLDER), wanted, known: Vec::new(), kind: PhantomData }
    }

    /// Looks which devices there are.
    pub(super) fn survey(&mut self) {
        let mut names: Vec<String> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| self.is_wanted(name))
            .collect();
        names.sort_unstable();
        self.known.retain(|(name, _)| names.binary_search(name).is_ok());
        for name in names {
            if let Err(at) = self.known.binary_search_by(|(known, _)| known.cmp(&name)) {
                let device = D::new(self.folder.join(&name));
                self.known.insert(at, (name, device));
            }
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        if self.wanted.is_set() {
            self.wanted.matches(name.as_bytes())
        } else {
            self.folder.join(name).join("device").exists()
        }
    }

    /// Delivers the counters of all. A device that has just gone has none.
    pub(super) fn collect(&mut self, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let mut failed = None;
        self.known.retain_mut(|(name, device)| match device.collect(name.as_bytes(), acc) {
            Err(error) if error.is_missing() => false,
            Err(error) => {
                failed.get_or_insert(error);
                true
            }
            Ok(()) => true,
        });
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

pub(super) struct Interface {
    received: NumberFile,
    transmitted: NumberFile,
}

impl Device for Interface {
    const FOLDER: &'static str = "class/net";

    fn new(folder: PathBuf) -> Self {
        let file = |name| NumberFile::new(folder.join("statistics").join(name));
        Self { received: file("rx_bytes"), transmitted: file("tx_bytes") }
    }

    fn collect(&mut self, name: &[u8], acc: &mut dyn Accumulator) -> Result<(), SourceError> {
        let (received, transmitted) = (self.received.read()?, self.transmitted.read()?);
        acc.put(&NETWORK_BYTES, &[name, b"receive"], received);
        acc.put(&NETWORK_BYTES, &[name, b"transmit"], transmitted);
        Ok(())
    }
}

pub(super) struct Disk {
    stat: File,
}

impl Device for Disk {
    const FOLDER: &'static str = "block";

    fn new(folder: PathBuf) -> Self {
        Self { stat: File::new(folder.join("stat")) }
    }

    fn collect(&mut self, name: &[u8], acc: &mut dyn Accumulator) -> Result<(), SourceError> {
        let content = self.stat.read()?;
        let mut numbers = [0; 10];
        let mut fields = parse::fields(content.bytes().trim_ascii());
        for number in &mut numbers {
            let field = fields.next().and_then(parse::number);
            *number = field.ok_or_else(|| content.malformed("the numbers of a disk", content.bytes()))?;
        }
        let [_, _, read, _, _, _, written, _, _, busy_millis] = numbers;
        acc.put(&DISK_BUSY_SECONDS, &[name], busy_millis as f64 / 1e3);
        acc.put(&DISK_BYTES, &[name, b"read"], read * SECTOR);
        acc.put(&DISK_BYTES, &[name, b"write"], written * SECTOR);
        Ok(())
    }
}
