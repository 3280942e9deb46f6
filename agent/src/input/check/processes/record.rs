//! What the kernel tells of one process: its line of numbers, and its limit of open files.

use crate::source::parse;

/// Numbers of a process, from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The letter of `ps`.
    pub(super) state: u8,
    pub(super) threads: u64,
    /// In ticks since boot.
    pub(super) started: u64,
    /// Pages in memory.
    pub(super) resident: u64,
}

impl Record {
    /// From the line. The name stands in brackets and may hold anything, brackets too: the last one ends it.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let end = line.iter().rposition(|&b| b == b')')?;
        let mut fields = parse::fields(line.get(end + 1..)?.trim_ascii_end());
        let state = *fields.next()?.first()?;
        // The 20th, 22nd and 24th field of the line; the state is the third.
        let threads = parse::number(fields.nth(16)?)?;
        let started = parse::number(fields.nth(1)?)?;
        // The kernel counts per thread and may be below zero for a moment.
        let resident = parse::signed(fields.nth(1)?)?;
        Some(Self { state, threads, started, resident: u64::try_from(resident).unwrap_or(0) })
    }
}

/// The soft limit of open files, from `/proc/PID/limits`; none is unlimited.
pub(super) fn open_files_limit(limits: &[u8]) -> Option<u64> {
    let line = parse::lines(limits).find_map(|line| line.strip_prefix(b"Max open files"))?;
    parse::number(parse::fields(line).next()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &[u8] = b"42 (a) b (c)) S 1 42 42 0 -1 4194560 2183 0 5 0 3 4 0 0 20 0 7 0 \
        12345 9000000 811 18446744073709551615 1 1 0 0 0 0 0 0 65538 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_name_may_hold_brackets_and_blanks() {
        let record = Record { state: b'S', threads: 7, started: 12345, resident: 811 };
        assert_eq!(Record::parse(LINE), Some(record));
        assert_eq!(Record::parse(b"42 (cut off) S 1 42"), None);
        assert_eq!(Record::parse(b""), None);
    }

    #[test]
    fn the_soft_limit_is_the_first_number() {
        let limits = b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             4096                 4096                 processes \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_limit(limits), Some(1024));
        assert_eq!(
            open_files_limit(b"Max open files            unlimited            unlimited  files\n"),
            None
        );
        assert_eq!(open_files_limit(b"Max open files"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_none(bytes: Vec<u8>, text in "[0-9 ()SR-]{0,120}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                let _ = (Record::parse(bytes), open_files_limit(bytes));
            }
        }
    }
}
