//! A record of the kernel's pass over all tasks.

use pitot_common::process::{Task, Usage};

/// Bytes of a record.
pub(super) const LENGTH: usize = size_of::<Task>();

/// The tasks of a pass.
pub(super) fn tasks(records: &[u8]) -> impl Iterator<Item = Task> {
    records.as_chunks::<LENGTH>().0.iter().map(task)
}

/// In the order of the fields of [`Task`].
fn task(record: &[u8; LENGTH]) -> Task {
    let mut rest = record.as_slice();
    Task {
        process: half(&mut rest),
        thread: half(&mut rest),
        state: half(&mut rest),
        exit_state: half(&mut rest),
        start: word(&mut rest),
        own: Usage { cpu: word(&mut rest), bytes: word(&mut rest) },
        gone: Usage { cpu: word(&mut rest), bytes: word(&mut rest) },
        pages: word(&mut rest),
        name: [word(&mut rest), word(&mut rest)],
    }
}

fn half(rest: &mut &[u8]) -> u32 {
    rest.split_off(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn word(rest: &mut &[u8]) -> u64 {
    rest.split_off(..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn fields_are_read_from_where_they_stand() {
        let mut bytes = [0; LENGTH];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(Task, process), &1u32.to_ne_bytes());
        put(offset_of!(Task, thread), &2u32.to_ne_bytes());
        put(offset_of!(Task, state), &3u32.to_ne_bytes());
        put(offset_of!(Task, exit_state), &4u32.to_ne_bytes());
        put(offset_of!(Task, start), &5u64.to_ne_bytes());
        put(offset_of!(Task, own) + offset_of!(Usage, cpu), &6u64.to_ne_bytes());
        put(offset_of!(Task, own) + offset_of!(Usage, bytes), &7u64.to_ne_bytes());
        put(offset_of!(Task, gone) + offset_of!(Usage, cpu), &8u64.to_ne_bytes());
        put(offset_of!(Task, gone) + offset_of!(Usage, bytes), &9u64.to_ne_bytes());
        put(offset_of!(Task, pages), &10u64.to_ne_bytes());
        put(offset_of!(Task, name), &11u64.to_ne_bytes());
        put(offset_of!(Task, name) + 8, &12u64.to_ne_bytes());
        let wanted = Task {
            process: 1,
            thread: 2,
            state: 3,
            exit_state: 4,
            start: 5,
            own: Usage { cpu: 6, bytes: 7 },
            gone: Usage { cpu: 8, bytes: 9 },
            pages: 10,
            name: [11, 12],
        };
        assert_eq!(tasks(&bytes).collect::<Vec<_>>(), [wanted]);
    }
}
