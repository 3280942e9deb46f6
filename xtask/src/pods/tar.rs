//! Archives of files, in the format that every runtime reads. The same content makes the same bytes.

const BLOCK: usize = 512;

/// An archive under way.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.header(path, mode, content.len(), b'0', "");
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    /// Adds a folder.
    pub(super) fn folder(&mut self, path: &str) {
        self.header(&format!("{path}/"), 0o755, 0, b'5', "");
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, to: &str) {
        self.header(path, 0o777, 0, b'2', to);
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    /// POSIX.1-1988: names of up to 100 bytes, which is enough here; owned by root, of no particular time.
    fn header(&mut self, path: &str, mode: u32, size: usize, kind: u8, link: &str) {
        debug_assert!(path.len() < 100 && link.len() < 100, "{path} -> {link}");
        let mut block = [0; BLOCK];
        let mut put = |at: usize, text: &str| {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, path);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{size:011o}"));
        put(136, "00000000000");
        // The sum is taken with blanks in its own place.
        put(148, "        ");
        put(157, link);
        put(257, "ustar\u{0}00");
        put(265, "root");
        put(297, "root");
        block[156] = kind;
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
        self.bytes.extend_from_slice(&block);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the system's own tar knows what an archive is")]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn tar_reads_it() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.file("bin/odd", 0o755, &[7; 513]);
        archive.file("empty", 0o644, b"");
        archive.link("bin/sh", "odd");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        fs::write(&path, archive.finish()).unwrap();
        let done = Command::new("tar").arg("-C").arg(folder.path()).arg("-xf").arg(&path).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        assert_eq!(fs::read(folder.path().join("bin/sh")).unwrap(), [7; 513]);
        assert_eq!(fs::read(folder.path().join("empty")).unwrap(), b"");
    }
}
