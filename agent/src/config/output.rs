//! Outputs as the configuration names them.

use std::path::PathBuf;

use toml::de::DeTable;

use super::{
    Config, PipelineConfig,
    load::Report,
    suggest::{hint, listed},
};

/// The output that is always there: the pages of scrapers.
pub const PROMETHEUS: &str = "prometheus";

/// An `[output.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputConfig {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: OutputKind,
    /// How samples are written.
    pub format: OutputFormat,
    /// The file, if it is one.
    pub path: Option<PathBuf>,
    /// Bytes after which a file is begun anew.
    pub max_bytes: u64,
    /// Earlier files that are kept.
    pub keep: u32,
    /// Bytes of encoded pages that wait.
    pub queue: u64,
}

impl OutputConfig {
    /// One at its defaults.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: OutputKind::Console,
            format: OutputFormat::Text,
            path: None,
            max_bytes: 64 << 20,
            keep: 3,
            queue: 4 << 20,
        }
    }
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// The standard output.
    Console,
    /// A file.
    File,
}

impl OutputKind {
    pub(super) const ALL: [Self; 2] = [Self::Console, Self::File];
    pub(super) const WORDS: &'static [&'static str] = &["console", "file"];
}

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Text format 0.0.4, a comment with pipeline and time before each page.
    Text,
    /// OpenMetrics, each page with its end.
    Openmetrics,
    /// One JSON object per sample and line.
    Json,
}

impl OutputFormat {
    pub(super) const ALL: [Self; 3] = [Self::Text, Self::Openmetrics, Self::Json];
    pub(super) const WORDS: &'static [&'static str] = &["text", "openmetrics", "json"];

    /// Its name in the configuration.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// What the keys of an output must be to each other.
pub(super) fn check(
    output: &OutputConfig,
    name: &super::load::Name<'_>,
    table: &DeTable<'_>,
    report: &mut Report,
) {
    if !table.contains_key("kind") {
        let kinds = listed(OutputKind::WORDS.iter().copied());
        report.problem(name, format!("output `{}` needs a `kind`: {kinds}", output.name));
        return;
    }
    match output.kind {
        OutputKind::File if output.path.is_none() && !table.contains_key("path") => {
            report.problem(name, format!("output `{}` needs a `path`: it is a file", output.name));
        }
        OutputKind::Console => {
            for key in ["path", "max_bytes", "keep"] {
                if let Some(value) = table.get(key) {
                    report.problem(
                        value,
                        format!("`{key}` is about files, and `{}` is a console", output.name),
                    );
                }
            }
        }
        OutputKind::File => {}
    }
}

/// What is wrong with the outputs of a pipeline, if anything: which of them, or all, and what.
pub(crate) fn complaint(pipeline: &PipelineConfig, config: &Config) -> Option<(Option<usize>, String)> {
    let known = || config.outputs.iter().map(|output| output.name.as_str()).chain([PROMETHEUS]);
    for (index, name) in pipeline.outputs.iter().enumerate() {
        if known().all(|known| known != name) {
            let way = hint(name, known(), || format!("known are {}", listed(known())));
            return Some((Some(index), format!("unknown output `{name}`: {way}")));
        }
    }
    if pipeline.outputs.is_empty() {
        return Some((
            None,
            "`outputs` must name at least one; `enabled = false` switches it off".to_owned(),
        ));
    }
    let scraped = pipeline.outputs.iter().any(|name| name == PROMETHEUS);
    if !scraped && pipeline.interval.is_none() && pipeline.from.is_none() {
        let what =
            format!("without `{PROMETHEUS}` among `outputs` nobody scrapes it: it needs an `interval`");
        return Some((None, what));
    }
    None
}
