//! Finds the containers of this host and keeps a snapshot of them up to date.
//!
//! That a container runs is told by the kernel, as births and deaths of control groups; which process is its first, by
//! `/proc`; what it is called, by the runtimes' own files and by [`Source`]s, which are asked about new ones only and
//! never waited for. So it works the same, with fewer names, where no runtime can be reached, and a runtime that is
//! down or hangs takes nothing away from what is known.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{self, UnboundedSender},
    task::JoinSet,
    time::sleep,
};

use super::{
    Publisher, Snapshot,
    asking::{Answer, Asking, Errand, Pace, wait_until},
    known::Known,
    look::may_be_container,
    meters::{Meters, Standing},
    process::Processes,
    source::Source,
    state::Files,
    tree::{Group, Tree, followed},
};
use crate::source::Roots;

/// Changes come in groups: a pod is several containers, a container several control groups.
const QUIET: Duration = Duration::from_millis(40);
/// Between two looks at containers of which the kernel does not tell when they end.
const PATROL: Duration = Duration::from_secs(1);
/// Between two walks over everything, for what the kernel might not have told.
const WALK: Duration = Duration::from_secs(600);
/// The same where not all could be watched.
const BLIND_WALK: Duration = Duration::from_secs(10);
/// Answers of sources that wait to be taken.
const ANSWERS: usize = 64;

/// How much is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers, at most. Those past it are counted.
    pub containers: usize,
    /// Watches on control groups, at most. Directories past it are walked now and then.
    pub watches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { containers: 2_000, watches: 16_384 }
    }
}

/// Follows the containers of the host below `roots` and publishes what is known of them, for as long as anybody looks.
/// Of several `sources` the first is believed first. To be run on a runtime with timers and I/O; it never blocks for
/// longer than it takes to read a few small files for each container that comes.
pub async fn run(limits: Limits, roots: Roots, sources: Vec<Box<dyn Source>>, publisher: Publisher) {
    let hierarchies = followed(&roots).unwrap_or_else(|error| {
        tracing::warn!(%error, "no containers are found without hierarchies of control groups");
        Vec::new()
    });
    let tree = match Tree::new(hierarchies, limits.watches) {
        Ok(tree) => tree,
        Err(error) => return tracing::warn!(%error, "no containers are found without inotify"),
    };
    let (answer, mut answers) = mpsc::channel(ANSWERS);
    let mut tasks = JoinSet::new();
    let mut errands = Vec::new();
    for (rank, source) in sources.into_iter().enumerate() {
        let (errand, taken) = mpsc::unbounded_channel();
        tasks.spawn(Asking::new(rank, source, Pace::default()).serve(taken, answer.clone()));
        errands.push(errand);
    }
    let mut discovery = Discovery::new(limits, &roots, tree, errands);
    discovery.walk(Instant::now());
    loop {
        discovery.turn(Instant::now(), &publisher);
        let due = discovery.due();
        tokio::select! {
            ready = discovery.tree.ready() => match ready {
                Ok(()) => sleep(QUIET).await,
                Err(error) => return tracing::warn!(%error, "containers are not followed any more"),
            },
            Some(answer) = answers.recv() => {
                discovery.take(answer);
                while let Ok(answer) = answers.try_recv() {
                    discovery.take(answer);
                }
            }
            () = wait_until(Some(due)) => {}
            () = publisher.closed() => return,
        }
    }
}

/// Everything that is followed.
pub(super) struct Discovery {
    pub(super) tree: Tree,
    pub(super) known: Known,
    pub(super) processes: Processes,
    pub(super) files: Files,
    pub(super) errands: Vec<UnboundedSender<Errand>>,
    meters: Meters,
    generation: u64,
    next_patrol: Instant,
    next_walk: Instant,
}

impl Discovery {
    fn new(limits: Limits, roots: &Roots, tree: Tree, errands: Vec<UnboundedSender<Errand>>) -> Self {
        let now = Instant::now();
        Self {
            tree,
            known: Known::new(limits.containers),
            processes: Processes::new(roots),
            files: Files::new(roots),
            errands,
            meters: Meters::new(),
            generation: 0,
            next_patrol: now + PATROL,
            next_walk: now,
        }
    }

    /// When there is something to do even if nothing happens.
    fn due(&self) -> Instant {
        let is_patrolled = !self.known.unfollowed().is_empty();
        let next = if is_patrolled { self.next_patrol.min(self.next_walk) } else { self.next_walk };
        self.known.due().map_or(next, |due| due.min(next))
    }

    /// Looks at everything that is there, and at what is gone.
    fn walk(&mut self, now: Instant) {
        let mut changed = self.known.groups();
        self.tree.walk_all(&mut changed);
        self.consider(&changed, now);
        let pause = if self.tree.unwatched > 0 { BLIND_WALK } else { WALK };
        self.next_walk = now + pause;
    }

    /// Does all that is to be done now, and publishes what has come of it.
    fn turn(&mut self, now: Instant, publisher: &Publisher) {
        let mut changed = BTreeSet::new();
        if self.tree.take(&mut changed) && now < self.next_walk {
            self.consider(&changed, now);
        } else {
            self.walk(now);
        }
        if now >= self.next_patrol {
            self.next_patrol = now + PATROL;
            for group in self.known.unfollowed() {
                self.look_again(&group, now);
            }
        }
        let (mut found, mut told) = (Vec::new(), Vec::new());
        self.files.refill();
        for group in self.known.waiting(now) {
            if let Some(files) = self.look(&group, now) {
                found.extend(self.known.entry(&group).map(|entry| entry.found()));
                told.push(files);
            }
        }
        if !found.is_empty() {
            // What files say comes after what anybody says.
            self.known.tell(self.errands.len(), told);
            self.send(|| Errand::Describe(found.clone()));
        }
        let mut differences = self.known.differences(now, self.errands.len());
        if differences.is_none() && self.generation == 0 && !self.known.is_settling() {
            // That there is nothing is something to be known.
            differences = Some(Vec::new());
        }
        if let Some(containers) = differences {
            self.generation += 1;
            self.meters.published(containers.iter().map(AsRef::as_ref));
            publisher.send_replace(Arc::new(Snapshot::new(self.generation, containers)));
        }
        self.meters.stand(&Standing {
            watches: self.tree.watches(),
            unwatched: self.tree.unwatched,
            overflows: self.tree.overflows,
            left_out: self.known.left_out(),
            dropped: self.known.dropped,
        });
    }

    /// Takes over what is there of groups.
    fn consider(&mut self, changed: &BTreeSet<Group>, now: Instant) {
        let mut gone = Vec::new();
        for group in changed.iter().filter(|group| may_be_container(group)) {
            gone.extend(self.known.consider(group, self.tree.identities(group)));
            self.look_again(group, now);
        }
        while let Some(group) = self.known.next_left_out() {
            self.known.consider(&group, self.tree.identities(&group));
        }
        if !gone.is_empty() {
            self.send(|| Errand::Forget(gone.clone()));
        }
    }

    fn send(&self, errand: impl Fn() -> Errand) {
        for errands in &self.errands {
            // A source that has ended has nothing to say.
            let _ = errands.send(errand());
        }
    }

    /// Takes what a source says.
    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Described(rank, descriptions) => self.known.tell(rank, descriptions),
            Answer::Changed(rank, ids) => {
                let found = self.known.found(&ids);
                if let (false, Some(errands)) = (found.is_empty(), self.errands.get(rank)) {
                    // As above.
                    let _ = errands.send(Errand::Describe(found));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
