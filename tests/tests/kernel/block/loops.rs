//! Loop devices, to which nobody but a test writes.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tempfile::NamedTempFile;

use super::{PAGE, Page};
use crate::raw;

/// Size of a device.
pub(super) const SIZE: u64 = 1 << 20;

/// Keeps other tests from making devices meanwhile: every input sees those of all.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loop device over a file, given back at the end.
pub(super) struct Loop {
    number: i32,
    /// Whether the device was made for this, so that it goes with it.
    made: bool,
    _file: NamedTempFile,
}

impl Loop {
    /// One that is free.
    pub(super) fn new() -> Option<Self> {
        // The first folder is not there where the tests have been carried to another machine.
        [env!("CARGO_TARGET_TMPDIR"), "/tmp"]
            .iter()
            .find_map(|folder| Self::over_file_in(Path::new(folder), SIZE))
    }

    /// One that is free, over a file of some size in a folder.
    pub(super) fn over_file_in(folder: &Path, size: u64) -> Option<Self> {
        let mut file = NamedTempFile::new_in(folder).ok()?;
        file.write_all(&vec![0; usize::try_from(size).unwrap()]).ok()?;
        let number = raw::attach_loop(file.as_file()).ok()?;
        Some(Self { number, made: false, _file: file })
    }

    /// One that there was not before.
    pub(super) fn make(number: i32) -> Option<Self> {
        let file = NamedTempFile::new().ok()?;
        file.as_file().set_len(SIZE).ok()?;
        raw::make_loop(number, file.as_file()).ok()?;
        Some(Self { number, made: true, _file: file })
    }

    pub(super) fn name(&self) -> String {
        format!("loop{}", self.number)
    }

    pub(super) fn path(&self) -> String {
        format!("/dev/{}", self.name())
    }

    /// Opened for direct I/O.
    pub(super) fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(self.path()).unwrap()
    }

    /// Writes so many pages, a request for each.
    pub(super) fn write(&self, pages: u64) {
        let (file, page) = (self.open(), Page([9; PAGE]));
        (0..pages).for_each(|number| file.write_all_at(&page.0, number * PAGE as u64).unwrap());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // One that stays behind is freed with its file.
        let _freed = raw::detach_loop(self.number);
        // Whoever looks at it (udev) lets it go soon.
        for _ in 0..50 {
            if !self.made || raw::remove_loop(self.number).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
