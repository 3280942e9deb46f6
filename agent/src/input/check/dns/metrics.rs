//! What is told about a question.

use super::{
    super::{
        resolve::{Outcome, Verdict},
        wire::{Response, WireError},
    },
    DEF,
    asked::{NAMES, TYPES},
};
use crate::catalogue::{Buckets, Label, Metric, Since, Unit};
use pitot_common::histogram::{OCTAVE_SLOTS, Scale};

const NAME: Label = Label::bounded("name", NAMES);
const TYPE: Label = Label::fixed("type", TYPES);
const LABELS: &[Label] = &[NAME, TYPE];

/// From sixteen microseconds to half a minute.
pub(super) const TIMES: Buckets =
    Buckets { scale: Scale::NanosecondOctaves, slots: OCTAVE_SLOTS, first: -16, last: 5 };

pub(super) static UP: Metric = Metric::gauge("up", "Whether the name has records of that type.", LABELS);

pub(super) static SECONDS: Metric = Metric::gauge(
    "seconds",
    "Time until the answer that decided, with all that was asked before it; none when no answer did.",
    LABELS,
)
.unit(Unit::Seconds);

pub(super) static RCODE: Metric = Metric::gauge(
    "rcode",
    "Response code of the answer that decided: 0 no error, 2 server failure, 3 no such name, 5 refused.",
    LABELS,
);

pub(super) static ANSWERS: Metric =
    Metric::gauge("answers", "Records of that type in the answer that decided.", LABELS);

pub(super) static SEARCH_STEPS: Metric = Metric::gauge(
    "search_steps",
    "Full names that were asked for: more than one where the name was tried in search domains.",
    LABELS,
);

pub(super) static TRUNCATED: Metric = Metric::gauge(
    "truncated",
    "Whether an answer did not fit into a datagram and was asked for again over TCP.",
    LABELS,
);

pub(super) static RESULTS_TOTAL: Metric = Metric::counter(
    "results_total",
    "Lookups by how they ended: with an answer, or why without one.",
    &[NAME, TYPE, Label::fixed("result", Verdict::WORDS)],
)
.since(Since::Start);

pub(super) static LOOKUP_SECONDS: Metric =
    Metric::histogram("lookup_seconds", "Times until the answers that decided.", TIMES, LABELS)
        .unit(Unit::Seconds)
        .since(Since::Start);

/// Leaves what came of a question in a response.
pub(super) fn put(response: &mut Response, labels: [&str; 2], outcome: &Outcome) -> Result<(), WireError> {
    let [name, kind] = labels.map(str::as_bytes);
    let mut gauge = |metric, value: f64| response.put(&DEF, metric, &[name, kind], value);
    gauge(&UP, f64::from(u8::from(outcome.verdict == Verdict::Answered)))?;
    gauge(&SEARCH_STEPS, outcome.steps as f64)?;
    gauge(&TRUNCATED, f64::from(u8::from(outcome.truncated)))?;
    if let Some(code) = outcome.code {
        gauge(&RCODE, code.into())?;
        gauge(&ANSWERS, outcome.records.into())?;
        gauge(&SECONDS, outcome.took.as_secs_f64())?;
    }
    // The agent adds it up.
    response.put(&DEF, &RESULTS_TOTAL, &[name, kind, outcome.verdict.word().as_bytes()], 1.0)
}
