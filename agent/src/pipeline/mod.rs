//! Pipelines: an input with a name for its series, a schedule, a deadline and a state.
//!
//! What a plugin must not know (prefix, tags, filters, when and how long) is known here.

mod build;
mod bursts;
pub mod cadvisor;
pub mod checks;
mod collected;
mod derived;
mod owners;
pub mod query;
mod schedule;
mod state;
mod transform;

use std::{
    ops::Add,
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::{
    build::{Kit, Opening, build},
    bursts::BurstsConfig,
    checks::{CheckConfig, Checks, Runner, Selector},
    collected::InputPipeline,
    derived::{Derive, DerivedPipeline},
    owners::Owners,
    query::{Query, QueryConfig, QueryPipeline},
    schedule::Schedule,
    state::State,
    transform::{Complaint, Manipulation, Pattern, Published, Rules, TagPolicy, TransformConfig, ValueRule},
};
use crate::{
    accumulator::{Frame, SeriesStore},
    input::{CollectContext, Input},
    output::Output,
};

/// Something that is collected and leaves a frame. The engine runs any number of them.
pub trait Pipeline: Send {
    /// Its stable name.
    fn key(&self) -> &str;
    /// When it is collected; without a schedule, whenever it is scraped.
    fn schedule(&self) -> Option<Schedule>;
    /// How long one collection may take.
    fn deadline(&self) -> Duration;
    /// The pipeline whose frames it takes, if it has no input of its own.
    fn source(&self) -> Option<&str> {
        None
    }
    /// Collects once, from an input or from what its source published last. A failure leaves an empty frame.
    fn collect(&mut self, cx: &CollectContext, source: Option<&Frame>) -> Outcome;
    /// Lets its input begin, before the first collection.
    fn begin(&mut self) {}
    /// What the last collection left.
    fn frame(&self) -> &Frame;
    /// Publishes nothing until the next collection.
    fn withdraw(&mut self);
    /// Gives its input up, for a reason: it is off from now on.
    fn close(&mut self, reason: &str);
    /// Where what it publishes goes beside the pages of scrapers.
    fn outputs(&self) -> &[Arc<dyn Output>] {
        &[]
    }
    /// What it is doing.
    fn state(&self) -> &State;
    /// Whether it is left alone for a while because it panicked.
    fn quarantine(&self) -> Option<Quarantine> {
        None
    }
    /// Whatever helps to understand it.
    fn debug_info(&self) -> serde_json::Value;
    /// Series and samples that were left out so far.
    fn losses(&self) -> Losses;
    /// Takes over what an earlier pipeline of the same key knew.
    fn update_from(&mut self, old: &mut dyn Pipeline);
    /// Its input, for [`Self::update_from`].
    fn input(&mut self) -> Option<&mut dyn Input>;
    /// Its queries, for the same.
    fn queries(&mut self) -> &mut [Query] {
        &mut []
    }
    /// Gives its input to the pipeline that replaces it.
    fn take_input(&mut self) -> Option<Box<dyn Input>> {
        None
    }
    /// Whether what it publishes is on the pages of scrapers.
    fn is_scraped(&self) -> bool {
        true
    }
    /// Sends what it publishes to these places from now on.
    fn connect(&mut self, _outputs: Vec<Arc<dyn Output>>) {}
    /// What it remembers of its series, for [`Self::update_from`].
    fn store(&mut self) -> Option<&mut SeriesStore> {
        None
    }
}

/// How a collection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A frame was published.
    Published,
    /// It was not tried: it is off, unsupported, or waits after a panic.
    Skipped,
    /// It brought an error.
    Failed,
    /// It panicked.
    Panicked,
}

/// A pipeline that panicked is left alone, after each time in a row for twice as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Until when.
    pub until: Instant,
    /// Panics in a row.
    pub panics: u32,
}

/// What was left out so far, in samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Past the limit of series, and not folded: an info metric, one without labels to fold, or too many even
    /// for that.
    pub over_limit: u64,
    /// Of a series that had already been delivered.
    pub duplicates: u64,
    /// With a label that is also a tag, where that is refused.
    pub conflicts: u64,
    /// Differences and rates of a counter that had fallen.
    pub resets: u64,
    /// Not lost: shown as part of a series called `other`.
    pub folded: u64,
    /// Results of checks that were too old to be delivered.
    pub stale: u64,
    /// Checks whose time passed because an earlier one went on.
    pub missed: u64,
    /// Whole collections that queries left out, because they took so long that rates over them would be wrong.
    pub held_up: u64,
}

impl Losses {
    /// What a store has counted.
    pub fn of(store: &SeriesStore) -> Self {
        Self {
            over_limit: store.over_limit,
            duplicates: store.duplicates,
            conflicts: store.conflicts,
            resets: store.resets,
            folded: store.folded,
            stale: 0,
            missed: 0,
            held_up: 0,
        }
    }
}

impl Add for Losses {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            over_limit: self.over_limit + more.over_limit,
            duplicates: self.duplicates + more.duplicates,
            conflicts: self.conflicts + more.conflicts,
            resets: self.resets + more.resets,
            folded: self.folded + more.folded,
            stale: self.stale + more.stale,
            missed: self.missed + more.missed,
            held_up: self.held_up + more.held_up,
        }
    }
}
