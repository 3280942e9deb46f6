//! What is printed when all machines are done.

use std::fmt::Write;

use super::report::{Input, Report};

/// One line for each kernel and family.
pub(super) fn text(reports: &[Report], families: &[String]) -> String {
    let mut rows = vec![["KERNEL", "FAMILY", "PROGRAMS", "RESULT"].map(str::to_owned)];
    for report in reports {
        for family in families {
            rows.push([report.name.clone(), family.clone(), served(report, family), report.result(family)]);
        }
        let took = format!("{} s", report.seconds);
        let rest = report.died.as_ref().map_or(took.clone(), |died| format!("{took}, died once ({died})"));
        rows.push([report.name.clone(), "(others)".into(), others(report, families), rest]);
    }
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let [kernel, family, programs] = [0, 1, 2].map(width);
    rows.iter().fold(String::new(), |mut out, [a, b, c, d]| {
        let _ = writeln!(out, "{a:kernel$}  {b:family$}  {c:programs$}  {d}");
        out
    })
}

/// How the programs of a family run.
fn served(report: &Report, family: &str) -> String {
    report.input(family).map_or("unknown".into(), state)
}

/// State and detail of an input in a few words.
pub(super) fn state(input: &Input) -> String {
    match (input.state.as_str(), input.detail.as_str()) {
        (state, "") => state.into(),
        ("running", detail) => detail.into(),
        (state, detail) => format!("{state} ({detail})"),
    }
}

/// The inputs without programs, in a sentence.
pub(super) fn others(report: &Report, families: &[String]) -> String {
    let others: Vec<&Input> = report.inputs.iter().filter(|input| !families.contains(&input.name)).collect();
    let (running, rest): (Vec<&Input>, Vec<&Input>) =
        others.into_iter().partition(|input| input.state == "running");
    let rest: Vec<String> = rest.iter().map(|input| format!("{} {}", input.name, state(input))).collect();
    let mut said = format!("{} running", running.len());
    if !rest.is_empty() {
        let _ = write!(said, ", {}", rest.join(", "));
    }
    said
}
