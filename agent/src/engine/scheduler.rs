//! Keeps the schedules of pipelines that have one.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use super::Engine;
use crate::pipeline::Schedule;

/// A scheduled pipeline and its next tick.
struct Planned {
    index: usize,
    schedule: Schedule,
    tick: SystemTime,
    at: Instant,
}

impl Planned {
    fn new(index: usize, schedule: Schedule) -> Self {
        let (tick, at) = next(schedule);
        Self { index, schedule, tick, at }
    }
}

/// The next tick on the wall clock, and when that is on the monotonic clock.
fn next(schedule: Schedule) -> (SystemTime, Instant) {
    let now = SystemTime::now();
    let tick = schedule.next(now);
    (tick, Instant::now() + tick.duration_since(now).unwrap_or(Duration::ZERO))
}

/// Collects every scheduled pipeline when it is due, for ever.
pub async fn keep_schedules(engine: Engine) {
    let mut planned: Vec<Planned> = engine
        .shared
        .cells
        .iter()
        .enumerate()
        .filter_map(|(index, cell)| Some(Planned::new(index, cell.schedule?)))
        .collect();
    if planned.is_empty() {
        return std::future::pending().await;
    }
    loop {
        let Some(first) = planned.iter().map(|p| p.at).min() else { return };
        sleep_until(first).await;
        let now = Instant::now();
        let mut due = Vec::new();
        for plan in planned.iter_mut().filter(|plan| plan.at <= now) {
            let missed = plan.schedule.missed(now - plan.at);
            if missed > 0 {
                engine.shared.cells[plan.index].note_skipped(missed);
            }
            due.push((plan.index, plan.tick));
            (plan.tick, plan.at) = next(plan.schedule);
        }
        engine.tick(&due).await;
    }
}
