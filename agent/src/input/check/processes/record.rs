//! What the kernel tells of one process: its line of numbers, and its limit of open files.

use std::time::Duration;

use nix::{
    time::{ClockId, clock_gettime},
    unistd::{SysconfVar, sysconf},
};

use crate::source::parse;

/// Numbers of a process, from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The letter of `ps`.
    pub(crate) state: u8,
    /// The process that it is a child of.
    pub(crate) parent: u64,
    pub(crate) threads: u64,
    /// In ticks since boot.
    pub(crate) started: u64,
    /// Pages in memory.
    pub(crate) resident: u64,
}

impl Record {
    /// From the line. The name stands in brackets and may hold anything, brackets too: the last one ends it.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let end = line.iter().rposition(|&b| b == b')')?;
        let mut fields = parse::fields(line.get(end + 1..)?.trim_ascii_end());
        let state = *fields.next()?.first()?;
        let parent = parse::number(fields.next()?)?;
        // The 20th, 22nd and 24th field of the line; the parent is the fourth.
        let threads = parse::number(fields.nth(15)?)?;
        let started = parse::number(fields.nth(1)?)?;
        // The kernel counts per thread and may be below zero for a moment.
        let resident = parse::signed(fields.nth(1)?)?;
        Some(Self { state, parent, threads, started, resident: u64::try_from(resident).unwrap_or(0) })
    }

    /// The name in the line, which whoever has it may change.
    pub(crate) fn name(line: &[u8]) -> Option<&[u8]> {
        let (start, end) = (line.iter().position(|&b| b == b'(')?, line.iter().rposition(|&b| b == b')')?);
        line.get(start + 1..end)
    }

    /// For how long it has been there.
    pub(crate) fn age(&self) -> Option<Duration> {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)?;
        now.checked_sub(Duration::from_millis(self.started.checked_mul(1000)? / ticks()))
    }
}

/// Ticks of start times in a second.
pub(super) fn ticks() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    ticks.filter(|&ticks| ticks > 0).unwrap_or(100)
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
        let record = Record { state: b'S', parent: 1, threads: 7, started: 12345, resident: 811 };
        assert_eq!(Record::parse(LINE), Some(record));
        assert_eq!(Record::name(LINE), Some(&b"a) b (c)"[..]));
        assert_eq!(Record::name(b")("), None);
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
                let _ = (Record::parse(bytes), Record::name(bytes), open_files_limit(bytes));
            }
        }
    }
}
