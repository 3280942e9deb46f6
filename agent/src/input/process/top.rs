//! The processes that use the most of one thing: a list that does not flap.

use std::cmp::Reverse;

use super::table::{Id, Name, Process, Table, Use};

/// Cycles in a row for which a process must be beaten before it leaves, or have another name before it gets it.
const PATIENCE: u8 = 3;

/// A list of at most so many processes.
pub(super) struct Top {
    most: usize,
    of: fn(&Process) -> &Use,
    members: Vec<Member>,
    candidates: Vec<(u64, Id)>,
}

/// A process with a series of its own.
pub(super) struct Member {
    id: Id,
    pub(super) name: Name,
    /// What it used since it is in the list.
    pub(super) used: u64,
    /// What of that came with the last pass.
    growth: u64,
    /// How much it has, of what is no counter.
    pub(super) level: u64,
    rank: u64,
    beaten: u8,
    renamed: u8,
}

impl Member {
    pub(super) fn pid(&self) -> u32 {
        self.id.pid
    }

    fn enters(id: Id, process: &Process, of: &Use) -> Self {
        let (level, rank) = (of.now(), of.rank);
        Self { id, name: process.name, used: 0, growth: 0, level, rank, beaten: 0, renamed: 0 }
    }

    fn follow(&mut self, name: Name, of: &Use) {
        (self.level, self.rank) = (of.now(), of.rank);
        (self.growth, self.used) = (of.growth, self.used + of.growth);
        // A program may name itself again and again: only a name that stays is taken over, as a new series.
        self.renamed = if name == self.name { 0 } else { self.renamed + 1 };
        if self.renamed == PATIENCE {
            (self.name, self.renamed) = (name, 0);
            (self.growth, self.used) = (0, 0);
        }
    }
}

impl Top {
    pub(super) fn new(most: usize, of: fn(&Process) -> &Use) -> Self {
        Self { most, of, members: Vec::with_capacity(most), candidates: Vec::with_capacity(most + 1) }
    }

    /// Makes the list longer or shorter; the weakest leave it.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.members.sort_unstable_by_key(|member| Reverse(member.rank));
        self.members.truncate(most);
        self.members.reserve_exact(most - self.members.len());
        self.candidates.reserve_exact(most + 1);
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Follows the members, then lets others in. Returns how much the series of the members have grown; those
    /// that are new start at zero, and show what is used from the next pass on.
    pub(super) fn update(&mut self, table: &Table) -> u64 {
        self.members.retain_mut(|member| {
            let Some(process) = table.get(member.id) else { return false };
            member.follow(process.name, (self.of)(process));
            true
        });
        self.find_candidates(table);
        self.exchange(table);
        self.members.iter().map(|member| member.growth).sum()
    }

    /// The first of those that are not in the list, best first.
    fn find_candidates(&mut self, table: &Table) {
        self.candidates.clear();
        for (id, process) in table.iter() {
            let rank = (self.of)(process).rank;
            let full = self.candidates.len() == self.most;
            let least = if full { self.candidates.last().map_or(u64::MAX, |last| last.0) } else { 0 };
            if rank > least && !self.members.iter().any(|member| member.id == id) {
                let at = self.candidates.partition_point(|other| other.0 >= rank);
                self.candidates.insert(at, (rank, id));
                self.candidates.truncate(self.most);
            }
        }
    }

    /// Fills free places. A place that is taken becomes free when a candidate was a quarter above its holder for
    /// some cycles.
    fn exchange(&mut self, table: &Table) {
        let mut candidates = self.candidates.iter().filter_map(|&(_, id)| {
            table.get(id).map(|process| Member::enters(id, process, (self.of)(process)))
        });
        let taken = self.members.len();
        self.members.extend(candidates.by_ref().take(self.most - taken));
        self.members[..taken].sort_unstable_by_key(|member| (member.rank, Reverse(member.beaten)));
        for member in &mut self.members[..taken] {
            // The strongest one outside against the weakest inside, the second against the second, and so on.
            match candidates.next().filter(|candidate| candidate.rank / 5 * 4 > member.rank) {
                Some(candidate) => {
                    member.beaten += 1;
                    if member.beaten == PATIENCE {
                        *member = candidate;
                    }
                }
                None => member.beaten = 0,
            }
        }
    }
}
