//! An input of one's own: the library collects it and encodes its page.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::{error::Error, fs, io::Write, os::unix::fs::FileTypeExt, time::Duration};

use pitot::{
    accumulator::{Accumulator, MemoryAccumulator},
    catalogue::{Label, Metric, Source},
    config::PipelineConfig,
    input::{CollectContext, Input, InputDef, InputError},
    output::{Encoder, Format},
    pipeline::{InputPipeline, Pipeline},
};

static DEF: InputDef = InputDef {
    name: "tmp",
    about: "What lies about in the folder for temporary files.",
    prefix: "example_",
    source: Source::Files(&["root:tmp"]),
    cost: "one folder",
    metrics: &[&ENTRIES],
    options: &[],
    open: |_| Ok(Box::new(Tmp)),
};

static ENTRIES: Metric = Metric::gauge(
    "tmp_entries",
    "Entries of the folder for temporary files.",
    &[Label::fixed("kind", &["file", "folder", "socket", "other"])],
);

struct Tmp;

impl Input for Tmp {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let folder = fs::read_dir(std::env::temp_dir()).map_err(|e| InputError::Other(e.to_string()))?;
        let kinds = folder.flatten().filter_map(|entry| entry.file_type().ok());
        let mut counts = [("file", 0u64), ("folder", 0), ("socket", 0), ("other", 0)];
        for kind in kinds {
            let at = [kind.is_file(), kind.is_dir(), kind.is_socket(), true];
            counts[at.iter().position(|is| *is).unwrap_or(3)].1 += 1;
        }
        for (kind, count) in counts {
            acc.put(&ENTRIES, &[kind.as_bytes()], count);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let cx = CollectContext::new(Duration::from_secs(1));

    // On its own, into memory.
    let mut memory = MemoryAccumulator::new();
    Tmp.collect(&cx, &mut memory)?;
    println!("{} files", memory.number("tmp_entries", &["file"]).unwrap_or_default());

    // As the agent runs it: named and tagged by its pipeline, then encoded.
    let mut config = PipelineConfig::new(&DEF);
    config.transform.tags = vec![("site".into(), "here".into())];
    let mut pipeline = InputPipeline::new(&config, Box::new(Tmp));
    pipeline.collect(&cx, None);
    let page = Encoder::new().encode(Format::Text, &[pipeline.frame()]);
    std::io::stdout().write_all(&page)?;
    Ok(())
}
