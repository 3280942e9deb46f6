//! Where a pipeline lies between collections. Whoever collects it takes it out, so that no lock is held across
//! a collection, and everybody else can wait for as long as they like and no longer.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::pipeline::Pipeline;

/// Locked for moments only: nothing that a pipeline does with its sources is done under this lock.
#[derive(Default)]
pub(super) struct Slot {
    content: Mutex<Content>,
    /// Rung when something was put back, or will not be.
    changed: Condvar,
}

#[derive(Default)]
struct Content {
    /// None while somebody has it.
    pipeline: Option<Box<dyn Pipeline>>,
    /// Which pipeline it is: raised with each one that is put in place of another.
    version: u64,
    /// Since when a thread has it that was given up.
    stuck: Option<Instant>,
    /// No pipeline belongs here any more.
    gone: bool,
    /// How many wait for a change. Ringing for nobody is a system call too.
    waiting: u32,
}

/// Why a pipeline cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Somebody has it for longer than one can wait.
    Busy,
    /// A thread that was given up has it.
    Stuck,
    /// It was removed.
    Gone,
}

impl Slot {
    pub(super) fn new(pipeline: Box<dyn Pipeline>) -> Self {
        Self {
            content: Mutex::new(Content { pipeline: Some(pipeline), ..Content::default() }),
            ..Self::default()
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // A panic inside a pipeline that is looked at leaves it where it is: poison means nothing.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, content: &Content) {
        if content.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Waits until it is there.
    fn wait(&self, until: Instant) -> Result<MutexGuard<'_, Content>, Missing> {
        let mut content = self.content();
        loop {
            match &*content {
                Content { gone: true, .. } => return Err(Missing::Gone),
                Content { pipeline: Some(_), .. } => return Ok(content),
                Content { stuck: Some(_), .. } => return Err(Missing::Stuck),
                _ => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missing::Busy);
            }
            content.waiting += 1;
            content = self.changed.wait_timeout(content, left).unwrap_or_else(PoisonError::into_inner).0;
            content.waiting -= 1;
        }
    }

    /// Takes it out.
    pub(super) fn lease(&self, until: Instant) -> Result<Lease<'_>, Missing> {
        let mut content = self.wait(until)?;
        let pipeline = content.pipeline.take().ok_or(Missing::Busy)?;
        Ok(Lease { slot: self, version: content.version, pipeline: Some(pipeline) })
    }

    /// Looks at it in its place, where it stays until the guard is dropped.
    pub(super) fn look(&self) -> Result<Look<'_>, Missing> {
        self.wait(Instant::now()).map(Look)
    }

    /// Waits until it can be looked at, or will not be for long.
    pub(super) fn settle(&self, until: Instant) {
        drop(self.wait(until));
    }

    /// Notes that the thread which has this version was given up. False when it no longer belongs here.
    pub(super) fn give_up(&self, version: u64) -> bool {
        let mut content = self.content();
        let ours = content.version == version && !content.gone;
        if ours && content.pipeline.is_none() {
            content.stuck = Some(Instant::now());
            self.ring(&content);
        }
        ours
    }

    /// Since when a thread that was given up has it.
    pub(super) fn stuck(&self) -> Option<Instant> {
        self.content().stuck
    }

    /// Puts another one in its place, and returns what was there: what that holds may take its time to be closed.
    /// Whoever has the old one drops it when it comes back.
    #[must_use]
    pub(super) fn replace(&self, pipeline: Box<dyn Pipeline>) -> Option<Box<dyn Pipeline>> {
        let mut content = self.content();
        content.version += 1;
        content.stuck = None;
        let old = content.pipeline.replace(pipeline);
        self.ring(&content);
        old
    }

    /// Takes what is there away for good.
    pub(super) fn clear(&self) {
        let mut content = self.content();
        content.version += 1;
        (content.gone, content.stuck) = (true, None);
        let old = content.pipeline.take();
        self.ring(&content);
        drop(content);
        drop(old);
    }
}

/// A pipeline that was taken out; put back when this is dropped.
pub(super) struct Lease<'s> {
    slot: &'s Slot,
    version: u64,
    pipeline: Option<Box<dyn Pipeline>>,
}

impl Lease<'_> {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether it still belongs where it was taken from.
    pub(super) fn is_current(&self) -> bool {
        self.slot.content().version == self.version
    }

    pub(super) fn get(&mut self) -> Option<&mut dyn Pipeline> {
        self.pipeline.as_deref_mut().map(|pipeline| pipeline as &mut dyn Pipeline)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut content = self.slot.content();
        if content.version == self.version {
            content.pipeline = self.pipeline.take();
            content.stuck = None;
            self.slot.ring(&content);
        }
        drop(content);
        // If another one has its place, it goes now, without the lock.
        self.pipeline = None;
    }
}

/// A pipeline in its place. Nobody can take it out meanwhile.
pub(super) struct Look<'s>(MutexGuard<'s, Content>);

impl Look<'_> {
    pub(super) fn get(&self) -> Option<&dyn Pipeline> {
        self.0.pipeline.as_deref()
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut dyn Pipeline> {
        self.0.pipeline.as_deref_mut().map(|pipeline| pipeline as &mut dyn Pipeline)
    }
}
