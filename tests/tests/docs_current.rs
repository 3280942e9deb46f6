//! The checked-in documents say what the program says. `BLESS=1` rewrites those that are generated.
#![expect(clippy::disallowed_methods, reason = "BLESS accepts")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use pitot::{
    catalogue::Kind,
    cli::{Document, generate},
    config::{Config, PipelineConfig, load},
    input::INPUTS,
    tasks::{CollectTask, Surroundings, resolve},
};
use xtask::sources;

const GENERATED: [(&str, Document); 4] = [
    ("docs/metrics.md", Document::MetricsMd),
    ("docs/config.md", Document::ConfigMd),
    ("docs/kernels.md", Document::KernelsMd),
    ("docs/example-config.toml", Document::ExampleConfig),
];

#[test]
fn generated_documents_are_up_to_date() {
    for (file, document) in GENERATED {
        let path = sources::root().join(file);
        let text = generate(document);
        if env::var("BLESS").is_ok_and(|bless| bless == "1") {
            fs::write(path, text).unwrap();
            continue;
        }
        let kept = fs::read_to_string(path).unwrap_or_default();
        let first = kept.lines().zip(text.lines()).position(|(kept, text)| kept != text);
        let line = first.map_or(kept.lines().count().min(text.lines().count()), |line| line) + 1;
        assert!(
            kept == text,
            "{file}:{line} is stale: BLESS=1 cargo test -p pitot-tests --test docs_current"
        );
    }
}

/// Documents that people write, and what is deployed.
fn written() -> Vec<PathBuf> {
    let root = sources::root();
    let mut files = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs"), root.join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|file| file.is_file());
    files
}

/// Every name that a series may have; `*` stands for what the host adds.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (prefix, metric) in INPUTS.iter().flat_map(|i| i.metrics.iter().map(|metric| (i.prefix, metric))) {
        let name = format!("{prefix}{}", metric.name);
        if matches!(metric.kind, Kind::Histogram(_)) {
            names.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        }
        // OpenMetrics names a counter's family without its end.
        names.extend(name.strip_suffix("_total").map(str::to_owned));
        names.insert(name);
    }
    names
}

fn is_known(names: &BTreeSet<String>, word: &str) -> bool {
    names.contains(word)
        || names.iter().filter_map(|name| name.split_once('*')).any(|(start, end)| {
            word.len() > start.len() + end.len() && word.starts_with(start) && word.ends_with(end)
        })
}

/// Words that begin like metric names and are others: crates, files, the other exporter.
const NO_METRICS: [&str; 4] = ["node_exporter", "pitot_tests", "pitot_common", "node_modules"];

#[test]
fn every_metric_that_a_document_names_exists() {
    let names = names();
    let mut problems = Vec::new();
    for file in written() {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let words =
                line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '*' || c == ':'));
            let words = words.map(|word| word.trim_matches(':'));
            for word in words.filter(|w| w.starts_with("pitot_") || w.starts_with("node_")) {
                // `pitot_agent_*` and `node_` name many at once: one of them must exist.
                let start = word.trim_end_matches('*');
                let many =
                    (word != start || word.ends_with('_')) && names.iter().any(|n| n.starts_with(start));
                // Recording rules may be named after metrics.
                let known =
                    word.contains(':') || NO_METRICS.contains(&word) || is_known(&names, word) || many;
                if !known {
                    problems.push(format!("{}:{}: {word}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(problems.is_empty(), "no such metric:\n{}", problems.join("\n"));
}

/// The blocks of a language in a document, in its order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            let block = lines.by_ref().take_while(|line| line.trim() != "```");
            found.push(block.flat_map(|line| [line, "\n"]).collect());
        }
    }
    found
}

/// The pipelines of the tasks of a document.
fn tasks(text: &str) -> Vec<PipelineConfig> {
    let config = Config::default();
    let json = blocks(text, "json").into_iter().flat_map(|block| {
        let value: serde_json::Value = serde_json::from_str(&block).unwrap();
        let all = if value.is_array() { value } else { serde_json::Value::Array(vec![value]) };
        serde_json::from_value::<Vec<CollectTask>>(all).unwrap()
    });
    let toml = blocks(text, "toml").into_iter().map(|block| toml::from_str(&block).unwrap());
    let around = Surroundings { config: &config, hostname: "host" };
    json.chain(toml).map(|task| resolve(&task, around).unwrap()).collect()
}

#[test]
fn every_example_is_accepted() {
    let mut seen = 0;
    for file in written() {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if file.ends_with("docs/tasks.md") {
            let tasks = tasks(&text);
            let of = |key: &str| tasks.iter().find(|task| task.key == key).unwrap();
            assert_eq!(of("shop-busy").hash(), of("shop-busy-as-data").hash());
            assert!(tasks.len() >= 4, "{}", tasks.len());
        } else if file.extension().is_some_and(|extension| extension == "md") {
            for block in blocks(&text, "toml") {
                let config = load(&block, Config::default());
                let config =
                    config.unwrap_or_else(|problems| panic!("{}: {problems:#?}\n{block}", file.display()));
                let of = |key: &str| config.pipelines.iter().find(|pipeline| pipeline.key == key);
                if let (Some(sql), Some(data)) = (of("busy"), of("busy_as_data")) {
                    assert_eq!(sql.hash(), data.hash());
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 1);
}
