//! What all tasks used together, the dead ones included, and how much of it has no series of its own.

use std::time::{Duration, Instant};

/// For how long a sum must have stayed low before it is believed. The kernel frees a task a grace period after it
/// left the list: mostly milliseconds, ten seconds where it is lazy, and more where a CPU holds it up.
const PATIENCE: Duration = Duration::from_secs(30);
/// At how many looks in a row. A look now and then may meet an end each time.
const LOOKS: u32 = 3;

/// A counter that follows a sum of living and dead tasks.
///
/// Tasks that end while a pass is under way, and those that have ended and are not freed yet, are in neither
/// half of the sum: it may dip, and catches up when they are freed. So only what exceeds the highest sum so far
/// is new. A sum that stays low has lost a part for good: it is followed from there. What was used while that
/// was not sure is missing, as it cannot be told from what comes back.
#[derive(Default)]
pub(super) struct Total {
    highest: Option<u64>,
    low: Option<Low>,
    /// What belongs to `other` and is not in it yet; below zero when named processes got more than the sum has.
    pending: i64,
    /// What all without a series of their own used.
    pub(super) other: u64,
}

/// A sum below the highest one.
struct Low {
    since: Instant,
    looks: u32,
    /// The most that was seen meanwhile: at that look the fewest tasks were on their way.
    most: u64,
    /// What was pending before. Of what came later neither the sum nor the named part counts.
    pending: i64,
}

impl Low {
    fn is_believed(&self, now: Instant) -> bool {
        self.looks >= LOOKS && now.saturating_duration_since(self.since) >= PATIENCE
    }
}

impl Total {
    /// Takes the sum of all at a time, and what of its growth went to series of their own.
    pub(super) fn update(&mut self, sum: u64, named: u64, now: Instant) {
        // What had been used before the first pass belongs to no series.
        let Some(highest) = self.highest else {
            self.highest = Some(sum);
            return;
        };
        if sum < highest {
            self.wait(sum, named, now);
            return;
        }
        self.low = None;
        self.highest = Some(sum);
        self.add(signed(sum - highest) - signed(named));
    }

    /// Waits for a low sum to come back, for as long as it may.
    fn wait(&mut self, sum: u64, named: u64, now: Instant) {
        let low = self.low.get_or_insert(Low { since: now, looks: 0, most: sum, pending: self.pending });
        low.looks += 1;
        low.most = low.most.max(sum);
        if low.is_believed(now) {
            (self.highest, self.pending) = (Some(low.most), low.pending);
            self.low = None;
        } else {
            self.add(-signed(named));
        }
    }

    fn add(&mut self, part: i64) {
        self.pending += part;
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
mod tests;
