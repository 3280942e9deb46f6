//! `docs/config.md` and the example configuration.

use std::fmt::{self, Write};

use super::{cell, code, codes, generated};
use crate::{
    config::{
        Config, OutputConfig, OutputKind, PipelineConfig,
        schema::{
            CHECK_KEYS, INPUT_KEYS, INPUT_TABLE, Key, OUTPUT_KEYS, OUTPUT_TABLE, PIPELINE_TABLE, SOURCE_KEYS,
            Slot, TABLES,
        },
    },
    input::{
        InputDef,
        check::{CHECKS as KNOWN, httpcheck},
    },
    pipeline::checks::WORDS,
};

pub(super) fn write_reference(out: &mut String) -> fmt::Result {
    let mut config = Config::default();
    generated(out, "config-md")?;
    writeln!(out, "# Configuration\n")?;
    writeln!(
        out,
        "No file is needed: without one, everything has the default shown here. `pitot --config FILE` reads \
         TOML; options of the command line win over it. The file is checked strictly, and every problem is \
         reported at once with its line and column. A duration is a whole number and `ms`, `s`, `m` or `h`, at \
         most `24h`; a size is one and `B`, `KiB`, `MiB` or `GiB`. In globs, `*` is any run of characters and `?` is one.\n"
    )?;
    for table in TABLES {
        let title = if table.name.is_empty() { "Top level".into() } else { format!("`[{}]`", table.name) };
        writeln!(out, "## {title}\n\n{}\n", table.about)?;
        write_keys(out, table.keys, &mut config)?;
    }
    writeln!(out, "## `[{OUTPUT_TABLE}.NAME]`\n\n{OUTPUTS}\n")?;
    write_keys(out, OUTPUT_KEYS, &mut OutputConfig::new(""))?;
    let Some(first) = config.pipelines.first_mut() else { return Ok(()) };
    writeln!(out, "## `[{PIPELINE_TABLE}.NAME]`\n\n{PIPELINES}\n")?;
    let unset = PipelineConfig { input: None, ..first.clone() };
    write_keys(out, SOURCE_KEYS, &mut unset.clone())?;
    writeln!(out, "## `[{INPUT_TABLE}.NAME]`\n\nHow the pipeline of an input is run, and any other.\n")?;
    write_keys(out, INPUT_KEYS, first)?;
    writeln!(out, "{QUERIES}\n")?;
    let mut check = PipelineConfig::new(&httpcheck::DEF);
    writeln!(out, "### Checks\n\n{CHECKS}\n")?;
    write_keys(out, CHECK_KEYS, &mut check)?;
    writeln!(out, "{}\n", templates())?;
    writeln!(out, "The inputs, with the options that they have beside these:\n")?;
    let common = first.clone();
    config.pipelines.iter().try_for_each(|input| write_own(out, input, &common))
}

const OUTPUTS: &str = "A place for samples beside the pages of scrapers, written by a thread of its own. Pipelines name it \
    in `outputs`. What it cannot take is dropped and counted (`pitot_agent_output_dropped_total`), and never waited \
    for. A file is opened again when another program has renamed or removed it, and holds whole pages only.";
const PIPELINES: &str = "A further pipeline: an input that is collected once more with other settings, or something that is \
    computed of what another pipeline publishes. Beside these keys it has those of an input's table.";
pub(super) const QUERIES: &str = r#"With a query, its results are published instead of samples. All other keys hold for the results: their names
get the prefix, `allow` and `rename` name them, `max_series` bounds the groups. A query takes FROM the input by the names
without prefix, and `from` another pipeline by the names that it publishes. These two are the same:

```toml
[pipeline.busy]
input = "cpu"
interval = "1s"
prefix = "shop_"
sql = """
  SELECT sum(rate(cpu_seconds_total)) AS cpu_busy_ratio FROM cpu
   WHERE mode != 'idle' GROUP BY cpu WINDOW 10s"""

[pipeline.busy_as_data]
input = "cpu"
interval = "1s"
prefix = "shop_"
select = [{ metric = "cpu_seconds_total", as = "cpu_busy_ratio", agg = "sum", of = "rate" }]
where = { not = { equals = { label = "mode", to = "idle" } } }
group_by = ["cpu"]
window = "10s"

[pipeline.busiest]
from = "busy"
sql = "SELECT max(shop_cpu_busy_ratio) AS shop_cpu_busiest_ratio FROM busy"
```"#;

const CHECKS: &str = "Inputs that try something out on a target: this host, or containers, in whose namespaces they are \
    executed. Every target is checked at a time of its own within the `interval` (15 s when there is none, whoever scrapes), and \
    what is collected is the newest result of each. Without `target` series have no labels but their own; with it they have \
    `namespace`, `pod` and `container`. What looks at the network alone asks each pod once and has no `container`, unless \
    `target` says one. A check that could not be executed is `executed 0`, which says nothing about the target; a target that is \
    down is a result. A result that is older than two intervals and its timeout is not shown.";

/// What texts may take of targets.
fn templates() -> String {
    format!(
        "With a `target`, the texts of options, and `tags`, may take what is known of it: {}. Behind a bar stands what is \
         taken where the target has nothing, and `{{{{` is a brace. Only a pod whose runtime speaks CRI has an `{{ip}}`. What a \
         target lacks makes its check `executed 0`; a tag is left out.\n\n```toml\n{TEMPLATES}\n```",
        codes(WORDS.map(|word| format!("{{{word}}}")).iter().map(String::as_str))
    )
}

const TEMPLATES: &str = r#"[pipeline.shop]
input = "httpcheck"
interval = "5s"
target = { namespace = "shop", labels = { tier = "web" } }
url = "http://127.0.0.1:{annotation:prometheus.io/port|8080}/healthz"
tags = { team = "{label:team}" }"#;

fn write_keys<T>(out: &mut String, keys: &[Key<T>], defaults: &mut T) -> fmt::Result {
    header(out)?;
    for key in keys {
        row(out, key.name, key.slot.type_name(), &default(key, defaults), key.help)?;
    }
    writeln!(out)
}

fn default<T>(key: &Key<T>, of: &mut T) -> String {
    match (key.slot.text(of), &key.unset) {
        (Some(text), _) => code(&text),
        (None, Some(unset)) => unset.means.into(),
        (None, None) => String::new(),
    }
}

fn header(out: &mut String) -> fmt::Result {
    writeln!(out, "| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |")
}

fn row(out: &mut String, key: &str, kind: &str, default: &str, help: &str) -> fmt::Result {
    writeln!(out, "| `{key}` | {kind} | {default} | {} |", cell(help))
}

/// What is particular to one input.
fn write_own(out: &mut String, input: &PipelineConfig, common: &PipelineConfig) -> fmt::Result {
    let def = input.def;
    writeln!(out, "### `[{INPUT_TABLE}.{}]`\n\n{} Prefix: `{}`.\n", def.name, def.about, def.prefix)?;
    let differs = differing(input, common);
    if differs.is_empty() && def.options.is_empty() {
        return Ok(());
    }
    header(out)?;
    let mut own = input.clone();
    for key in differs {
        row(out, key.name, key.slot.type_name(), &default(key, &mut own), key.help)?;
    }
    for option in def.options {
        row(out, option.key, option.default.type_name(), &code(&option.default.text()), option.help)?;
    }
    writeln!(out)
}

/// The keys whose default is another than the common one.
fn differing(input: &PipelineConfig, common: &PipelineConfig) -> Vec<&'static Key<PipelineConfig>> {
    let (mut own, mut common) = (input.clone(), common.clone());
    INPUT_KEYS.iter().filter(|key| key.slot.text(&mut own) != key.slot.text(&mut common)).collect()
}

pub(super) fn write_example(out: &mut String) -> fmt::Result {
    let mut config = Config::default();
    writeln!(out, "# Generated by `pitot generate example-config`.")?;
    writeln!(out, "#")?;
    writeln!(out, "# Every key at its default. Remove the `#` before a key to change it.")?;
    for table in TABLES {
        writeln!(out, "\n# {}", table.about)?;
        if !table.name.is_empty() {
            writeln!(out, "[{}]", table.name)?;
        }
        table.keys.iter().try_for_each(|key| example_key(out, key, &mut config))?;
    }
    example_parts(out, &config)?;
    for (index, mut input) in config.pipelines.into_iter().enumerate() {
        example_input(out, index == 0, &mut input)?;
    }
    Ok(())
}

/// Parts that there are none of by default.
fn example_parts(out: &mut String, config: &Config) -> fmt::Result {
    let name = "NAME";
    writeln!(
        out,
        "\n# A place for samples beside the pages of scrapers, for `outputs` of inputs and pipelines."
    )?;
    writeln!(out, "#[{OUTPUT_TABLE}.{name}]")?;
    let mut file = OutputConfig { kind: OutputKind::File, ..OutputConfig::new(name) };
    OUTPUT_KEYS.iter().try_for_each(|key| example_key(out, key, &mut file))?;
    let Some(first) = config.pipelines.first() else { return Ok(()) };
    writeln!(
        out,
        "\n# A further pipeline, with the keys of an input beside its source.\n#[{PIPELINE_TABLE}.{name}]"
    )?;
    let mut further = PipelineConfig { input: None, ..first.clone() };
    // The sources exclude each other: all but the first are said, and not written.
    for (index, key) in SOURCE_KEYS.iter().enumerate() {
        match (index, &key.unset) {
            (1.., Some(unset)) => writeln!(out, "# Or `{} = {}`: {}", key.name, unset.example, key.help)?,
            _ => example_key(out, key, &mut further)?,
        }
    }
    Ok(())
}

/// The keys that every input has are shown once, with the first.
fn example_input(out: &mut String, first: bool, input: &mut PipelineConfig) -> fmt::Result {
    let def: &InputDef = input.def;
    writeln!(out, "\n# {}\n[{INPUT_TABLE}.{}]", def.about, def.name)?;
    for key in INPUT_KEYS.iter().filter(|key| first || key.name == "enabled") {
        if let (Slot::Part(_), Some(unset)) = (&key.slot, &key.unset) {
            // It excludes the queries as SQL.
            if first {
                writeln!(out, "# Or `{} = {}`: {}", key.name, unset.example, key.help)?;
            }
        } else if first {
            example_key(out, key, input)?;
        } else if let Some(text) = key.slot.text(input) {
            writeln!(out, "#{} = {text}", key.name)?;
        }
    }
    // Those of checks once, with the first of them.
    if KNOWN.first().is_some_and(|known| known.def.name == def.name) {
        CHECK_KEYS.iter().try_for_each(|key| example_key(out, key, input))?;
    }
    for option in def.options {
        writeln!(out, "# {}\n#{} = {}", option.help, option.key, option.default.text())?;
    }
    Ok(())
}

fn example_key<T>(out: &mut String, key: &Key<T>, defaults: &mut T) -> fmt::Result {
    match (key.slot.text(defaults), &key.unset) {
        (Some(text), _) => writeln!(out, "# {}\n#{} = {text}", key.help, key.name),
        (None, Some(unset)) => {
            writeln!(out, "# {} Without it, {}.\n#{} = {}", key.help, unset.means, key.name, unset.example)
        }
        (None, None) => writeln!(out, "# {}", key.help),
    }
}
