//! Sums that dip, come back, or do not.

use super::*;

/// `other` after each look, that many milliseconds after the first.
fn followed(steps: &[(u64, u64, u64)]) -> Vec<u64> {
    let (mut total, start) = (Total::default(), Instant::now());
    let mut other = |&(at, sum, named): &(u64, u64, u64)| {
        total.update(sum, named, start + Duration::from_millis(at));
        total.other
    };
    steps.iter().map(&mut other).collect()
}

/// A host that works on one CPU, where threads of a pool end and are freed a while later. In milliseconds.
struct Churn {
    /// How often one ends.
    every: u64,
    /// What each had used.
    each: u64,
    /// How many there are.
    all: u64,
    /// How long until one that has ended is freed.
    grace: u64,
}

impl Churn {
    const BEFORE: u64 = 1_000_000_000;

    fn sum(&self, at: u64) -> u64 {
        let ended = |at: u64| (at / self.every).min(self.all);
        let on_their_way = ended(at) - at.checked_sub(self.grace).map_or(0, ended);
        Self::BEFORE + at - on_their_way * self.each
    }

    /// Looks so often, and says what was used and not counted at the end of so many looks.
    fn missed(&self, interval: u64, looks: u64) -> u64 {
        let (mut total, start) = (Total::default(), Instant::now());
        for at in (0..looks).map(|look| look * interval) {
            let before = total.other;
            total.update(self.sum(at), 0, start + Duration::from_millis(at));
            assert!(total.other >= before, "it ran backwards at {at}");
            assert!(total.other <= at, "{} counted of {at}", total.other);
        }
        (looks - 1) * interval - total.other
    }
}

#[test]
fn what_is_not_named_goes_to_other() {
    assert_eq!(followed(&[(0, 1_000, 0), (1, 1_100, 30), (2, 1_200, 100)]), [0, 70, 70]);
}

#[test]
fn a_dip_is_made_up_for() {
    assert_eq!(followed(&[(0, 1_000, 0), (1, 990, 0), (2, 1_010, 0)]), [0, 0, 10]);
    assert_eq!(followed(&[(0, 1_000, 0), (1, 995, 20), (2, 1_050, 10)]), [0, 0, 20]);
}

#[test]
fn what_a_killed_process_had_used_is_not_counted_again_however_often_it_is_looked_at() {
    let (before, after) = (1_000_000, 1_000_010);
    let mut looks = vec![(0, before, 0)];
    looks.extend((1..=12).map(|at| (at, 400_000, 0)));
    looks.push((13, after, 0));
    assert_eq!(followed(&looks).last(), Some(&10));
    // Where the kernel is lazy it takes seconds.
    looks = vec![(0, before, 0)];
    looks.extend((1..=100).map(|at| (at * 100, 400_000 + at, 0)));
    looks.push((10_100, after, 0));
    assert_eq!(followed(&looks).last(), Some(&10));
}

#[test]
fn a_sum_that_lost_a_part_is_followed_again() {
    let mut looks = vec![(0, 1_000_000, 0)];
    looks.extend((1..=31).map(|second| (second * 1000, 500_000 + second, 0)));
    looks.push((32_000, 500_052, 0));
    let other = followed(&looks);
    assert_eq!(other[..=31], [0; 32], "missing, for it could not be told");
    assert_eq!(other[32], 21);
}

#[test]
fn rare_looks_take_several_to_believe_it() {
    let minute = |n: u64, sum, named| (n * 60_000, sum, named);
    // Two ends that were met by chance.
    let chance = [minute(0, 1_000, 0), minute(1, 500, 0), minute(2, 510, 0), minute(3, 1_020, 0)];
    assert_eq!(followed(&chance), [0, 0, 0, 20]);
    let loss =
        [minute(0, 1_000, 0), minute(1, 500, 5), minute(2, 510, 5), minute(3, 505, 5), minute(4, 530, 4)];
    assert_eq!(followed(&loss), [0, 0, 0, 0, 16], "from the highest on, and nothing is owed");
}

#[test]
fn what_named_processes_got_before_a_loss_stays_owed() {
    let minute = |n: u64, sum, named| (n * 60_000, sum, named);
    let looks = [
        minute(0, 1_000, 0),
        minute(1, 1_000, 30),
        minute(2, 500, 0),
        minute(3, 500, 0),
        minute(4, 500, 0),
        minute(5, 540, 0),
    ];
    assert_eq!(followed(&looks), [0, 0, 0, 0, 0, 10]);
}

#[test]
fn a_pool_that_ends_thread_by_thread_costs_nothing_and_is_not_counted_again() {
    // Now and then one is on its way, then always some.
    for (every, all) in [(50, 1000), (5, 1000), (5, 20_000)] {
        for interval in [1, 7, 13, 1000] {
            let churn = Churn { every, each: 10_000, all, grace: 12 };
            let end = every * all + 1000;
            assert_eq!(churn.missed(interval, end / interval + 2), 0, "{every} {all} {interval}");
        }
    }
}
