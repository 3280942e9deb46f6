//! A file as an output: appended to, renamed when it has grown, opened again when others have renamed it.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::sink::Target;

/// A file that is appended to. A regular one never grows past its limit, and holds whole pages only; anything else
/// (a pipe, a device) is written to as it is.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    most: u64,
    keep: u32,
    file: Option<File>,
}

impl RotatingFile {
    /// A file of at most so many bytes, beside which so many earlier ones are kept as `PATH.1`, `PATH.2` and so
    /// on. It is opened when the first page comes.
    pub fn new(path: PathBuf, most: u64, keep: u32) -> Self {
        Self { path, most, keep, file: None }
    }

    /// The open file and what it is now.
    fn opened(&mut self) -> io::Result<(&mut File, Metadata)> {
        let named = fs::metadata(&self.path);
        if let Some(file) = &self.file {
            let is_same = named.is_ok_and(|named| {
                file.metadata().is_ok_and(|open| (open.dev(), open.ino()) == (named.dev(), named.ino()))
            });
            if !is_same {
                self.file = None;
            }
        }
        if self.file.is_none() {
            // A pipe without a reader would hold the thread; what is measured is readable for its group.
            let flags = libc::O_NONBLOCK;
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).mode(0o640).custom_flags(flags).open(&self.path)?;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let now = file.metadata()?;
        Ok((file, now))
    }

    /// Moves the file and the earlier ones on by one.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (1..self.keep).rev() {
            let from = numbered(&self.path, number);
            match fs::rename(from, numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

impl Target for RotatingFile {
    fn write(&mut self, page: &[u8]) -> io::Result<()> {
        let most = self.most;
        let (_, now) = self.opened()?;
        if page.len() as u64 > most && now.is_file() {
            let what = format!("a page of {} bytes is longer than a file may be", page.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        let (file, now) = if now.is_file() && now.len() + page.len() as u64 > most {
            self.rotate()?;
            self.opened()?
        } else {
            self.opened()?
        };
        let written = file.write_all(page);
        if written.is_err() && now.is_file() {
            // Half a page is none. If even that fails, the file system is beyond help, and the error says so.
            let _unhelpful = file.set_len(now.len());
        }
        if written.is_err() && now.file_type().is_fifo() {
            self.file = None;
        }
        written
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_would_grow_past_its_limit_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = RotatingFile::new(path.clone(), 8, 2);
        for page in ["1111", "2222", "3333", "4444", "5555", "6666", "7777"] {
            file.write(page.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            (read("f"), read("f.1"), read("f.2")),
            ("7777".into(), "55556666".into(), "33334444".into())
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        assert!(file.write(b"123456789").is_err());
        assert_eq!(read("f"), "7777");
    }

    #[test]
    fn what_others_renamed_removed_or_emptied_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = RotatingFile::new(path.clone(), 8, 1);
        file.write(b"a").unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        file.write(b"b").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        fs::remove_file(&path).unwrap();
        file.write(b"c").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "c");
        // As `copytruncate` of logrotate does.
        file.write(b"cccccc").unwrap();
        File::create(&path).unwrap();
        file.write(b"dddddd").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "dddddd");
    }

    #[test]
    fn a_full_device_and_a_missing_folder_are_errors_that_pass() {
        let mut full = RotatingFile::new("/dev/full".into(), 8, 1);
        assert_eq!(full.write(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        let mut file = RotatingFile::new(folder.join("f"), 8, 1);
        assert!(file.write(b"x").is_err());
        fs::create_dir(&folder).unwrap();
        file.write(b"x").unwrap();
    }
}
