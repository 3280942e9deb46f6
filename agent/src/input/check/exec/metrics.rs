//! What the check delivers.

use super::samples::MOST;
use crate::catalogue::{Label, Metric, Unit};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With the status 0.
    Ok,
    /// With another one.
    ExitCode,
    /// By a signal of somebody else.
    Signal,
    /// Killed, because its time was over.
    Timeout,
    /// Killed, because it printed too much.
    Output,
}

impl Outcome {
    /// In the order of the variants.
    pub(super) const LABELS: &[&str] = &["ok", "exit_code", "signal", "timeout", "output"];
}

pub(super) static UP: Metric =
    Metric::gauge("up", "Whether the program ended by itself, in time, with the status 0.", &[]);
pub(super) static OUTCOME: Metric = Metric::gauge(
    "outcome",
    "How the program ended, which is 1 for one of these: killed by somebody is `signal`, for its time `timeout`, for \
     printing too much `output`.",
    &[Label::fixed("outcome", Outcome::LABELS)],
);
pub(super) static EXIT_CODE: Metric =
    Metric::gauge("exit_code", "Status of the program, if it ended by itself.", &[]);
pub(super) static DURATION: Metric =
    Metric::gauge("duration_seconds", "For how long the program ran.", &[]).unit(Unit::Seconds);
pub(super) static OUTPUT: Metric =
    Metric::gauge("output_bytes", "What the program printed, errors included.", &[]).unit(Unit::Bytes);
pub(super) static MALFORMED: Metric = Metric::gauge(
    "malformed",
    "Lines or objects that were not understood, or that name a series again.",
    &[],
);
pub(super) static LEFT_OUT: Metric = Metric::gauge(
    "left_out",
    "Samples past the first 1,000, or past 200 KiB of names and labels, or with a name or labels that are too long.",
    &[],
);
/// Labels of a program's own cannot be those of a definition. They are one text, and follow from the series.
pub(super) static VALUE: Metric = Metric::untyped(
    "value",
    "What the program prints: its name of the series, and its labels as one text in the order of their names, like \
     `queue=mail,state=ready`.",
    &[Label::bounded("name", MOST), Label::bounded("labels", 1)],
);

pub(super) static ALL: [&Metric; 10] = [
    &super::EXECUTED,
    &super::FAILURES,
    &UP,
    &OUTCOME,
    &EXIT_CODE,
    &DURATION,
    &OUTPUT,
    &MALFORMED,
    &LEFT_OUT,
    &VALUE,
];
