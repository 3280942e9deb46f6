//! Helpers that were killed and have not ended yet.
//!
//! Most are gone within milliseconds. One whose system call nobody can interrupt, as when the daemon of a file system has
//! taken a question and does not answer, stays until that changes: it is *stuck*. Were each next check to get another
//! helper, these would add up, so a request that is stuck is not repeated, and a container gets few that can be.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    Target,
    errand::Errand,
    state::{Identity, Key},
};
use crate::input::check::Request;

/// How long one that was killed may take to end before it is stuck.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many of a container may be stuck before it gets no new helpers.
const MOST: usize = 3;
/// How many may be stuck in all before one is too many for a container.
const MOST_IN_ALL: usize = 64;

/// Whether something may be tried while helpers of the same container have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Go,
    /// They were killed just now: it will be known soon.
    Wait,
    Stuck,
}

/// All that were killed and have not ended.
#[derive(Debug, Default)]
pub(super) struct Killed {
    list: Vec<Remains>,
}

#[derive(Debug)]
struct Remains {
    id: u32,
    target: Target,
    key: Key,
    /// What it was to do.
    request: Request,
    since: Instant,
    is_stuck: bool,
}

impl Killed {
    pub(super) fn add(&mut self, id: u32, errand: &Errand<'_>) {
        let (target, key, request) = (errand.target.clone(), errand.key.clone(), errand.request.clone());
        self.list.push(Remains { id, target, key, request, since: Instant::now(), is_stuck: false });
    }

    pub(super) fn stuck(&self) -> usize {
        self.list.iter().filter(|remains| remains.is_stuck).count()
    }

    /// Forgets those that are gone, and finds out who is stuck. True if that are not the same ones as before.
    pub(super) fn look(&mut self, gone: &HashSet<u32>) -> bool {
        let mut changes = false;
        let ended: Vec<Remains> = self.list.extract_if(.., |remains| gone.contains(&remains.id)).collect();
        for remains in ended.iter().filter(|remains| remains.is_stuck) {
            changes = true;
            if self.stuck_in(remains.key.container.as_ref()) == 0 {
                remains.say_free();
            }
        }
        let is_late = |remains: &Remains| !remains.is_stuck && remains.since.elapsed() >= PATIENCE;
        while let Some(at) = self.list.iter().position(is_late) {
            changes = true;
            if self.stuck_in(self.list[at].key.container.as_ref()) == 0 {
                self.list[at].say_stuck();
            }
            self.list[at].is_stuck = true;
        }
        changes
    }

    /// Whether a request may be made: not while the same one hangs.
    pub(super) fn request(&self, errand: &Errand<'_>) -> Verdict {
        let same = self.list.iter().filter(|remains| remains.is_of(errand));
        let verdicts = same.map(|remains| if remains.is_stuck { Verdict::Stuck } else { Verdict::Wait });
        verdicts.max().unwrap_or(Verdict::Go)
    }

    /// Whether a container may have another helper.
    pub(super) fn helper(&self, container: Option<&Identity>) -> Verdict {
        let stuck = self.stuck_in(container);
        if stuck >= MOST || (stuck > 0 && self.stuck() >= MOST_IN_ALL) {
            Verdict::Stuck
        } else if self.of(container).count() >= MOST {
            Verdict::Wait
        } else {
            Verdict::Go
        }
    }

    fn of<'a>(&'a self, container: Option<&'a Identity>) -> impl Iterator<Item = &'a Remains> {
        self.list.iter().filter(move |remains| remains.key.container.as_ref() == container)
    }

    fn stuck_in(&self, container: Option<&Identity>) -> usize {
        self.of(container).filter(|remains| remains.is_stuck).count()
    }
}

impl Remains {
    fn is_of(&self, errand: &Errand<'_>) -> bool {
        let (own, other) = (&self.request, errand.request);
        self.key == errand.key && own.input == other.input && own.body == other.body
    }

    fn say_stuck(&self) {
        let (container, check) = (self.target.to_string(), &self.request.input);
        tracing::warn!(
            container,
            check,
            "a check is stuck in the kernel: its helper was killed and has not ended, and the same is not tried again before"
        );
    }

    fn say_free(&self) {
        let container = self.target.to_string();
        tracing::info!(container, "no check of it is stuck any more");
    }
}
