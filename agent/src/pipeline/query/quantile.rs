//! Quantiles of the values of a window, from an exponential histogram.
//!
//! Every power of two is divided into 32 equal parts, so the middle of a part is at most 1/64 (1.6 %) away from
//! every value in it. What is nearer to zero than 2^-64 counts as zero.

/// Bits of the mantissa that tell parts of an octave from each other.
const PARTS_BITS: u32 = 5;
/// What is dropped of a number's bits.
const SHIFT: u32 = 52 - PARTS_BITS;
/// The smallest magnitude that is told from zero: 2^-64.
const SMALLEST: f64 = f64::from_bits((1023 - 64) << 52);

/// Counts of values by their size.
#[derive(Clone, Debug, Default)]
pub(super) struct Sketch {
    below: Half,
    zeros: u64,
    above: Half,
    count: u64,
}

/// Counts of magnitudes. The range grows to what is seen and stays.
#[derive(Clone, Debug, Default)]
struct Half {
    /// Part that the first count is of.
    first: usize,
    counts: Vec<u64>,
}

impl Half {
    fn observe(&mut self, magnitude: f64) {
        // The sign bit is clear, so 16 bits are left.
        let part = (magnitude.to_bits() >> SHIFT) as usize;
        match part.checked_sub(self.first).and_then(|at| self.counts.get_mut(at)) {
            Some(count) => *count += 1,
            None => self.grow(part),
        }
    }

    /// Makes room for a part, by whole octaves, and counts one there.
    #[cold]
    fn grow(&mut self, part: usize) {
        let octave = part & !((1 << PARTS_BITS) - 1);
        let (first, end) = if self.counts.is_empty() {
            (octave, octave + (1 << PARTS_BITS))
        } else {
            let end = self.first + self.counts.len();
            (self.first.min(octave), end.max(octave + (1 << PARTS_BITS)))
        };
        let mut counts = vec![0; end - first];
        if !self.counts.is_empty() {
            counts[self.first - first..][..self.counts.len()].copy_from_slice(&self.counts);
        }
        counts[part - first] += 1;
        (self.first, self.counts) = (first, counts);
    }

    /// The middle of a part.
    fn middle(&self, at: usize) -> f64 {
        let half = 1u64 << (SHIFT - 1);
        f64::from_bits(((self.first + at) as u64) << SHIFT | half)
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The magnitude with so many below it.
    fn nth(&self, mut skip: u64) -> Option<f64> {
        for (at, &count) in self.counts.iter().enumerate() {
            if skip < count {
                return Some(self.middle(at));
            }
            skip -= count;
        }
        None
    }
}

impl Sketch {
    pub(super) fn clear(&mut self) {
        self.below.counts.fill(0);
        self.above.counts.fill(0);
        (self.zeros, self.count) = (0, 0);
    }

    /// Counts a finite value.
    pub(super) fn observe(&mut self, value: f64) {
        self.count += 1;
        if value.abs() < SMALLEST {
            self.zeros += 1;
        } else if value > 0.0 {
            self.above.observe(value);
        } else {
            self.below.observe(-value);
        }
    }

    /// The smallest value that so many per cent of the values do not exceed, at most 1/64 off.
    pub(super) fn quantile(&self, percent: u8) -> Option<f64> {
        // Nearest rank: the position of the value among all, from 1.
        let rank = (self.count * u64::from(percent)).div_ceil(100).max(1);
        let below = self.below.total();
        let before = rank - 1;
        if before < below {
            // Far below zero first.
            self.below.nth(below - 1 - before).map(|magnitude| -magnitude)
        } else if before < below + self.zeros {
            Some(0.0)
        } else {
            self.above.nth(before - below - self.zeros)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_quantile() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.quantile(50), None);
        sketch.observe(1.0);
        sketch.clear();
        assert_eq!(sketch.quantile(50), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_their_bound(
            values in proptest::collection::vec(
                prop_oneof![Just(0.0), -1e3..1e3f64, 1e-9..1e-6f64, 1e9..1e15f64],
                1..200,
            ),
            percent in 1u8..=99,
        ) {
            let mut sketch = Sketch::default();
            for &value in &values {
                sketch.observe(value);
            }
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = (values.len() * usize::from(percent)).div_ceil(100).max(1);
            let exact = sorted[rank - 1];
            let found = sketch.quantile(percent).unwrap();
            prop_assert!((found - exact).abs() <= exact.abs() / 64.0 + 1e-18, "{found} for {exact}");
        }
    }
}
