//! What all tasks used together, the dead ones included, and how much of it has no series of its own.

/// A counter that follows a sum of living and dead tasks.
///
/// Tasks that end while a pass is under way, and those that have ended and are not freed yet, are in neither
/// half of the sum: it may dip, and has caught up at the next pass. So only what exceeds the highest sum so far
/// is new. A sum that stays low was cut off: it is followed from there.
#[derive(Default)]
pub(super) struct Total {
    highest: Option<u64>,
    lower_before: bool,
    /// What belongs to `other` and is not in it yet; below zero when named processes got more than the sum has.
    pending: i64,
    /// What all without a series of their own used.
    pub(super) other: u64,
}

impl Total {
    /// Takes the sum of all, and what of its growth went to series of their own.
    pub(super) fn update(&mut self, sum: u64, named: u64) {
        // What had been used before the first pass belongs to no series.
        let Some(highest) = self.highest else {
            self.highest = Some(sum);
            return;
        };
        let lower = sum < highest;
        if lower && self.lower_before {
            self.highest = Some(sum);
            self.pending = 0;
            self.lower_before = false;
            return;
        }
        self.lower_before = lower;
        self.highest = Some(highest.max(sum));
        self.pending += signed(sum.saturating_sub(highest)) - signed(named);
        if let Ok(due) = u64::try_from(self.pending) {
            self.other += due;
            self.pending = 0;
        }
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(steps: &[(u64, u64)]) -> Vec<u64> {
        let mut total = Total::default();
        let mut other = |&(sum, named): &(u64, u64)| {
            total.update(sum, named);
            total.other
        };
        steps.iter().map(&mut other).collect()
    }

    #[test]
    fn what_is_not_named_goes_to_other() {
        assert_eq!(followed(&[(1_000, 0), (1_100, 30), (1_200, 100)]), [0, 70, 70]);
    }

    #[test]
    fn a_dip_is_made_up_for() {
        assert_eq!(followed(&[(1_000, 0), (990, 0), (1_010, 0)]), [0, 0, 10]);
        assert_eq!(followed(&[(1_000, 0), (995, 20), (1_050, 10)]), [0, 0, 20]);
    }

    #[test]
    fn a_sum_that_lost_a_part_is_followed_again() {
        assert_eq!(followed(&[(1_000, 0), (500, 0), (510, 0), (530, 0)]), [0, 0, 0, 20]);
    }
}
