//! What is told about the echoes to a host.

use super::{
    super::wire::{Response, WireError},
    DEF,
    asked::HOSTS,
    echo::{Ending, Fate},
};
use crate::catalogue::{Buckets, Label, Metric, Since, Unit};
use pitot_common::histogram::{OCTAVE_SLOTS, Scale};

const HOST: Label = Label::bounded("host", HOSTS);
const LABELS: &[Label] = &[HOST];

/// From eight microseconds to sixteen seconds.
pub(super) const TIMES: Buckets =
    Buckets { scale: Scale::NanosecondOctaves, slots: OCTAVE_SLOTS, first: -17, last: 4 };

/// What a helper writes for `stat`: it sends every round trip, and the agent makes statistics of them.
pub(super) const EACH: &[u8] = b"each";
pub(super) const STATS: &[&str] = &["min", "avg", "max"];

pub(super) static UP: Metric =
    Metric::gauge("up", "Whether the host answered an echo of the last check.", LABELS);

pub(super) static SENT: Metric = Metric::gauge("sent", "Echoes of the last check.", LABELS);

pub(super) static RECEIVED: Metric =
    Metric::gauge("received", "Answers to echoes of the last check.", LABELS);

pub(super) static LOSS_RATIO: Metric =
    Metric::gauge("loss_ratio", "Share of the echoes of the last check that were not answered.", LABELS)
        .unit(Unit::Ratio);

pub(super) static RTT_SECONDS: Metric = Metric::gauge(
    "rtt_seconds",
    "Shortest, mean and longest round-trip time of the last check.",
    &[HOST, Label::fixed("stat", STATS)],
)
.unit(Unit::Seconds);

pub(super) static SENT_TOTAL: Metric =
    Metric::counter("sent_total", "Echoes of all checks.", LABELS).since(Since::Start);

pub(super) static LOST_TOTAL: Metric =
    Metric::counter("lost_total", "Echoes of all checks that were not answered in time.", LABELS)
        .since(Since::Start);

pub(super) static RESULTS_TOTAL: Metric = Metric::counter(
    "results_total",
    "Checks of a host by how they ended: with an answer, or why without one.",
    &[HOST, Label::fixed("result", Ending::WORDS)],
)
.since(Since::Start);

pub(super) static ROUND_TRIP_SECONDS: Metric =
    Metric::histogram("round_trip_seconds", "Round-trip times of all checks.", TIMES, LABELS)
        .unit(Unit::Seconds)
        .since(Since::Start);

/// Leaves what became of the echoes to a host in a response.
pub(super) fn put(response: &mut Response, host: &str, fate: &Fate) -> Result<(), WireError> {
    let host = host.as_bytes();
    response.put(&DEF, &SENT, &[host], fate.sent.into())?;
    for round_trip in &fate.round_trips {
        response.put(&DEF, &RTT_SECONDS, &[host, EACH], round_trip.as_secs_f64())?;
    }
    response.put(&DEF, &RESULTS_TOTAL, &[host, fate.result.word().as_bytes()], 1.0)
}
