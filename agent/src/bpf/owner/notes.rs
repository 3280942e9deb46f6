//! What programs noted of the names of cgroups that were gone when the agent came by.

use std::sync::atomic::{AtomicU64, Ordering};

use pitot_common::owner::note::{ID, NAME, PARENT, PARENT_BYTES, WORDS};

/// What is known of the path of the cgroup in a slot, from its end: all of it right below the root, otherwise
/// `.../`, the name of the directory above, and its own.
pub(super) fn noted(notes: &[AtomicU64], slot: usize, cgroup: u64) -> Option<Box<[u8]>> {
    let note = notes.chunks_exact(WORDS).nth(slot)?;
    if note[ID].load(Ordering::Acquire) != cgroup {
        return None;
    }
    let name = text(&note[NAME..])?;
    let parent = text(&note[PARENT..NAME]);
    if name.is_empty() {
        return None;
    }
    let path = match parent.as_deref() {
        Some([]) => [b"/", &*name].concat(),
        Some(parent) if parent.len() < PARENT_BYTES - 1 => [b".../", parent, b"/", &*name].concat(),
        _ => [b".../", &*name].concat(),
    };
    Some(path.into())
}

/// The bytes before the first zero.
fn text(words: &[AtomicU64]) -> Option<Vec<u8>> {
    let mut bytes: Vec<u8> =
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    bytes.truncate(bytes.iter().position(|&byte| byte == 0)?);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes of two slots, of which the second was written.
    fn notes(id: u64, parent: &[u8], name: &[u8]) -> Vec<AtomicU64> {
        let mut words = vec![0u64; 2 * WORDS];
        words[WORDS + ID] = id;
        for (at, text) in [(PARENT, parent), (NAME, name)] {
            for (word, chunk) in words[WORDS + at..].iter_mut().zip(text.chunks(8)) {
                let mut bytes = [0; 8];
                bytes[..chunk.len()].copy_from_slice(chunk);
                *word = u64::from_ne_bytes(bytes);
            }
        }
        words.into_iter().map(AtomicU64::new).collect()
    }

    fn name(parent: &[u8], name: &[u8]) -> Option<String> {
        let path = noted(&notes(7, parent, name), 1, 7)?;
        Some(String::from_utf8(path.into()).unwrap())
    }

    #[test]
    fn a_path_is_known_from_its_end() {
        assert_eq!(name(b"", b"web.service").as_deref(), Some("/web.service"));
        assert_eq!(name(b"pod.slice", b"app.scope").as_deref(), Some(".../pod.slice/app.scope"));
    }

    #[test]
    fn names_are_whole_or_left_out() {
        let longest = vec![b'x'; 255];
        let path = name(b"pod", &longest).unwrap();
        assert!(path.starts_with(".../pod/x") && path.ends_with('x') && path.len() == 8 + 255);
        // As long as there is room: the kernel may have cut it.
        assert_eq!(name(&vec![b'p'; PARENT_BYTES - 1], b"app").as_deref(), Some(".../app"));
        let whole = vec![b'p'; PARENT_BYTES - 2];
        assert!(name(&whole, b"app").unwrap().starts_with(".../pp"));
        assert_eq!(name(b"", b""), None);
    }

    #[test]
    fn a_note_of_another_cgroup_names_nobody() {
        let notes = notes(7, b"pod", b"app");
        assert_eq!(noted(&notes, 1, 8), None);
        assert_eq!(noted(&notes, 0, 7), None);
        assert_eq!(noted(&notes, 2, 7), None);
    }
}
