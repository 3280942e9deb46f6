//! Banks: the shape of every counter map.
//!
//! A bank is a fixed run of `u64` words. Maps hold one bank per possible CPU (only that CPU writes it) or
//! one per key (written with atomic adds). A bank is a whole number of cache lines, so two writers never
//! share one.

/// `u64` words in a cache line.
pub const LINE_WORDS: usize = 8;

/// Rounds a number of words up to whole cache lines.
pub const fn padded(words: usize) -> usize {
    words.div_ceil(LINE_WORDS) * LINE_WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bank_is_whole_cache_lines() {
        assert_eq!(padded(1), 8);
        assert_eq!(padded(8), 8);
        assert_eq!(padded(9), 16);
    }
}
