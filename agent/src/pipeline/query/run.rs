//! A query at work.

mod carry;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Of, QueryConfig, Select,
    check::Complaint,
    condition::{Compiled, Verdict},
    fold::{Cell, Moment},
    groups::{Groups, Made},
    losses::QueryLosses,
    series::{Known, NONE, Table},
    shape::Shape,
    windows::{Turn, Windows},
};
use crate::{
    accumulator::{Accumulator, Sample, Value, key},
    catalogue::Metric,
    input::{CollectContext, InputDef},
};

/// A series that was not seen for this long is forgotten, unless the query looks further back.
const KEEP: Duration = Duration::from_secs(60);
/// Series that are remembered, wanted or not; more are left out, and counted.
const MOST_SERIES: usize = 200_000;
/// Groups unless it is said otherwise.
const MOST_GROUPS: u32 = 10_000;

/// A query that runs: samples in, results out. See [`super`] for what is computed.
///
/// A collection is [`Self::begin`], any number of samples, [`Self::finish`]. Without the last, as when an input
/// failed, it leaves nothing behind.
pub struct Query {
    config: Arc<QueryConfig>,
    condition: Option<Compiled>,
    tests_values: bool,
    limit: usize,
    /// What each column makes, once its metric was seen.
    made: Vec<Option<Made>>,
    /// Lists of columns that take the same series.
    lists: Vec<Box<[usize]>>,
    table: Table,
    groups: Groups,
    windows: Option<Windows>,
    /// Series and values of this collection, in the order of arrival.
    staged: Vec<(u32, f64)>,
    /// When the query began to run.
    origin: Option<Instant>,
    /// When this collection was made, and the last one that brought something.
    now: Instant,
    before: Option<Instant>,
    moment: Moment,
    /// When series that are gone are looked for.
    sweep: Option<Instant>,
    losses: QueryLosses,
    /// It takes frames of a pipeline, and not samples of an input, which may have the same name.
    takes_frames: bool,
    /// Epoch and number of the frame that was taken last.
    taken: (u64, u64),
}

impl Query {
    /// Checks a query, against the input that it takes samples of if that is known. All that is wrong is told
    /// at once.
    pub fn new(config: &QueryConfig, from: Option<&InputDef>) -> Result<Self, Vec<Complaint>> {
        let complaints = config.check(from);
        if complaints.is_empty() { Ok(Self::checked(config)) } else { Err(complaints) }
    }

    /// A query that was checked before.
    pub(super) fn checked(config: &QueryConfig) -> Self {
        Self {
            condition: config.condition.as_ref().map(Compiled::new),
            tests_values: config.condition.as_ref().is_some_and(super::Condition::tests_values),
            limit: MOST_GROUPS as usize,
            made: vec![None; config.select.len()],
            lists: Vec::new(),
            table: Table::new(),
            groups: Groups::default(),
            windows: config.window.map(Windows::new),
            staged: Vec::new(),
            origin: None,
            now: Instant::now(),
            before: None,
            moment: Moment::default(),
            sweep: None,
            losses: QueryLosses::default(),
            takes_frames: false,
            taken: (0, 0),
            config: Arc::new(config.clone()),
        }
    }

    /// The same on frames of another pipeline.
    pub(super) fn on_frames(self) -> Self {
        Self { takes_frames: true, ..self }
    }

    /// The same with room for so many groups. Later ones are one group, all of whose labels are `other`.
    pub fn with_groups(self, most: u32) -> Self {
        Self { limit: (most as usize).max(1), ..self }
    }

    /// What it was made of.
    pub fn config(&self) -> &QueryConfig {
        &self.config
    }

    /// Whether any column may take series of a metric. Those of a name that the source completes may be named in
    /// any way.
    #[inline]
    pub(super) fn may_want(&self, metric: &Metric) -> bool {
        metric.name.contains('*') || self.config.select.iter().any(|select| select.metric == metric.name)
    }

    /// Whether any column divides by the time between collections.
    pub(super) fn takes_rates(&self) -> bool {
        self.config.select.iter().any(|select| select.of == Of::Rate)
    }

    /// What it left out so far.
    pub fn losses(&self) -> QueryLosses {
        self.losses
    }

    /// Series that it knows, wanted or not, and groups.
    pub fn sizes(&self) -> (usize, usize) {
        (self.table.all.len(), self.groups.all.len())
    }

    /// Counts samples that could not be taken at all.
    pub(super) fn lose(&mut self, samples: u64) {
        self.losses.over_limit += samples;
    }

    /// Notes that a frame is taken, by its epoch and number; false when it has been taken before.
    pub(super) fn takes(&mut self, frame: (u64, u64)) -> bool {
        std::mem::replace(&mut self.taken, frame) != frame
    }

    /// Whatever helps to understand it.
    pub fn debug_info(&self) -> serde_json::Value {
        let (series, groups) = self.sizes();
        serde_json::json!({
            "sql": self.config.to_string(),
            "series": series,
            "groups": groups,
            "losses": self.losses,
        })
    }

    /// Starts a collection.
    pub fn begin(&mut self, cx: &CollectContext) {
        self.begin_at(cx.started, cx.aligned_timestamp);
    }

    /// Starts a collection of what was measured at this time, for this point of the aligned clock.
    pub fn begin_at(&mut self, now: Instant, aligned: SystemTime) {
        self.now = now;
        self.staged.clear();
        self.table.begin();
        self.moment.tick += 1;
        self.moment.nanos = nanos(now.saturating_duration_since(*self.origin.get_or_insert(now)));
        let turn = self.windows.as_mut().map_or(Turn::Begin, |windows| windows.begin(aligned));
        match turn {
            Turn::Same => return,
            Turn::Begin => {}
            Turn::Publish => self.groups.hold(Some(self.moment.window)),
            Turn::Nothing => self.groups.hold(None),
        }
        self.moment.window += 1;
    }

    /// Ends a collection: what it brought is folded, and the results are delivered.
    pub fn finish(&mut self, cx: &CollectContext, out: &mut dyn Accumulator) {
        self.finish_at(cx.aligned_timestamp, out);
    }

    /// The same for this point of the aligned clock.
    pub fn finish_at(&mut self, aligned: SystemTime, out: &mut dyn Accumulator) {
        self.close_at(aligned);
        self.deliver(out);
    }

    /// Ends a collection: what it brought is folded. The results can be delivered, or those of a later one.
    pub(super) fn close_at(&mut self, aligned: SystemTime) {
        self.fold();
        if let Some(whole) = self.windows.as_mut().and_then(|windows| windows.end(aligned)) {
            self.groups.hold(whole.then_some(self.moment.window));
        }
        self.forget();
    }

    /// Delivers the results of the collection that ended last.
    pub(super) fn deliver(&mut self, out: &mut dyn Accumulator) {
        self.groups.publish(&self.made, self.windows.is_some(), self.moment, out);
    }

    fn fold(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        // What a mean over collections weighs this one with, where rates are meant.
        let since_last = self.before.map(|before| self.now.saturating_duration_since(before).as_secs_f64());
        self.before = Some(self.now);
        let staged = std::mem::take(&mut self.staged);
        for &(index, value) in &staged {
            let known = &mut self.table.all[index as usize];
            let elapsed = self.now.saturating_duration_since(known.at).as_secs_f64();
            let step =
                Step { value, before: known.value, elapsed, since_last: since_last.unwrap_or(elapsed) };
            (known.value, known.at) = (value, self.now);
            let group = &mut self.groups.all[known.group as usize];
            for &column in &*self.lists[known.list as usize] {
                let (Some(cell), Some(made)) = (&mut group.cells[column], &self.made[column]) else {
                    continue;
                };
                let Some((value, weight)) = step.taken(&self.config.select[column], made) else { continue };
                cell.touch(self.moment, weight);
                if known.test.as_ref().is_none_or(|test| test.holds(value))
                    && cell.fold(value, weight, self.moment).is_err()
                {
                    self.losses.below_zero += 1;
                }
            }
        }
        self.staged = staged;
        self.staged.clear();
    }

    /// Forgets series that were not seen for long, and groups without series.
    fn forget(&mut self) {
        let keep = self.keep();
        let due = *self.sweep.get_or_insert_with(|| self.now + keep);
        if self.now < due {
            return;
        }
        self.sweep = Some(self.now + keep);
        let now = self.now;
        let gone = |known: &Known| now.saturating_duration_since(known.seen) >= keep;
        if !self.table.all.iter().any(gone) {
            return;
        }
        let groups = &mut self.groups;
        self.table.retain(|known| {
            let gone = gone(known);
            if gone && let Some(group) = groups.all.get_mut(known.group as usize) {
                group.members -= 1;
            }
            !gone
        });
        let moved = groups.sweep();
        for known in &mut self.table.all {
            known.group = moved.get(known.group as usize).copied().unwrap_or(NONE);
        }
    }

    fn keep(&self) -> Duration {
        let window = self.windows.map(|windows| windows.span()).unwrap_or_default();
        let over = self.config.select.iter().filter_map(|select| select.over).max().unwrap_or_default();
        KEEP.max(window * 2).max(over * 2)
    }

    /// Decides about a series that was not known.
    fn decide(&mut self, known: &mut Known) {
        let name = known.full_name();
        let config = Arc::clone(&self.config);
        let mut columns = Vec::new();
        for (column, select) in config.select.iter().enumerate() {
            if select.metric != name && select.metric != known.metric.name {
                continue;
            }
            if self.make(column, known.metric) {
                columns.push(column);
            } else {
                self.losses.unfit += 1;
            }
        }
        let verdict = match &self.condition {
            Some(condition) => condition.decide(&|label| known.label_text(label)),
            None => Verdict::Is(true),
        };
        if columns.is_empty() || verdict == Verdict::Is(false) {
            return;
        }
        known.test = (verdict != Verdict::Is(true)).then(|| Box::new(verdict));
        let values = self.config.group_by.iter().map(|label| Box::from(known.label(label))).collect();
        let (group, folded) = self.groups.find(values, self.made.len(), self.limit);
        self.losses.folded += u64::from(folded);
        known.group = group;
        known.list = self.list(&columns);
        let group = &mut self.groups.all[group as usize];
        group.members += 1;
        for &column in &columns {
            if let (cell @ None, Some(made)) = (&mut group.cells[column], &self.made[column]) {
                let select = &self.config.select[column];
                let largest = select.agg == super::Aggregate::Max;
                *cell = Some(Cell::new(made.shape.folding, largest, select.over.unwrap_or_default()));
            }
        }
    }

    /// Makes the result of a column, or says that this metric does not go with it.
    fn make(&mut self, column: usize, metric: &'static Metric) -> bool {
        let select = &self.config.select[column];
        let Ok(shape) = Shape::of(select, metric, self.tests_values) else { return false };
        if let Some(made) = &self.made[column] {
            return made.shape == shape;
        }
        let labels: Vec<&str> = self.config.group_by.iter().map(String::as_str).collect();
        let help = self.config.help(select, metric);
        let metric =
            Metric::interned_since(&select.name, &help, shape.kind, shape.unit, &labels, shape.since);
        self.made[column] = Some(Made { metric, shape });
        true
    }

    fn list(&mut self, columns: &[usize]) -> u32 {
        let at = self.lists.iter().position(|list| **list == *columns).unwrap_or_else(|| {
            self.lists.push(columns.into());
            self.lists.len() - 1
        });
        u32::try_from(at).unwrap_or(0)
    }

    #[cold]
    fn bear(&mut self, sample: &Sample<'_>) -> Option<u32> {
        if self.table.all.len() >= MOST_SERIES {
            return None;
        }
        let mut known = Known::new(sample.metric, key::of(sample), self.now);
        self.decide(&mut known);
        self.table.insert(known);
        u32::try_from(self.table.all.len() - 1).ok()
    }
}

impl Accumulator for Query {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>) {
        let Some(index) = self.table.find(sample).or_else(|| self.bear(sample)) else {
            self.losses.over_limit += 1;
            return;
        };
        let known = &mut self.table.all[index as usize];
        known.seen = self.now;
        if known.group == NONE {
            return;
        }
        if known.tick == self.moment.tick {
            self.losses.duplicates += 1;
            return;
        }
        known.tick = self.moment.tick;
        // A column that would take a histogram is refused at the birth of the series.
        let Value::Number(value) = sample.value else { return };
        if value.is_finite() {
            self.staged.push((index, value));
        } else {
            self.losses.not_finite += 1;
        }
    }
}

/// A series from one collection to the next.
struct Step {
    value: f64,
    /// NaN when there was none.
    before: f64,
    /// Seconds since then.
    elapsed: f64,
    /// Seconds since the last collection that brought anything.
    since_last: f64,
}

impl Step {
    /// What a column folds of it, and with which weight.
    #[inline]
    fn taken(&self, select: &Select, made: &Made) -> Option<(f64, f64)> {
        let reset = made.shape.resets && self.value < self.before;
        let change = || if reset { self.value } else { self.value - self.before };
        match select.of {
            Of::Value if made.is_total() => {
                Some((if self.before.is_nan() { self.value } else { change() }, 1.0))
            }
            Of::Value => Some((self.value, 1.0)),
            _ if self.before.is_nan() => None,
            Of::Delta => Some((change(), 1.0)),
            Of::Rate if self.elapsed > 0.0 => Some((change() / self.elapsed, self.since_last)),
            Of::Rate => None,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
