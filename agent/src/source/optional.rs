//! A file that a host may do without: while it is missing it is looked for only now and then.

use super::{Content, File, SourceError};

/// Reads between two attempts to open a file that was missing.
const PAUSE: u32 = 60;

/// A kept file whose absence is normal, such as those of IPv6 where that is switched off.
#[derive(Debug)]
pub struct OptionalFile {
    file: File,
    /// Reads until it is looked for again.
    pause: u32,
}

impl OptionalFile {
    /// A file that is opened when it is first read.
    pub fn new(file: File) -> Self {
        Self { file, pause: 0 }
    }

    /// Reads the whole file, or finds that it is not there.
    pub fn read(&mut self) -> Result<Option<Content<'_>>, SourceError> {
        if self.pause > 0 {
            self.pause -= 1;
            return Ok(None);
        }
        match self.file.read() {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.is_missing() => {
                self.pause = PAUSE;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_appears_later_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snmp6");
        let mut file = OptionalFile::new(File::new(&path));
        assert!(file.read().unwrap().is_none());
        std::fs::write(&path, "Ip6InReceives 7\n").unwrap();
        let reads = (0..=PAUSE).take_while(|_| file.read().unwrap().is_none()).count();
        assert_eq!(reads, PAUSE as usize);
        assert_eq!(file.read().unwrap().unwrap().bytes(), b"Ip6InReceives 7\n");
    }
}
