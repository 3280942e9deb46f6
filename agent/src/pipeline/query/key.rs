//! What tells a series from all others: its definition and the bytes of its name part and label values.
//!
//! The bytes are kept as one run, each piece after its length, so that a series is compared with a borrowed
//! sample without building anything.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use crate::{accumulator::Sample, catalogue::Metric};

/// The bytes that tell a series from others of its metric.
fn pieces<'a>(sample: &'a Sample<'a>) -> impl Iterator<Item = &'a [u8]> {
    [sample.prefix.as_bytes(), sample.part].into_iter().chain(sample.labels.iter().copied())
}

/// Those bytes as one run.
pub(super) fn of(sample: &Sample<'_>) -> Box<[u8]> {
    let mut key = Vec::new();
    for piece in pieces(sample) {
        key.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_ne_bytes());
        key.extend_from_slice(piece);
    }
    key.into_boxed_slice()
}

/// Takes the next piece off a key.
#[inline]
pub(super) fn piece(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_ne_bytes(*length) as usize)
}

/// Whether the sample is of the series with this definition and key.
#[inline]
pub(super) fn is(metric: &'static Metric, key: &[u8], sample: &Sample<'_>) -> bool {
    if !std::ptr::eq(metric, sample.metric) {
        return false;
    }
    let mut rest = key;
    take(&mut rest, sample.prefix.as_bytes())
        && take(&mut rest, sample.part)
        && sample.labels.iter().all(|label| take(&mut rest, label))
        && rest.is_empty()
}

/// Takes the next piece off a key, if it is this one.
#[inline]
fn take(rest: &mut &[u8], wanted: &[u8]) -> bool {
    match piece(rest) {
        Some((have, after)) if same(have, wanted) => {
            *rest = after;
            true
        }
        _ => false,
    }
}

/// Equality of pieces, most of which are too short for a call to be worth it.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0 => true,
        1..=3 => a[0] == b[0] && a[a.len() / 2] == b[b.len() / 2] && a[a.len() - 1] == b[b.len() - 1],
        4..=7 => ends::<4>(a) == ends::<4>(b),
        8..=16 => ends::<8>(a) == ends::<8>(b),
        _ => a == b,
    }
}

/// The first and the last so many bytes.
#[inline]
fn ends<const N: usize>(bytes: &[u8]) -> (Option<&[u8; N]>, Option<&[u8; N]>) {
    (bytes.first_chunk(), bytes.last_chunk())
}

/// The hash of a sample's series.
pub(super) fn hash(hasher: &FixedState, sample: &Sample<'_>) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_usize(std::ptr::from_ref(sample.metric).addr());
    for piece in pieces(sample) {
        hasher.write(piece);
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// The same of a kept key.
pub(super) fn stored_hash(hasher: &FixedState, metric: &'static Metric, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_usize(std::ptr::from_ref(metric).addr());
    let mut rest = key;
    while let Some((have, after)) = piece(rest) {
        hasher.write(have);
        hasher.write_u8(0xff);
        rest = after;
    }
    hasher.finish()
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
            at in 0usize..24,
        ) {
            prop_assert_eq!(same(&a, &b), a == b);
            prop_assert!(same(&a, &a.clone()));
            let mut other = a.clone();
            if let Some(byte) = other.get_mut(at) {
                *byte ^= 1;
                prop_assert!(!same(&a, &other));
            }
        }
    }
}
