//! A file that is opened once and read again and again, at offset 0, into a kept buffer.

use std::{
    fs,
    io::{self, ErrorKind},
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::statfs::{PROC_SUPER_MAGIC, fstatfs},
};

/// Why a file gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be opened or read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// It is longer than any file of its kind should be.
    #[error("{}: longer than {MOST} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A line does not have the form it should have.
    #[error("{}: expected {expected} in {line:?}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// The line as it stands.
        line: String,
    },
}

impl SourceError {
    /// The kernel does not have this file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == ErrorKind::NotFound)
    }
}

/// What a read brought, in the file's own buffer.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    bytes: &'a [u8],
    path: &'a Path,
}

impl<'a> Content<'a> {
    /// The bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The lines, without their ends.
    pub fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        super::parse::lines(self.bytes)
    }

    /// The one number that the file holds.
    pub fn number(self) -> Result<u64, SourceError> {
        super::parse::number(self.bytes.trim_ascii()).ok_or_else(|| self.malformed("a number", self.bytes))
    }

    /// An error about a line of this file.
    #[cold]
    pub fn malformed(self, expected: &'static str, line: &[u8]) -> SourceError {
        let line = line.get(..200).unwrap_or(line);
        let line = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        SourceError::Parse { path: self.path.to_owned(), expected, line }
    }
}

/// Starting size of a buffer: a page, as procfs hands out.
const START: usize = 4096;
/// A file of /proc that is longer than this is not what it claims to be.
const MOST: usize = 16 << 20;

/// How long the records of a file may be. The kernel hands out as many whole records as fit a page, so with
/// short ones a read of less than half a page was the last, and the read that would say so can be saved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Records {
    Short,
    Long,
}

/// A kept file. The content of the last read stays in its buffer and is parsed in place.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    open: Option<fs::File>,
    /// It lies in a procfs, not in a copy of one.
    is_proc: bool,
    buffer: Vec<u8>,
}

impl File {
    /// A file that is opened when it is first read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), open: None, is_proc: false, buffer: Vec::new() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file, whose records are short.
    pub fn read(&mut self) -> Result<Content<'_>, SourceError> {
        self.read_records(Records::Short)
    }

    /// Reads the whole file, a record of which may be as long as a page (`mountinfo`).
    pub fn read_to_end(&mut self) -> Result<Content<'_>, SourceError> {
        self.read_records(Records::Long)
    }

    /// Whether a file that tells of its changes by `poll`, as `mountinfo` does, may have changed since this was
    /// last asked or it was opened. Any doubt counts as a change.
    pub fn may_have_changed(&self) -> bool {
        let Some(file) = &self.open else { return true };
        if !self.is_proc {
            return true;
        }
        let mut poll = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
        let told = nix::poll::poll(&mut poll, PollTimeout::ZERO);
        told != Ok(0)
    }

    fn read_records(&mut self, records: Records) -> Result<Content<'_>, SourceError> {
        let read = match self.fill(records) {
            // The device or module behind a kept descriptor has gone and perhaps come back.
            Err(error) if has_gone(&error) => {
                self.open = None;
                self.fill(records)
            }
            other => other,
        };
        match read {
            Ok(length) if length < MOST => Ok(Content { bytes: &self.buffer[..length], path: &self.path }),
            Ok(_) => Err(SourceError::TooLong { path: self.path.clone() }),
            Err(error) => {
                self.open = None;
                Err(SourceError::Io { path: self.path.clone(), error })
            }
        }
    }

    fn fill(&mut self, records: Records) -> io::Result<usize> {
        let file = if let Some(file) = &self.open {
            file
        } else {
            let file = fs::File::open(&self.path)?;
            self.is_proc = fstatfs(&file).is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC);
            self.open.insert(file)
        };
        let mut length = 0;
        loop {
            if self.buffer.len() - length < START {
                if length >= MOST {
                    return Ok(MOST);
                }
                self.buffer.resize((self.buffer.len() * 2).max(START), 0);
            }
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(n) => {
                    length += n;
                    if records == Records::Short && n < START / 2 {
                        return Ok(length);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Longest content of a [`NumberFile`]: twenty digits and the end of the line, with room to spare.
const NUMBER: usize = 32;

/// A kept file that holds one number. It is read into the stack, so hundreds of them, one per core, cost no
/// buffers.
#[derive(Debug)]
pub struct NumberFile {
    path: PathBuf,
    open: Option<fs::File>,
}

impl NumberFile {
    /// A file that is opened when it is first read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), open: None }
    }

    /// Reads the number.
    pub fn read(&mut self) -> Result<u64, SourceError> {
        let mut buffer = [0; NUMBER];
        let read = match self.fill(&mut buffer) {
            // The device or module behind a kept descriptor has gone and perhaps come back.
            Err(error) if has_gone(&error) => {
                self.open = None;
                self.fill(&mut buffer)
            }
            other => other,
        };
        match read {
            Ok(length) => Content { bytes: &buffer[..length], path: &self.path }.number(),
            Err(error) => {
                self.open = None;
                Err(SourceError::Io { path: self.path.clone(), error })
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8; NUMBER]) -> io::Result<usize> {
        let file = match &self.open {
            Some(file) => file,
            None => self.open.insert(fs::File::open(&self.path)?),
        };
        loop {
            match file.read_at(buffer, 0) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// What was behind a kept descriptor does not exist any more.
fn has_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ESTALE | libc::ESRCH))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn content_of_any_length_is_read_whole_and_anew() {
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        let mut kept = File::new(on_disk.path());
        for length in [0usize, 1, 2047, 2048, 4095, 4096, 4097, 8192, 100_000] {
            let content: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
            on_disk.as_file().set_len(0).unwrap();
            fs::write(on_disk.path(), &content).unwrap();
            assert_eq!(kept.read().unwrap().bytes(), content, "{length}");
        }
        on_disk.flush().unwrap();
    }

    #[test]
    fn a_kernel_file_of_many_records_is_read_whole() {
        let mut kept = File::new("/proc/self/maps");
        for _ in 0..2 {
            let ours = kept.read_to_end().unwrap().bytes().len();
            assert!(ours > 4096 / 2, "{ours}");
            assert_eq!(kept.read_to_end().unwrap().bytes().last(), Some(&b'\n'));
        }
    }

    #[test]
    fn a_number_is_read_anew_and_nothing_else_is_one() {
        let on_disk = tempfile::NamedTempFile::new().unwrap();
        let mut kept = NumberFile::new(on_disk.path());
        for (content, number) in
            [("7\n", Some(7)), (" 18446744073709551615 ", Some(u64::MAX)), ("", None), ("-1\n", None)]
        {
            fs::write(on_disk.path(), content).unwrap();
            assert_eq!(kept.read().ok(), number, "{content:?}");
        }
        fs::write(on_disk.path(), [b'1'; 100]).unwrap();
        assert!(kept.read().is_err());
    }

    #[test]
    fn a_missing_file_is_known_as_missing() {
        let error = File::new("/nonexistent/x").read().unwrap_err();
        assert!(error.is_missing());
        assert!(error.to_string().starts_with("/nonexistent/x: "), "{error}");
    }
}
