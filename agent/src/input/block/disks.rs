//! What sysfs says of a disk: its name, and whether it is still the same one.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Disks by the identity that programs see (`pitot_common::block::device::identity`).
pub(super) struct Disks {
    sysfs: PathBuf,
}

/// A disk that is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// The kernel's name of it, or its number where sysfs does not tell.
    pub(super) name: Box<str>,
    /// The file that says whether it is still the same one.
    pub(super) proof: Option<PathBuf>,
}

impl Disks {
    pub(super) fn new(sysfs: &Path) -> Self {
        Self { sysfs: sysfs.to_owned() }
    }

    /// The disk of an identity; none if it is gone.
    pub(super) fn disk(&self, identity: u64) -> Option<Disk> {
        let number = identity >> 32;
        // A path of a multipath disk has no number: it can be found by its sequence alone.
        if number == 0 {
            return self.hidden(identity);
        }
        let number = format!("{}:{}", number >> 20, number & 0xf_ffff);
        let all = self.sysfs.join("dev/block");
        let folder = all.join(&number);
        let proof = folder.join("diskseq");
        match sequence(&proof) {
            Ok(sequence) if !is_of(sequence, identity) => None,
            Ok(_) => Some(Disk { name: name(&folder)?, proof: Some(proof) }),
            Err(_) if folder.exists() => Some(Disk { name: name(&folder)?, proof: None }),
            Err(_) if all.exists() => None,
            Err(_) => Some(Disk { name: number.into(), proof: None }),
        }
    }

    fn hidden(&self, identity: u64) -> Option<Disk> {
        fs::read_dir(self.sysfs.join("block")).ok()?.flatten().find_map(|entry| {
            let proof = entry.path().join("diskseq");
            let is_it = sequence(&proof).is_ok_and(|sequence| is_of(sequence, identity));
            is_it.then(|| Some(Disk { name: name(&entry.path())?, proof: Some(proof) }))?
        })
    }
}

/// Whether the disk of an identity is gone, by its proof. What cannot be told has not.
pub(super) fn is_gone(proof: &Path, identity: u64) -> bool {
    match sequence(proof) {
        Ok(sequence) => !is_of(sequence, identity),
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)),
    }
}

fn is_of(sequence: u64, identity: u64) -> bool {
    sequence & 0xffff_ffff == identity & 0xffff_ffff
}

/// Allocates nothing.
fn sequence(file: &Path) -> io::Result<u64> {
    let mut text = [0; 24];
    let length = File::open(file)?.read(&mut text)?;
    let number = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.trim_end().parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn name(folder: &Path) -> Option<Box<str>> {
    // sysfs writes '!' where a device name has '/'.
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().replace('!', "/").into_boxed_str());
    fs::read_link(folder).map_or_else(|_| name(folder), |link| name(&link))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use pitot_common::block::device::identity;

    use super::*;

    /// A sysfs with the disk `cciss/c0d0`, 104:0 with the sequence number 7.
    fn sysfs() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("devices/cciss!c0d0");
        fs::create_dir_all(&disk).unwrap();
        fs::create_dir_all(root.path().join("dev/block")).unwrap();
        fs::create_dir_all(root.path().join("block")).unwrap();
        fs::write(disk.join("diskseq"), "7\n").unwrap();
        symlink(&disk, root.path().join("dev/block/104:0")).unwrap();
        symlink(&disk, root.path().join("block/cciss!c0d0")).unwrap();
        root
    }

    fn found(sysfs: &Path, identity: u64) -> Option<String> {
        Disks::new(sysfs).disk(identity).map(|disk| disk.name.into())
    }

    #[test]
    fn a_disk_is_the_one_with_its_number_and_its_sequence() {
        let sysfs = sysfs();
        assert_eq!(found(sysfs.path(), identity(104, 0, 7)).as_deref(), Some("cciss/c0d0"));
        assert_eq!(found(sysfs.path(), identity(104, 0, 6)), None);
        assert_eq!(found(sysfs.path(), identity(104, 1, 7)), None);
    }

    #[test]
    fn a_disk_without_a_number_is_found_by_its_sequence() {
        let sysfs = sysfs();
        assert_eq!(found(sysfs.path(), identity(0, 0, 7)).as_deref(), Some("cciss/c0d0"));
        assert_eq!(found(sysfs.path(), identity(0, 0, 8)), None);
    }

    #[test]
    fn it_is_gone_when_another_has_its_number_or_nobody() {
        let sysfs = sysfs();
        let disk = Disks::new(sysfs.path()).disk(identity(104, 0, 7)).unwrap();
        let proof = disk.proof.unwrap();
        assert!(!is_gone(&proof, identity(104, 0, 7)));
        fs::write(&proof, "8\n").unwrap();
        assert!(is_gone(&proof, identity(104, 0, 7)));
        fs::write(&proof, "odd").unwrap();
        assert!(!is_gone(&proof, identity(104, 0, 7)));
        fs::remove_file(&proof).unwrap();
        assert!(is_gone(&proof, identity(104, 0, 7)));
    }

    #[test]
    fn without_a_sysfs_disks_have_numbers_and_none_is_gone() {
        let nothing = tempfile::tempdir().unwrap();
        let disk = Disks::new(nothing.path()).disk(identity(8, 16, 7)).unwrap();
        assert_eq!(disk, Disk { name: "8:16".into(), proof: None });
    }
}
