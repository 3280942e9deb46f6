//! Where the files of counters are.

use std::{io, time::Instant};

use rustix::fs::{Mode, OFlags, openat};

use super::super::Dir;
use crate::source::parse;

/// Entries of `/tmp`, and of a folder in it, that are looked at.
const ENTRIES: u32 = 20_000;
/// Folders, of which each user has one.
const FOLDERS: usize = 32;
/// Files that are looked at. More machines than that are not reported anyway.
const FILES: usize = 200;

/// Files that may be those of a machine.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Number of the process and path.
    pub(super) list: Vec<(String, String)>,
    /// Folders and files that were not looked at because they are too many.
    pub(super) past_bound: u32,
    /// Folders that may not be read.
    pub(super) denied: u32,
}

impl Files {
    /// Looks for them. A target without `/tmp` has none.
    pub(super) fn of(root: &Dir, deadline: Instant) -> io::Result<Self> {
        let mut found = Self::default();
        let mut folders = Vec::new();
        let whole = each(root, "/tmp", deadline, |name| {
            if name.starts_with("hsperfdata_") {
                folders.push(name.to_owned());
            }
        });
        match whole {
            Ok(whole) => found.past_bound += u32::from(!whole),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        }
        folders.sort_unstable();
        found.past_bound += count(folders.len().saturating_sub(FOLDERS));
        for folder in folders.iter().take(FOLDERS) {
            let path = format!("/tmp/{folder}");
            let (list, past_bound) = (&mut found.list, &mut found.past_bound);
            let whole = each(root, &path, deadline, |name| {
                if parse::number(name.as_bytes()).is_none() {
                    return;
                }
                if list.len() < FILES {
                    list.push((name.to_owned(), format!("{path}/{name}")));
                } else {
                    *past_bound += 1;
                }
            });
            match whole {
                Ok(whole) => found.past_bound += u32::from(!whole),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                Err(error) => found.denied += u32::from(error.kind() == io::ErrorKind::PermissionDenied),
            }
        }
        // The same ones from check to check, if not all can be reported.
        found.list.sort_unstable_by_key(|(pid, _)| parse::number(pid.as_bytes()));
        Ok(found)
    }
}

/// Visits the names in a directory; says whether these were all.
fn each(root: &Dir, path: &str, deadline: Instant, mut visit: impl FnMut(&str)) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = openat(root.dir(path)?, ".", flags, Mode::empty())?;
    for (seen, entry) in (0..).zip(rustix::fs::Dir::new(listing)?) {
        if seen == ENTRIES {
            return Ok(false);
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("time was up while {path} was listed"),
            ));
        }
        if let Ok(name) = entry?.file_name().to_str() {
            visit(name);
        }
    }
    Ok(true)
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

/// Why a file could not be read, as a label value.
pub(super) fn kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "denied",
        io::ErrorKind::NotFound => "ended",
        // It is no file, or is longer than any of these.
        _ if error.raw_os_error().is_none() => "format",
        _ => "other",
    }
}
