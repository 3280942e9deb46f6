//! What to do about a budget that is not kept: a machine without clock, kernel or engine. It is shown the
//! figures of one window after the other, and answers each with at most one step.

#[cfg(test)]
mod tests;

use crate::catalogue::Rank;

/// What may be used. None is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// CPUs: 0.05 is a twentieth of one.
    pub cpu: Option<f64>,
    /// Bytes.
    pub memory: Option<f64>,
}

/// How much of a source is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All of it.
    #[default]
    Full,
    /// One collection in 2, 4 or 8: the number is the power of two.
    Slowed(u32),
    /// No collection.
    Shed,
    /// Given up, with its kernel programs and its memory. There is no way back from that without the
    /// privileges of the start.
    Closed,
}

/// What one source cost in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// CPUs that its collections took.
    pub collecting: f64,
    /// CPUs that its kernel programs took; 0 when that is not known.
    pub kernel: f64,
    /// Bytes of its kernel maps.
    pub maps: f64,
}

impl Share {
    fn cpu(&self) -> f64 {
        self.collecting + self.kernel
    }
}

/// The figures of a window.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// CPUs that the agent and its kernel programs took.
    pub cpu: f64,
    /// Bytes that they hold.
    pub memory: f64,
    /// Of which the sources.
    pub shares: &'a [Share],
}

/// A source gets another level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub source: usize,
    /// What it had.
    pub from: Level,
    /// What it gets.
    pub to: Level,
}

/// A window that is over the budget may be an accident.
const PATIENCE: u32 = 2;
/// What cannot be taken back is not done before the budget was missed for that many windows.
const LONG_PATIENCE: u32 = 6;
/// The last slowing before a source is shed: one collection in 8.
const SLOWEST: u32 = 3;
/// Below this share of the limit there is room to give something back.
const ROOM: f64 = 0.7;
/// A source that takes less than this share of the limit is left alone: it would be missed, and little won.
const WORTH: f64 = 0.05;
/// Below this share of the limit for all of them, kernel programs are not what breaks it, and are not closed.
const GRAVE: f64 = 0.5;
/// Windows with room before something is given back, at first.
const HOLD_OFF: u32 = 12;
/// The same after it was in vain again and again: an hour of ten seconds.
const LONGEST_HOLD_OFF: u32 = 360;

/// Whether most of what a source costs is paid where its kernel programs run.
fn is_kernels(rank: Rank, share: Share) -> bool {
    rank == Rank::Optional && share.kernel > share.collecting
}

/// The machine.
#[derive(Debug)]
pub struct Governor {
    limits: Limits,
    sources: Vec<(Rank, Level)>,
    /// Sources in the order in which they were restricted, one entry per step: taken back from the end.
    steps: Vec<usize>,
    cpu_over: u32,
    memory_over: u32,
    /// Windows with room since the last one without, or the last step.
    room: u32,
    /// Windows since something was given back.
    given_back: u32,
    hold_off: u32,
}

impl Governor {
    /// One for sources of these ranks.
    pub fn new(limits: Limits, ranks: impl IntoIterator<Item = Rank>) -> Self {
        Self {
            limits,
            sources: ranks.into_iter().map(|rank| (rank, Level::Full)).collect(),
            steps: Vec::new(),
            cpu_over: 0,
            memory_over: 0,
            room: 0,
            given_back: LONGEST_HOLD_OFF,
            hold_off: HOLD_OFF,
        }
    }

    /// Knows one more source from now on, which is run in full.
    pub fn add(&mut self, rank: Rank) {
        self.sources.push((rank, Level::Full));
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The level of a source.
    pub fn level(&self, source: usize) -> Level {
        self.sources[source].1
    }

    /// Looks at a window, and decides.
    pub fn step(&mut self, window: &Window<'_>) -> Option<Step> {
        self.given_back = self.given_back.saturating_add(1);
        let over = |used: f64, limit: Option<f64>| limit.is_some_and(|limit| used > limit);
        let count = |over: bool, windows: u32| if over { windows.saturating_add(1) } else { 0 };
        self.cpu_over = count(over(window.cpu, self.limits.cpu), self.cpu_over);
        self.memory_over = count(over(window.memory, self.limits.memory), self.memory_over);
        // What can be given back takes CPU time, and no memory that it did not have before.
        let has_room = self.limits.cpu.is_none_or(|limit| window.cpu <= limit * ROOM);
        self.room = count(has_room, self.room);

        let restricted = if self.cpu_over >= PATIENCE { self.spare_cpu(window.shares) } else { None };
        let restricted = restricted.or_else(|| {
            if self.memory_over >= LONG_PATIENCE { self.spare_memory(window.shares) } else { None }
        });
        restricted.or_else(|| if self.room >= self.hold_off { self.give_back() } else { None })
    }

    /// Restricts the dearest source by one step. A basic one is not shed while an optional one is left.
    fn spare_cpu(&mut self, shares: &[Share]) -> Option<Step> {
        let limit = self.limits.cpu?;
        let worth = limit * WORTH;
        let kernel: f64 = shares.iter().map(|share| share.kernel).sum();
        let programs_matter = kernel > limit * GRAVE;
        let left = |&(at, (rank, level)): &(usize, (Rank, Level))| {
            // What is shed already can still cost what its kernel programs take.
            let open = if is_kernels(rank, shares[at]) {
                programs_matter && level < Level::Closed
            } else {
                level < Level::Shed
            };
            rank != Rank::Own && open && shares[at].cpu() >= worth
        };
        let left: Vec<_> = self.sources.iter().copied().enumerate().filter(left).collect();
        let dearest = |of: &dyn Fn(Rank) -> bool| {
            let costs = left.iter().filter(|(_, (rank, _))| of(*rank)).map(|&(at, _)| (at, shares[at].cpu()));
            costs.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
        };
        let mut at = dearest(&|_| true)?;
        if self.sources[at] == (Rank::Basic, Level::Slowed(SLOWEST)) {
            at = dearest(&|rank| rank == Rank::Optional).unwrap_or(at);
        }
        let (rank, level) = self.sources[at];
        // Collecting it less often would leave what its programs take.
        if is_kernels(rank, shares[at]) {
            return if self.cpu_over >= LONG_PATIENCE {
                Some(self.restrict(at, Level::Closed))
            } else {
                None
            };
        }
        let next = match level {
            Level::Full => Level::Slowed(1),
            Level::Slowed(power) if power < SLOWEST => Level::Slowed(power + 1),
            _ => Level::Shed,
        };
        Some(self.restrict(at, next))
    }

    /// Closes the source with the largest maps. Memory of basic sources is not worth their loss.
    fn spare_memory(&mut self, shares: &[Share]) -> Option<Step> {
        let sources = self.sources.iter().enumerate();
        let left = sources.filter(|&(at, &(rank, level))| {
            rank == Rank::Optional && level < Level::Closed && shares[at].maps > 0.0
        });
        let largest = left.max_by(|a, b| shares[a.0].maps.total_cmp(&shares[b.0].maps)).map(|(at, _)| at)?;
        Some(self.restrict(largest, Level::Closed))
    }

    fn restrict(&mut self, at: usize, to: Level) -> Step {
        // What was given back had to be taken again: the next try comes later.
        if self.given_back <= self.hold_off {
            self.hold_off = (self.hold_off * 2).min(LONGEST_HOLD_OFF);
            self.given_back = LONGEST_HOLD_OFF + 1;
        }
        if to == Level::Closed {
            self.steps.retain(|&step| step != at);
        } else {
            self.steps.push(at);
        }
        self.change(at, to)
    }

    /// Takes the last step back.
    fn give_back(&mut self) -> Option<Step> {
        let Some(at) = self.steps.pop() else {
            if self.room >= LONGEST_HOLD_OFF {
                self.hold_off = HOLD_OFF;
            }
            return None;
        };
        self.given_back = 0;
        let back = match self.sources[at].1 {
            Level::Shed => Level::Slowed(SLOWEST),
            Level::Slowed(power) if power > 1 => Level::Slowed(power - 1),
            _ => Level::Full,
        };
        Some(self.change(at, back))
    }

    /// Sets a level. What the next windows show is waited for, as it was for this step.
    fn change(&mut self, source: usize, to: Level) -> Step {
        let from = std::mem::replace(&mut self.sources[source].1, to);
        (self.cpu_over, self.memory_over, self.room) = (0, 0, 0);
        Step { source, from, to }
    }
}
