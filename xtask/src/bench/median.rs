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

/// Between which of the values the median lies that endless rounds would have, with 95 % certainty, whatever their
/// distribution: by ranks, half of the values being above it and half below.
pub(super) fn between(values: &[f64]) -> [f64; 2] {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank, at least 0")]
    let rank = ((count / 2.0 - 0.98 * count.sqrt()).max(0.0)) as usize;
    match (values.get(rank), values.len().checked_sub(rank + 1).and_then(|rank| values.get(rank))) {
        (Some(least), Some(most)) => [*least, *most],
        _ => [f64::NAN; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_a_median_are_ranks() {
        let values: Vec<f64> = (0..100).rev().map(f64::from).collect();
        // 40 and 61 of 1 to 100 are what tables of the sign test say.
        assert_eq!(between(&values).map(f64::to_bits), [40f64, 59.0].map(f64::to_bits));
        assert_eq!(between(&[3.0, 1.0]).map(f64::to_bits), [1f64, 3.0].map(f64::to_bits));
        assert!(between(&[])[0].is_nan());
    }

    #[test]
    fn a_single_disturbed_round_does_not_count() {
        assert_eq!(median([1.0, 100.0, 2.0]).to_bits(), 2f64.to_bits());
        assert_eq!(median([1.0, 2.0, 3.0, 100.0]).to_bits(), 2.5f64.to_bits());
        assert_eq!(above(&[3.0, 8.0, 4.0], &[1.0, 2.0, 2.0]).to_bits(), 2f64.to_bits());
        assert_eq!(times(&[3.0, 8.0, 4.0], &[1.0, 2.0, 2.0]).to_bits(), 3f64.to_bits());
        assert!(median([]).is_nan());
    }
}
