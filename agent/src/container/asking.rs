//! One task for each source: it asks about what has come, all of it at once, and goes on while nobody waits for it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{Sender, UnboundedReceiver},
    time::{error::Elapsed, sleep_until, timeout},
};

use super::{
    meters::SourceMeter,
    source::{Description, Found, Source},
};

/// How a source is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long it may take for an answer.
    deadline: Duration,
    /// When it is asked again about a container that it did not know: a group may be there before its runtime says
    /// so. After the last it is somebody else's.
    again: [Duration; 4],
    /// Pauses after a failure: the first, which doubles, and the longest.
    pause: Duration,
    longest_pause: Duration,
    /// When it is asked whether it is there, after the last time that it was asked anything.
    ping: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            again: [100, 500, 5_000, 30_000].map(Duration::from_millis),
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(10),
            ping: Duration::from_secs(10),
        }
    }
}

/// What a source is to do.
#[derive(Debug)]
pub(super) enum Errand {
    /// These have come.
    Describe(Vec<Found>),
    /// These have gone.
    Forget(Vec<String>),
}

/// What a source has to say.
#[derive(Debug)]
pub(super) enum Answer {
    /// By the rank of who says it.
    Described(usize, Vec<Description>),
    /// By its rank: these are to be described again.
    Changed(usize, Vec<String>),
}

/// A container that is to be described.
struct Open {
    found: Found,
    asked: usize,
    due: Instant,
}

/// A source and what it is to be asked.
pub(super) struct Asking {
    rank: usize,
    source: Box<dyn Source>,
    open: BTreeMap<String, Open>,
    /// Not before this, after failures.
    not_before: Instant,
    next_ping: Instant,
    pace: Pace,
    pause: Duration,
    meter: SourceMeter,
}

impl Asking {
    pub(super) fn new(rank: usize, source: Box<dyn Source>, pace: Pace) -> Self {
        let meter = SourceMeter::new(source.name());
        let not_before = Instant::now();
        Self {
            rank,
            source,
            open: BTreeMap::new(),
            not_before,
            next_ping: not_before,
            pace,
            pause: pace.pause,
            meter,
        }
    }

    /// Serves for as long as there are errands.
    pub(super) async fn serve(mut self, mut errands: UnboundedReceiver<Errand>, answers: Sender<Answer>) {
        loop {
            let due = self.due();
            let answer = tokio::select! {
                errand = errands.recv() => {
                    let Some(errand) = errand else { return };
                    self.take(errand);
                    continue;
                }
                changed = self.source.changed() => Answer::Changed(self.rank, changed),
                () = sleep_until(self.next_ping.into()), if due.is_none() => {
                    self.ping().await;
                    continue;
                }
                () = wait_until(due) => {
                    while let Ok(errand) = errands.try_recv() {
                        self.take(errand);
                    }
                    Answer::Described(self.rank, self.ask().await)
                }
            };
            let is_empty = matches!(&answer, Answer::Described(_, none) if none.is_empty());
            if !is_empty && answers.send(answer).await.is_err() {
                return;
            }
        }
    }

    fn take(&mut self, errand: Errand) {
        match errand {
            Errand::Describe(found) => {
                let now = Instant::now();
                for found in found.into_iter().filter(|found| self.source.may_know(found)) {
                    self.open.insert(found.id.clone(), Open { found, asked: 0, due: now });
                }
            }
            Errand::Forget(ids) => ids.iter().for_each(|id| drop(self.open.remove(id))),
        }
    }

    fn due(&self) -> Option<Instant> {
        self.open.values().map(|open| open.due).min().map(|due| due.max(self.not_before))
    }

    /// Asks whether it is there.
    async fn ping(&mut self) {
        self.next_ping = Instant::now() + self.pace.ping;
        let pinged = timeout(self.pace.deadline, self.source.ping()).await;
        match self.in_time(pinged.map(Option::transpose)) {
            Ok(Some(())) => self.note(None),
            Ok(None) => {}
            Err(why) => self.note(Some(why)),
        }
    }

    /// Asks about all whose time has come.
    async fn ask(&mut self) -> Vec<Description> {
        let now = Instant::now();
        let due = self.open.values().filter(|open| open.due <= now).map(|open| open.found.clone());
        let batch: Vec<Found> = due.collect();
        if batch.is_empty() {
            return Vec::new();
        }
        let described = timeout(self.pace.deadline, self.source.describe(&batch)).await;
        let now = Instant::now();
        match self.in_time(described) {
            Ok(descriptions) => {
                self.note(None);
                for description in &descriptions {
                    self.open.remove(&description.id);
                }
                for found in &batch {
                    self.not_known(&found.id, now);
                }
                descriptions
            }
            Err(why) => {
                self.note(Some(why));
                Vec::new()
            }
        }
    }

    fn in_time<T>(&self, result: Result<Result<T, String>, Elapsed>) -> Result<T, String> {
        result.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.pace.deadline)))
    }

    /// Takes note of how it went: of why it has not answered.
    fn note(&mut self, failure: Option<String>) {
        let now = Instant::now();
        self.next_ping = now + self.pace.ping;
        let Some(why) = failure else {
            self.pause = self.pace.pause;
            return self.meter.answered(self.source.calls());
        };
        if self.meter.failed(self.source.calls()) {
            tracing::warn!(source = self.source.name(), why, "containers keep the names that they have");
        }
        self.not_before = now + self.pause;
        // It is not known how long it will be away.
        self.next_ping = self.not_before;
        self.pause = (self.pause * 2).min(self.pace.longest_pause);
    }

    /// One that was asked about and is still open: it is asked about again, or is somebody else's.
    fn not_known(&mut self, id: &str, now: Instant) {
        let Some(open) = self.open.get_mut(id) else { return };
        match self.pace.again.get(open.asked) {
            Some(pause) => {
                open.asked += 1;
                open.due = now + *pause;
            }
            None => drop(self.open.remove(id)),
        }
    }
}

/// Waits until then; for ever without.
pub(super) async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
