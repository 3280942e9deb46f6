//! The bytes that tell one raw series from another, all keys of a store in one run of memory.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::Sample;
use crate::catalogue::Metric;

/// Where a key lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    start: u32,
    len: u32,
}

/// Keys, one after another in the order of birth, which is the order in which inputs deliver.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
}

impl Keys {
    /// Adds the key of a sample; nothing when there is no room for so many.
    pub(super) fn add(&mut self, sample: &Sample<'_>) -> Option<Key> {
        let start = self.bytes.len();
        push(sample, &mut self.bytes);
        let key = u32::try_from(start).ok().zip(u32::try_from(self.bytes.len() - start).ok());
        if key.is_none() || u32::try_from(self.bytes.len()).is_err() {
            self.bytes.truncate(start);
            return None;
        }
        key.map(|(start, len)| Key { start, len })
    }

    /// Adds a key as it is, and says where it lies now.
    pub(super) fn take(&mut self, from: &Self, key: Key) -> Key {
        // Fewer than there were.
        let start = u32::try_from(self.bytes.len()).unwrap_or(0);
        self.bytes.extend_from_slice(from.get(key));
        Key { start, ..key }
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> &[u8] {
        let start = key.start as usize;
        self.bytes.get(start..start + key.len as usize).unwrap_or_default()
    }

    /// Whether a key is a sample's.
    #[inline]
    pub(super) fn is(&self, key: Key, sample: &Sample<'_>) -> bool {
        is(self.get(key), sample)
    }

    /// The hash of a sample with that key.
    pub(super) fn hash(&self, hasher: &FixedState, metric: &'static Metric, key: Key) -> u64 {
        hash_of(hasher, metric, self.get(key))
    }
}

/// Whether these bytes are the key of a sample.
#[inline]
pub(crate) fn is(key: &[u8], sample: &Sample<'_>) -> bool {
    let mut rest = key;
    for wanted in pieces(sample) {
        match piece(rest) {
            Some((have, after)) if same(have, wanted) => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

/// The hash of a sample of this metric with this key.
pub(crate) fn hash_of(hasher: &FixedState, metric: &'static Metric, key: &[u8]) -> u64 {
    let mut hasher = begin(hasher, metric);
    let mut rest = key;
    while let Some((have, after)) = piece(rest) {
        hasher.write(have);
        hasher.write_u8(0xff);
        rest = after;
    }
    hasher.finish()
}

/// The hash of a sample's metric and key.
pub(crate) fn hash(hasher: &FixedState, sample: &Sample<'_>) -> u64 {
    let mut hasher = begin(hasher, sample.metric);
    for piece in pieces(sample) {
        hasher.write(piece);
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

fn begin(hasher: &FixedState, metric: &'static Metric) -> impl Hasher + use<> {
    let mut hasher = hasher.build_hasher();
    hasher.write_usize(std::ptr::from_ref(metric).addr());
    hasher
}

/// Appends the key of a sample, each piece after its length.
pub(crate) fn push(sample: &Sample<'_>, out: &mut Vec<u8>) {
    for piece in pieces(sample) {
        out.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_ne_bytes());
        out.extend_from_slice(piece);
    }
}

/// The key of a sample by itself.
pub(crate) fn of(sample: &Sample<'_>) -> Box<[u8]> {
    let mut key = Vec::new();
    push(sample, &mut key);
    key.into_boxed_slice()
}

#[inline]
fn pieces<'a>(sample: &'a Sample<'a>) -> impl Iterator<Item = &'a [u8]> {
    [sample.prefix.as_bytes(), sample.part].into_iter().chain(sample.labels.iter().copied())
}

/// Takes the next piece off a key.
#[inline]
pub(crate) fn piece(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_ne_bytes(*length) as usize)
}

/// Equality of pieces, most of which are too short for a call to be worth it.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a0), Some(b0), Some(a1), Some(b1)) => a0 == b0 && a1 == b1 && (a.len() <= 16 || a == b),
        _ => match (a.first_chunk::<4>(), b.first_chunk::<4>(), a.last_chunk::<4>(), b.last_chunk::<4>()) {
            (Some(a0), Some(b0), Some(a1), Some(b1)) => a0 == b0 && a1 == b1,
            _ => a.iter().eq(b),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_the_same_when_their_bytes_are(
            a in prop::collection::vec(0u8..2, 0..24),
            b in prop::collection::vec(0u8..2, 0..24),
        ) {
            prop_assert_eq!(same(&a, &b), a == b);
            prop_assert!(same(&a, &a.clone()));
        }
    }
}
