//! An archive of files that the kernel unpacks into memory (cpio, "newc").

use std::{fs, io, path::Path};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// The archive.
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    entries: usize,
    folders: Vec<String>,
}

impl Initramfs {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), entries: 0, folders: Vec::new() }
    }

    /// Adds a file, which can be run, and the folder above it.
    pub(super) fn add(&mut self, name: &str, file: &Path) -> io::Result<()> {
        if let Some((folder, _)) = name.rsplit_once('/')
            && !self.folders.iter().any(|known| known == folder)
        {
            self.entry(folder, FOLDER, &[]);
            self.folders.push(folder.to_owned());
        }
        self.entry(name, PROGRAM, &fs::read(file)?);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    /// A header of hexadecimal numbers, the name and the content; each of both is filled up to four bytes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let header = format!(
            "070701{:08X}{mode:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:032X}{:08X}{:08X}{name}\0",
            self.entries,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            name.len() + 1,
            0
        );
        for part in [header.as_bytes(), content] {
            self.bytes.extend_from_slice(part);
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_as_the_kernel_wants_them() {
        let mut archive = Initramfs::new();
        archive.entry("a/bc", PROGRAM, b"hello");
        let bytes = archive.finish();
        // 110 bytes of header and five of name are filled up to 116, five of content to eight.
        assert!(bytes.starts_with(b"07070100000001000081ED"));
        assert_eq!(&bytes[110..115], b"a/bc\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }
}
