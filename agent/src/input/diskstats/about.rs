//! What udev's database and `/sys/block` say about a device. It is read seldom and kept as the labels that
//! come of it.

use std::{fs, path::Path};

use super::{
    ATA_ROTATION_RATE, ATA_WRITE_CACHE, ATA_WRITE_CACHE_ENABLED, FILESYSTEM_INFO, INFO, MAPPER_INFO,
};
use crate::{
    accumulator::Accumulator,
    catalogue::Metric,
    source::{NumberFile, Roots, parse},
};

/// Where udev keeps its database. Trees that were copied from a host may have it at the top.
const DATABASES: [&str; 2] = ["run/udev/data", "udev/data"];

const FILESYSTEM: [&[u8]; 4] = [b"ID_FS_TYPE", b"ID_FS_USAGE", b"ID_FS_UUID", b"ID_FS_VERSION"];
const MAPPER: [&[u8]; 5] = [b"DM_NAME", b"DM_UUID", b"DM_VG_NAME", b"DM_LV_NAME", b"DM_LV_LAYER"];
/// Best first: that which is printed on the disk, and at the end that of virtual disks.
const SERIALS: [&[u8]; 3] = [b"SCSI_IDENT_SERIAL", b"ID_SERIAL_SHORT", b"ID_SERIAL"];
const ATA: [(&[u8], &Metric); 3] = [
    (b"ID_ATA_WRITE_CACHE", &ATA_WRITE_CACHE),
    (b"ID_ATA_WRITE_CACHE_ENABLED", &ATA_WRITE_CACHE_ENABLED),
    (b"ID_ATA_ROTATION_RATE_RPM", &ATA_ROTATION_RATE),
];

type Text = Box<[u8]>;

/// What is known about a device.
#[derive(Debug, Default)]
pub(super) struct About {
    is_known: bool,
    info: [Text; 8],
    filesystem: Option<[Text; FILESYSTEM.len()]>,
    mapper: Option<[Text; MAPPER.len()]>,
    ata: Vec<(&'static Metric, f64)>,
}

impl About {
    /// Asks udev and the kernel.
    pub(super) fn read(roots: &Roots, name: &[u8], major: u32, minor: u32) -> Self {
        let record = format!("b{major}:{minor}");
        let record = DATABASES
            .iter()
            .find_map(|database| fs::read(roots.root(Path::new(database)).join(&record)).ok());
        let properties = Properties(record.as_deref().unwrap_or_default());

        let serial = SERIALS.iter().map(|key| properties.get(key)).find(|serial| !serial.is_empty());
        let any_of = |values: &[&[u8]]| values.iter().any(|value| !value.is_empty());
        let filesystem = FILESYSTEM.map(|key| properties.get(key));
        let mapper = MAPPER.map(|key| properties.get(key));
        let ata = ATA.iter().filter(|_| any_of(&[properties.get(b"ID_ATA")]));
        Self {
            is_known: record.is_some(),
            info: [
                major.to_string().as_bytes(),
                minor.to_string().as_bytes(),
                properties.get(b"ID_PATH"),
                properties.get(b"ID_WWN"),
                properties.get(b"ID_MODEL"),
                serial.unwrap_or_default(),
                properties.get(b"ID_REVISION"),
                if is_rotational(roots, name) { b"1" } else { b"0" },
            ]
            .map(Text::from),
            filesystem: any_of(&filesystem[..1]).then(|| filesystem.map(Text::from)),
            mapper: any_of(&mapper[..1]).then(|| mapper.map(Text::from)),
            ata: ata
                .filter_map(|(key, metric)| Some((*metric, parse::float(properties.get(key))?)))
                .collect(),
        }
    }

    /// Whether udev had a record of it.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Delivers it under the name of the device.
    pub(super) fn put(&self, device: &[u8], acc: &mut dyn Accumulator) {
        let [major, minor, path, wwn, model, serial, revision, rotational] = &self.info;
        acc.put(&INFO, &[device, major, minor, path, wwn, model, serial, revision, rotational], 1.0);
        if let Some([kind, usage, uuid, version]) = &self.filesystem {
            acc.put(&FILESYSTEM_INFO, &[device, kind, usage, uuid, version], 1.0);
        }
        if let Some([name, uuid, vg_name, lv_name, lv_layer]) = &self.mapper {
            acc.put(&MAPPER_INFO, &[device, name, uuid, vg_name, lv_name, lv_layer], 1.0);
        }
        for (metric, value) in &self.ata {
            acc.put(metric, &[device], *value);
        }
    }
}

/// A record of udev's database: lines such as `E:ID_MODEL=X`, beside others.
struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// A property; empty without one.
    fn get(&self, key: &[u8]) -> &'a [u8] {
        let value = |line: &'a [u8]| line.strip_prefix(b"E:")?.strip_prefix(key)?.strip_prefix(b"=");
        // The last one counts.
        parse::lines(self.0).filter_map(value).last().unwrap_or_default()
    }
}

/// Whether it has to wait for a disk to turn. Partitions have no queue of their own and count as not turning.
fn is_rotational(roots: &Roots, name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    // The kernel shows `cciss/c0d0` as `cciss!c0d0`.
    let path = roots.sysfs.join("block").join(name.replace('/', "!")).join("queue/rotational");
    matches!(NumberFile::new(path).read(), Ok(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        accumulator::MemoryAccumulator,
        input::testing::{Tree, few, soup},
    };

    fn about(record: &[u8]) -> MemoryAccumulator {
        let tree = Tree::new(&[("sys/block/sda/queue/rotational", "1\n")]);
        tree.write("udev/data/b8:0", record);
        let mut acc = MemoryAccumulator::new();
        About::read(&tree.roots(), b"sda", 8, 0).put(b"sda", &mut acc);
        acc
    }

    #[test]
    fn the_best_serial_is_taken() {
        for (record, serial) in [
            ("E:ID_SERIAL=long\nE:ID_SERIAL_SHORT=short\nE:SCSI_IDENT_SERIAL=printed\n", "printed"),
            ("E:ID_SERIAL=long\nE:ID_SERIAL_SHORT=short\nE:SCSI_IDENT_SERIAL=\n", "short"),
            ("E:ID_SERIAL=a=b\nS:ID_SERIAL_SHORT=x\n", "a=b"),
            ("", ""),
        ] {
            let labels = ["sda", "8", "0", "", "", "", serial, "", "1"];
            assert_eq!(about(record.as_bytes()).number("disk_info", &labels), Some(1.0), "{record}");
        }
    }

    #[test]
    fn ata_properties_belong_to_ata_devices_and_are_numbers() {
        let record = "E:ID_ATA_WRITE_CACHE=1\nE:ID_ATA_ROTATION_RATE_RPM=fast\n";
        assert_eq!(about(record.as_bytes()).samples().len(), 1);
        let acc = about(format!("{record}E:ID_ATA=1\n").as_bytes());
        assert_eq!(acc.number("disk_ata_write_cache", &["sda"]), Some(1.0));
        assert_eq!(acc.samples().len(), 2);
    }

    #[test]
    fn a_file_system_and_a_mapping_need_a_name() {
        assert_eq!(about(b"E:ID_FS_UUID=1\nE:DM_UUID=2\n").samples().len(), 1);
        let acc = about(b"E:ID_FS_TYPE=ext4\nE:DM_NAME=root\nE:DM_VG_NAME=vg\n");
        assert_eq!(acc.number("disk_filesystem_info", &["sda", "ext4", "", "", ""]), Some(1.0));
        assert_eq!(acc.number("disk_device_mapper_info", &["sda", "root", "", "vg", "", ""]), Some(1.0));
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_record_is_fine(record in soup(&["E:", "\nE:ID_SERIAL=", "E:ID_ATA=1\n", "ID_FS_TYPE"])) {
            about(&record);
        }
    }
}
