//! Changes of the set of pipelines while it runs. What a change does not name is not touched, not even its next
//! tick.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Engine, Shared,
    cell::Cell,
    lane::lane_of,
    plan::Moment,
    roster::{Roster, ring},
};
use crate::{
    catalogue::Rank,
    pipeline::{Pipeline, Schedule},
};

/// How long a change waits in all for collections in progress, so that their pipelines can hand over what they know.
const PATIENCE: Duration = Duration::from_millis(500);

/// A change.
#[derive(Default)]
pub struct Edit {
    /// Pipelines that are to be there, each in place of the one of the same key, if there is one.
    pub put: Vec<Box<dyn Pipeline>>,
    /// Keys that are not to be there. One that is also put stays: what counts is what is wanted in the end.
    pub remove: Vec<String>,
}

/// A pipeline that was not put, because of what it is. One of the same key that was there goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Rejected {
    /// Its key.
    pub key: String,
    /// In words.
    pub reason: String,
}

impl Engine {
    /// Makes a change, and says which of its pipelines cannot be run. A new pipeline takes over what the old one of
    /// the same key knew (`Pipeline::update_from`), its counters, its place in the page, and its ticks when their
    /// schedule is the same. Waits for collections in progress, though never long: one that hangs is left where it is,
    /// and dropped when it comes back.
    pub fn apply(&self, edit: Edit) -> Vec<Rejected> {
        let shared = &self.shared;
        let _one_at_a_time = shared.editing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shared.roster();
        let Edit { mut put, mut remove } = edit;
        let mut rejected = Vec::new();
        let mut known = HashSet::new();
        put.retain(|pipeline| {
            let is_first = known.insert(pipeline.key().to_owned());
            let twice = || (!is_first).then(|| "this key is put twice".to_owned());
            let reason = unfit(&**pipeline).or_else(twice);
            let is_fit = reason.is_none();
            rejected.extend(reason.map(|reason| Rejected { key: pipeline.key().to_owned(), reason }));
            is_fit
        });
        remove.retain(|key| !known.contains(key));
        refuse_rings(&before, &mut put, &remove, &mut rejected);

        let until = Instant::now() + PATIENCE;
        let mut cells: Vec<Arc<Cell>> =
            before.cells.iter().filter(|cell| !remove.contains(&cell.key)).cloned().collect();
        let mut moved = Vec::new();
        for pipeline in put {
            if let Some(cell) = before.find(pipeline.key()).filter(|cell| !remove.contains(&cell.key)) {
                let schedule = cell.terms().schedule;
                hand_over(cell, pipeline, until);
                if cell.terms().schedule != schedule {
                    moved.push((Arc::clone(cell), schedule));
                }
            } else {
                let id = shared.cells_ever.fetch_add(1, Ordering::Relaxed);
                let cell = Arc::new(Cell::new(pipeline, id));
                cells.insert(place(&before, &cells, &cell), Arc::clone(&cell));
                moved.push((cell, None));
            }
        }
        shared.set_roster(Roster::new(cells));
        let gone: Vec<_> = before.cells.iter().filter(|cell| remove.contains(&cell.key)).collect();
        for cell in &gone {
            shared.unplan(cell, cell.terms().schedule);
        }
        for (cell, schedule) in moved {
            shared.unplan(&cell, schedule);
            shared.plan(&cell);
        }
        // Last, and without any lock of the engine: closing what they hold may take its time.
        for cell in gone {
            drop(cell.slot.lease(until));
            cell.remove();
        }
        rejected
    }
}

/// Why a pipeline cannot be run.
fn unfit(pipeline: &dyn Pipeline) -> Option<String> {
    let Schedule { interval, offset, .. } = pipeline.schedule()?;
    if interval < Schedule::SHORTEST {
        return Some(format!("its interval of {interval:?} is below {:?}", Schedule::SHORTEST));
    }
    (offset >= interval)
        .then(|| format!("its offset of {offset:?} is not below its interval of {interval:?}"))
}

/// Takes out what would take from itself in the end, one after the other until nothing does.
fn refuse_rings(
    before: &Roster,
    put: &mut Vec<Box<dyn Pipeline>>,
    remove: &[String],
    rejected: &mut Vec<Rejected>,
) {
    let old: HashMap<String, String> = before
        .cells
        .iter()
        .filter(|cell| !remove.contains(&cell.key))
        .filter_map(|cell| Some((cell.key.clone(), cell.terms().source.as_ref()?.key.to_string())))
        .collect();
    loop {
        let mut sources = old.clone();
        for pipeline in put.iter() {
            sources.remove(pipeline.key());
            sources.extend(pipeline.source().map(|source| (pipeline.key().to_owned(), source.to_owned())));
        }
        let Some(key) = ring(put.iter().map(|pipeline| pipeline.key()), &sources).map(str::to_owned) else {
            return;
        };
        let source = sources.get(&key).cloned().unwrap_or_default();
        put.retain(|pipeline| pipeline.key() != key);
        rejected.push(Rejected { key, reason: format!("it would take from itself, by way of `{source}`") });
    }
}

/// Puts a pipeline in the place of another one. One that is busy for too long is not asked for what it knows.
fn hand_over(cell: &Cell, mut new: Box<dyn Pipeline>, until: Instant) {
    let mut lease = cell.slot.lease(until);
    if let Some(old) = lease.as_mut().ok().and_then(|lease| lease.get())
        && catch_unwind(AssertUnwindSafe(|| new.update_from(old))).is_err()
    {
        tracing::error!(pipeline = cell.key, "panicked while it took over what the old one knew");
    }
    cell.put(new);
}

/// Where a new pipeline goes: to the end, before what describes the agent itself. The first ones come as they are.
fn place(before: &Roster, cells: &[Arc<Cell>], cell: &Cell) -> usize {
    let is_own = |cell: &Cell| cell.terms().rank == Rank::Own;
    if before.cells.is_empty() || is_own(cell) {
        return cells.len();
    }
    cells.iter().rposition(|other| !is_own(other)).map_or(0, |at| at + 1)
}

impl Shared {
    /// Plans the ticks of a pipeline, if it has any and schedules are kept.
    pub(super) fn plan(self: &Arc<Self>, cell: &Arc<Cell>) {
        if !self.keeping.load(Ordering::Acquire) {
            return;
        }
        let Some(schedule) = cell.terms().schedule else { return };
        let lane = &self.lanes[lane_of(schedule)];
        let mut desk = lane.desk();
        desk.plan.put(Arc::clone(cell), schedule, schedule.delay(&cell.key), Moment::now());
        drop(desk);
        lane.bell.notify_one();
        self.staff(lane.index);
        self.watch();
    }

    /// Forgets the ticks of a pipeline.
    fn unplan(&self, cell: &Cell, schedule: Option<Schedule>) {
        let Some(schedule) = schedule else { return };
        self.lanes[lane_of(schedule)].desk().plan.retain(|other| other.id != cell.id);
    }
}
