//! What is taken from several rounds.

/// The middle one; nothing of nothing.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The median of what one has more than the other in the same round: what disturbs a whole round cancels.
pub(super) fn above(values: &[f64], base: &[f64]) -> f64 {
    median(values.iter().zip(base).map(|(value, base)| value - base))
}

/// The median of how many times as much one has in the same round.
pub(super) fn times(values: &[f64], base: &[f64]) -> f64 {
    median(values.iter().zip(base).map(|(value, base)| value / base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_disturbed_round_does_not_count() {
        assert_eq!(median([1.0, 100.0, 2.0]).to_bits(), 2f64.to_bits());
        assert_eq!(median([1.0, 2.0, 3.0, 100.0]).to_bits(), 2.5f64.to_bits());
        assert_eq!(above(&[3.0, 8.0, 4.0], &[1.0, 2.0, 2.0]).to_bits(), 2f64.to_bits());
        assert_eq!(times(&[3.0, 8.0, 4.0], &[1.0, 2.0, 2.0]).to_bits(), 3f64.to_bits());
        assert!(median([]).is_nan());
    }
}
