//! Who is in the engine, in which order.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use super::cell::{Cell, Source};
use crate::catalogue::Rank;

/// The places of all pipelines. Never changed, but replaced by another one.
#[derive(Default)]
pub(super) struct Roster {
    /// In the order of the page.
    pub(super) cells: Vec<Arc<Cell>>,
    /// In the order of a collection: nobody comes before what it takes from, and the agent itself comes last.
    pub(super) order: Vec<Arc<Cell>>,
    /// Somebody takes from another one.
    pub(super) has_sources: bool,
}

impl Roster {
    /// Finds out who takes from whom among these, and lays out the order of collection.
    pub(super) fn new(cells: Vec<Arc<Cell>>) -> Self {
        let by_key: HashMap<&str, &Arc<Cell>> = cells.iter().map(|cell| (cell.key.as_str(), cell)).collect();
        let mut has_sources = false;
        for cell in &cells {
            if let Some(Source { key, cell: found }) = &mut cell.terms().source {
                *found = by_key.get(&**key).map(|cell| Arc::clone(cell));
                has_sources = true;
            }
        }
        for cell in &cells {
            // No more than there are cells, should there be a ring after all.
            let depth = chain(cell).take(cells.len()).count();
            cell.depth.store(u32::try_from(depth).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
        let mut order = cells.clone();
        let is_own = |cell: &Cell| cell.terms().rank == Rank::Own;
        if has_sources {
            order.sort_by_cached_key(|cell| {
                let depth = cell.depth.load(Ordering::Relaxed);
                (is_own(cell) && depth == 0 && !feeds_any(cell, &cells), depth)
            });
        }
        Self { cells, order, has_sources }
    }

    pub(super) fn find(&self, key: &str) -> Option<&Arc<Cell>> {
        self.cells.iter().find(|cell| cell.key == key)
    }

    /// Whether a pipeline is among these names, or one of those takes from it.
    pub(super) fn feeds(&self, cell: &Cell, names: &[String]) -> bool {
        names.iter().any(|name| {
            *name == cell.key
                || self.find(name).is_some_and(|named| chain(named).any(|source| source.id == cell.id))
        })
    }
}

/// Whom a pipeline takes from, and whom that takes from, and so on.
fn chain(cell: &Arc<Cell>) -> impl Iterator<Item = Arc<Cell>> + use<> {
    let source = |cell: &Arc<Cell>| cell.terms().source.as_ref().and_then(|source| source.cell.clone());
    std::iter::successors(source(cell), move |cell| source(cell))
}

fn feeds_any(cell: &Arc<Cell>, cells: &[Arc<Cell>]) -> bool {
    cells.iter().any(|other| chain(other).any(|source| source.id == cell.id))
}

/// The first of these pairs of a key and its source that leads back to itself. `sources` has those of everybody.
pub(super) fn ring<'k>(
    candidates: impl IntoIterator<Item = &'k str>,
    sources: &HashMap<String, String>,
) -> Option<&'k str> {
    candidates.into_iter().find(|candidate| {
        let mut seen = HashSet::new();
        let mut at = sources.get(*candidate);
        while let Some(source) = at.filter(|source| seen.insert(source.as_str())) {
            if source == candidate {
                return true;
            }
            at = sources.get(source);
        }
        false
    })
}
