//! Native (exponential) histograms, counted in the kernel.
//!
//! Schema 3 of Prometheus native histograms: bucket `i` holds values in `(2^((i-1)/8), 2^(i/8)]` of the
//! base unit. The program counts raw integers (nanoseconds, bytes) straight into those buckets: a binary
//! octave of raw values always meets the same eight bounds, so a bucket is the octave (a count of leading
//! zeros) and a search among eight mantissas. No value is clamped and none is converted later.

/// Buckets per power of two where it is not said otherwise: schema 3.
pub const PER_OCTAVE: u32 = 8;
/// Slots of a time histogram: every `u64` of nanoseconds has one.
pub const TIME_SLOTS: usize = 64 * PER_OCTAVE as usize + 1;
/// Slots of a size histogram: every `u32` of bytes has one.
pub const SIZE_SLOTS: usize = 32 * PER_OCTAVE as usize + 1;
/// Slots of a time histogram with one bucket per power of two (schema 0), for what there is many of.
pub const OCTAVE_SLOTS: usize = 64 + 1;

/// Word of the count of zeros, before the slots.
pub const ZERO: usize = 0;
/// Word of the sum of raw values.
pub const SUM: usize = 1;
/// First slot.
pub const FIRST: usize = 2;

/// Words that a histogram of so many slots takes.
pub const fn words(slots: usize) -> usize {
    FIRST + slots
}

/// How raw integers relate to the base unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Nanoseconds, exported as seconds.
    Nanoseconds,
    /// Nanoseconds, with one bucket per power of two seconds.
    NanosecondOctaves,
    /// Bytes.
    Bytes,
}

/// The slot of an octave histogram for what has this slot in a fine one: their bounds at powers of two
/// seconds are the same.
#[inline(always)]
pub const fn octave(slot: u32) -> u32 {
    slot / PER_OCTAVE
}

/// Bucket bounds within an octave of nanoseconds: `2^(i/8) * 1e9` shifted until its top bit is bit 63,
/// rounded down (a value is above the bound exactly when it is above the rounded bound).
const NANOSECOND_BOUNDS: [u64; 8] = [
    0x81ff_a7a9_549c_a6e3,
    0x8dc3_b896_0164_a7d9,
    0x9a98_6705_4d51_2391,
    0xa896_5f74_bf06_5071,
    0xb7d8_8a12_d0dd_9ea0,
    0xc87c_3e7d_03cd_bec3,
    0xdaa1_7c2c_d195_55db,
    0xee6b_2800_0000_0000,
];
/// The same for a raw unit that is the base unit.
const UNIT_BOUNDS: [u64; 8] = [
    0x8000_0000_0000_0000,
    0x8b95_c1e3_ea8b_d6e6,
    0x9837_f051_8db8_a96f,
    0xa5fe_d6a9_b151_38ea,
    0xb504_f333_f9de_6484,
    0xc567_2a11_5506_dadd,
    0xd744_fcca_d69d_6af4,
    0xeac0_c6e7_dd24_392e,
];

impl Scale {
    /// The slot of a raw value above zero.
    #[inline(always)]
    pub const fn slot(self, value: u64) -> u32 {
        let zeros = value.leading_zeros();
        let mantissa = value << zeros;
        let above = match self {
            Self::Nanoseconds => bounds_below(mantissa, &NANOSECOND_BOUNDS),
            // The last bound of the eight is the only one at a power of two seconds.
            Self::NanosecondOctaves => return 63 - zeros + (mantissa > NANOSECOND_BOUNDS[7]) as u32,
            Self::Bytes => bounds_below(mantissa, &UNIT_BOUNDS),
        };
        (63 - zeros) * PER_OCTAVE + above
    }

    /// Prometheus's schema of the buckets.
    pub const fn schema(self) -> i32 {
        match self {
            Self::NanosecondOctaves => 0,
            Self::Nanoseconds | Self::Bytes => 3,
        }
    }

    /// What to add to a slot to get Prometheus's bucket index.
    pub const fn offset(self) -> i32 {
        match self {
            // ceil(8 * (0 - log2(1e9))): 1 ns lies in bucket -239.
            Self::Nanoseconds => -239,
            // The same in octaves, rounded up: 1 s, which is bucket 0, lies in slot 29.
            Self::NanosecondOctaves => -29,
            Self::Bytes => 0,
        }
    }

    /// Raw units in the base unit.
    pub const fn per_unit(self) -> f64 {
        match self {
            Self::Nanoseconds | Self::NanosecondOctaves => 1e9,
            Self::Bytes => 1.0,
        }
    }
}

/// How many of the eight bounds lie below the mantissa: three or four comparisons.
#[inline(always)]
const fn bounds_below(mantissa: u64, bounds: &[u64; 8]) -> u32 {
    if mantissa > bounds[3] {
        if mantissa > bounds[5] {
            if mantissa > bounds[6] { 7 + (mantissa > bounds[7]) as u32 } else { 6 }
        } else {
            4 + (mantissa > bounds[4]) as u32
        }
    } else if mantissa > bounds[1] {
        2 + (mantissa > bounds[2]) as u32
    } else {
        (mantissa > bounds[0]) as u32
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::*;

    const SCALES: [Scale; 3] = [Scale::Nanoseconds, Scale::NanosecondOctaves, Scale::Bytes];

    /// `value <= 2^(index/8)` in base units (or `2^index`), decided in exact integers: both sides to the
    /// eighth power.
    fn within(value: u64, scale: Scale, index: i32) -> bool {
        let unit = match scale {
            Scale::Nanoseconds | Scale::NanosecondOctaves => 1_000_000_000u64,
            Scale::Bytes => 1,
        };
        let index = if scale.schema() == 0 { index * 8 } else { index };
        let left = BigUint::from(value).pow(8);
        let right = BigUint::from(unit).pow(8);
        if index >= 0 { left <= right << index.unsigned_abs() } else { left << index.unsigned_abs() <= right }
    }

    fn check(value: u64, scale: Scale) {
        let index = i32::try_from(scale.slot(value)).unwrap() + scale.offset();
        assert!(within(value, scale, index), "{value} lies above bucket {index} of {scale:?}");
        assert!(!within(value, scale, index - 1), "{value} lies below bucket {index} of {scale:?}");
    }

    #[test]
    fn every_power_of_two_and_its_neighbours_has_its_bucket() {
        for scale in SCALES {
            for bit in 0..64 {
                let value = 1u64 << bit;
                for near in [value - 1, value, value + 1] {
                    if near > 0 {
                        check(near, scale);
                    }
                }
            }
            check(u64::MAX, scale);
        }
    }

    #[test]
    fn whole_seconds_lie_on_their_own_bound() {
        for power in 0..30 {
            let value = 1_000_000_000u64 << power;
            let slot = i32::try_from(Scale::Nanoseconds.slot(value)).unwrap();
            assert_eq!(slot + Scale::Nanoseconds.offset(), 8 * power);
            assert_eq!(Scale::Nanoseconds.slot(value + 1), u32::try_from(slot).unwrap() + 1);
        }
    }

    #[test]
    fn slots_fit_their_maps() {
        assert_eq!(Scale::Nanoseconds.slot(u64::MAX) as usize, TIME_SLOTS - 1);
        assert_eq!(Scale::NanosecondOctaves.slot(u64::MAX) as usize, OCTAVE_SLOTS - 1);
        assert_eq!(Scale::Bytes.slot(u64::from(u32::MAX)) as usize, SIZE_SLOTS - 1);
    }

    proptest! {
        #[test]
        fn any_value_lies_in_its_bucket(value in 1u64.., shift in 0u32..64) {
            let value = (value >> shift).max(1);
            for scale in SCALES {
                check(value, scale);
            }
        }

        #[test]
        fn slots_rise_with_values(a in 1u64.., b in 1u64..) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(Scale::Nanoseconds.slot(low) <= Scale::Nanoseconds.slot(high));
            prop_assert!(Scale::Bytes.slot(low) <= Scale::Bytes.slot(high));
        }
    }
}
