//! What is too dear to do for all at every collection is done for some, in turn.

use std::ops::Range;

/// Whose turn it is, by places in a list.
pub(super) struct Turns {
    at_once: usize,
    current: Range<usize>,
}

impl Turns {
    /// For at most so many at a time.
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once, current: 0..0 }
    }

    /// The next ones of a list of this length, from its start again after its end.
    pub(super) fn next(&mut self, length: usize) -> Range<usize> {
        let start = if self.current.end < length { self.current.end } else { 0 };
        self.current = start..length.min(start + self.at_once);
        self.current()
    }

    /// Those whose turn it is.
    pub(super) fn current(&self) -> Range<usize> {
        self.current.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_list_has_its_turn_every_time() {
        let mut turns = Turns::new(3);
        assert_eq!([turns.next(3), turns.next(2), turns.next(0), turns.next(1)], [0..3, 0..2, 0..0, 0..1]);
    }

    #[test]
    fn a_long_list_has_its_turn_bit_by_bit() {
        let mut turns = Turns::new(3);
        assert_eq!([turns.next(7), turns.next(7), turns.next(7), turns.next(7)], [0..3, 3..6, 6..7, 0..3]);
        assert_eq!(turns.next(4), 3..4);
        assert_eq!(turns.current(), 3..4);
    }
}
