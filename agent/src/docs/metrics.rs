//! `docs/metrics.md`.

use std::fmt::{self, Write};

use super::series::{NAMES_PER_PATTERN, worst_case_series};
use super::{cell, code, codes, generated};
use crate::{
    catalogue::{Kind, Label, Metric, Source, Values},
    input::InputDef,
};

/// Hosts for which the number of series is stated.
const CPUS: [u64; 3] = [4, 16, 64];

pub(super) fn write(out: &mut String, inputs: &[&'static InputDef]) -> fmt::Result {
    generated(out, "metrics-md")?;
    writeln!(out, "# Metrics\n")?;
    writeln!(
        out,
        "Every metric that pitot can export, by input. `<name>` stands for a part of the name that the source \
         gives. Names are shown with the default prefix of the input.\n"
    )?;
    writeln!(
        out,
        "\"Counts since\" says when a counter was zero: at *boot*, at *attach* (when the kernel program was \
         first attached; a restart of the agent does not reset it) or at *agent start*; *now* is the state of \
         the moment. The worst case of series counts lines of the text format, with every label at its bound \
         and {NAMES_PER_PATTERN} names for a `<name>`. A label without values follows from the other labels of \
         its metric.\n"
    )?;
    overview(out, inputs)?;
    inputs.iter().try_for_each(|def| section(out, def))
}

fn overview(out: &mut String, inputs: &[&'static InputDef]) -> fmt::Result {
    writeln!(
        out,
        "| Input | What | Metrics | Series at most ({} CPUs) |",
        CPUS.map(|n| n.to_string()).join(" / ")
    )?;
    writeln!(out, "| --- | --- | --- | --- |")?;
    for def in inputs {
        let series = CPUS.map(|cpus| worst_case_series(def, cpus).to_string()).join(" / ");
        let about = cell(def.about);
        writeln!(out, "| [`{0}`](#{0}) | {about} | {1} | {series} |", def.name, def.metrics.len())?;
    }
    writeln!(out)
}

fn section(out: &mut String, def: &InputDef) -> fmt::Result {
    writeln!(out, "## {}\n", def.name)?;
    writeln!(out, "{}\n", def.about)?;
    writeln!(out, "* Source: {}", source(def.source))?;
    writeln!(out, "* Cost: {}\n", def.cost)?;
    writeln!(out, "| Metric | Type | Unit | Labels | Counts since | Meaning |")?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
    for metric in def.metrics {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            code(&exported(def, metric)),
            kind(metric.kind),
            metric.unit.suffix(),
            metric.labels.iter().map(label).collect::<Vec<_>>().join("<br>"),
            metric.since.text(),
            cell(metric.help),
        )?;
    }
    writeln!(out)
}

/// The name in the exposition.
pub(super) fn exported(def: &InputDef, metric: &Metric) -> String {
    format!("{}{}", def.prefix, metric.name.replace('*', "<name>"))
}

fn source(source: Source) -> String {
    match source {
        Source::Files(files) => {
            // `proc:stat` is `/proc/stat` unless `procfs` says otherwise.
            let path = |file: &&str| match file.split_once(':') {
                Some(("root", path)) => format!("/{}", path.trim_start_matches('/')),
                Some((tree, path)) => format!("/{tree}/{path}"),
                None => (*file).to_owned(),
            };
            codes(files.iter().map(path).collect::<Vec<_>>().iter().map(String::as_str))
        }
        Source::Calls(calls) => format!("system calls {}", codes(calls.iter().copied())),
        Source::Bpf(bpf) => format!("kernel program [`{}`](kernels.md#{0})", bpf.object),
        Source::Check(check) if check.namespaces.is_empty() => "tried out by a helper".into(),
        Source::Check(check) => {
            let names = check.namespaces.iter().map(|namespace| namespace.name());
            format!("tried out by a helper, in namespaces {}", codes(names))
        }
        Source::Own => "the agent itself".into(),
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Info => "gauge (always 1)",
        other => other.text(),
    }
}

fn label(label: &Label) -> String {
    let name = code(label.name);
    match label.values {
        Values::Fixed(values) => format!("{name}: {}", codes(values.iter().copied())),
        Values::Cpu => format!("{name}: one per CPU"),
        Values::Bounded(1) => name,
        Values::Bounded(most) => format!("{name}: at most {most}"),
    }
}
