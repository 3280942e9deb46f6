//! The ready set: what finds bursts of milliseconds, however slowly it is scraped.
//!
//! One pipeline reads the input `burst` many times a second, and a query for each of its metrics folds the rates:
//! into a histogram that never begins anew, so that every scraper sees all there was since its last scrape, and
//! into the extremes of the last minute.

use std::time::Duration;

use super::query::{Aggregate, Of, QueryConfig, Select};
use crate::{config::PipelineConfig, input::burst};

/// Whether bursts are looked for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurstsConfig {
    /// Whether the pipeline runs.
    pub enabled: bool,
    /// Distance of the readings.
    pub interval: Duration,
    /// How long a peak stays in sight.
    pub peak: Duration,
}

impl Default for BurstsConfig {
    fn default() -> Self {
        Self { enabled: false, interval: Duration::from_millis(10), peak: Duration::from_secs(60) }
    }
}

/// Name of its pipeline.
const KEY: &str = "bursts";
/// A collection may be held up by others for longer than the time until the next one, which is missed then.
const DEADLINE: Duration = Duration::from_millis(250);

/// A counter, what its rate is called, and the labels that tell its series apart.
struct Watched {
    counter: &'static str,
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
}

static SET: [Watched; 7] = [
    Watched { counter: "cpu_busy_seconds_total", name: "cpu_busy", unit: "ratio", labels: &["cpu"] },
    Watched { counter: "cpus_busy_seconds_total", name: "cpus_busy", unit: "ratio", labels: &[] },
    Watched { counter: "run_queue_wait_seconds_total", name: "run_queue_wait", unit: "ratio", labels: &[] },
    Watched {
        counter: "memory_stall_seconds_total",
        name: "memory_stall",
        unit: "ratio",
        labels: &["tasks"],
    },
    Watched { counter: "disk_busy_seconds_total", name: "disk_busy", unit: "ratio", labels: &["device"] },
    Watched {
        counter: "disk_bytes_total",
        name: "disk",
        unit: "bytes_per_second",
        labels: &["device", "direction"],
    },
    Watched {
        counter: "network_bytes_total",
        name: "network",
        unit: "bytes_per_second",
        labels: &["device", "direction"],
    },
];

impl Watched {
    fn query(&self, peak: Duration) -> QueryConfig {
        let column = |infix: &str, agg, over| Select {
            metric: self.counter.to_owned(),
            name: format!("{}{infix}_{}", self.name, self.unit),
            agg,
            of: Of::Rate,
            over,
        };
        QueryConfig {
            from: burst::DEF.name.to_owned(),
            select: vec![
                column("", Aggregate::Histogram, None),
                column("_max", Aggregate::Max, Some(peak)),
                column("_min", Aggregate::Min, Some(peak)),
                column("_last", Aggregate::Last, None),
            ],
            condition: None,
            group_by: self.labels.iter().map(|label| (*label).to_owned()).collect(),
            window: None,
        }
    }
}

impl BurstsConfig {
    /// The pipeline that reads for the queries of the set.
    pub fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            key: KEY.to_owned(),
            enabled: true,
            interval: Some(self.interval),
            deadline: DEADLINE,
            queries: SET.iter().map(|watched| watched.query(self.peak)).collect(),
            ..PipelineConfig::new(&burst::DEF)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Query;

    #[test]
    fn every_counter_of_the_input_is_watched_by_a_query_that_it_fits() {
        let pipeline = BurstsConfig::default().pipeline();
        assert!(pipeline.queries.iter().all(|query| Query::new(query, Some(&burst::DEF)).is_ok()));
        for metric in burst::DEF.metrics {
            let watched = SET.iter().find(|watched| watched.counter == metric.name).unwrap();
            assert!(metric.labels.iter().map(|label| label.name).eq(watched.labels.iter().copied()));
        }
    }
}
