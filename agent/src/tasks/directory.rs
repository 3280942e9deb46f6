//! The directory of task files.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use super::file::{Entry, Syntax, read};

/// Far more than a thousand tasks take; a file that is longer is not meant.
const LONGEST_FILE: u64 = 4 << 20;

/// What the directory holds: its files in the order of their names, or why it cannot be read.
pub(super) type Scan = Result<Vec<Scanned>, String>;

/// A file of tasks.
#[derive(Clone, Debug)]
pub(super) struct Scanned {
    /// Its name in the directory.
    pub(super) file: String,
    /// Its tasks, or why it has none.
    pub(super) entries: Result<Vec<Entry>, String>,
}

/// Reads all files of a directory whose names are those of tasks.
pub(super) fn scan(directory: &Path) -> Scan {
    let said = |error: io::Error| format!("{}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(said)? {
        let name = entry.map_err(said)?.file_name();
        let Some(file) = name.to_str() else { continue };
        let Some(syntax) = Syntax::of(file) else { continue };
        let path = directory.join(file);
        // Links count as what they lead to: that is how orchestrators lay out their files.
        if path.is_dir() {
            continue;
        }
        let entries = match text(&path) {
            Ok(text) => read(&text, syntax).map_err(|problem| problem.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(error.to_string()),
        };
        files.push(Scanned { file: file.to_owned(), entries });
    }
    files.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(files)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(io::Error::other(format!("longer than {} MiB", LONGEST_FILE >> 20)));
    }
    Ok(text)
}
