//! What the agent says about the outputs of pipelines.

use crate::catalogue::{Label, Metric, Since};

const OUTPUT: &[Label] = &[Label::bounded("output", 16)];
pub(super) static WRITTEN: Metric =
    Metric::counter("agent_output_written_total", "Pages of pipelines that an output wrote.", OUTPUT)
        .since(Since::Start);
pub(super) static DROPPED: Metric = Metric::counter(
    "agent_output_dropped_total",
    "Pages of pipelines for which an output had no room, or which it could not write.",
    OUTPUT,
)
.since(Since::Start);
pub(super) static ERRORS: Metric =
    Metric::counter("agent_output_errors_total", "Attempts of an output to write that failed.", OUTPUT)
        .since(Since::Start);
