//! Every key.

mod pods;

use super::{Choice, Key, Slot, Unset};
use crate::{
    config::{Config, OutputConfig, OutputFormat, OutputKind, PipelineConfig},
    input::check::NetworkMode,
    pipeline::TagPolicy,
};

/// A table of the file, or its top level.
#[derive(Debug)]
pub struct Table {
    /// Its name; empty for the top level.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key<Config>],
}

/// The top level and every table but those of the inputs.
pub static TABLES: &[Table] = &[
    Table {
        name: "",
        about: "Where to listen, and where the host's trees are.",
        keys: &[
            Key {
                name: "listen",
                slot: Slot::Addresses(|config| &mut config.listen),
                help: "Addresses on which metrics are served.",
                unset: None,
            },
            Key {
                name: "rootfs",
                slot: Slot::Path(|config| &mut config.roots.rootfs),
                help: "The host's `/`; `procfs` and `sysfs` follow it unless they are given.",
                unset: None,
            },
            Key {
                name: "procfs",
                slot: Slot::Path(|config| &mut config.roots.procfs),
                help: "The host's `/proc`.",
                unset: None,
            },
            Key {
                name: "sysfs",
                slot: Slot::Path(|config| &mut config.roots.sysfs),
                help: "The host's `/sys`.",
                unset: None,
            },
        ],
    },
    Table {
        name: "scrape",
        about: "What a scrape may take.",
        keys: &[Key {
            name: "budget",
            slot: Slot::Duration(|config| &mut config.scrape_budget),
            help: "How long a scrape waits for inputs; what has not answered by then is left out and marked.",
            unset: None,
        }],
    },
    Table {
        name: "ebpf",
        about: "Kernel programs.",
        keys: &[
            Key {
                name: "enabled",
                slot: Slot::Bool(|config| &mut config.ebpf),
                help: "Whether kernel programs may be loaded at all.",
                unset: None,
            },
            Key {
                name: "pin",
                slot: Slot::Path(|config| &mut config.pin),
                help: "Directory of a BPF file system that keeps maps and links across restarts of the agent.",
                unset: None,
            },
        ],
    },
    Table {
        name: "budget",
        about: "What the agent may cost. Over it, the dearest input is collected at one in 2, 4 and 8 occasions, then \
                shed; it comes back step by step when there has been room for two minutes.",
        keys: &[
            Key {
                name: "cpu_percent",
                slot: Slot::Limit(|config| &mut config.budget.cpu_percent),
                help: "CPU time of the agent, and of its kernel programs while they are timed, in per cent of one CPU; \
                       0 is no limit.",
                unset: None,
            },
            Key {
                name: "memory_mib",
                slot: Slot::Limit(|config| &mut config.budget.memory_mib),
                help: "Resident memory and kernel maps in MiB, over which optional inputs are given up until the next \
                       start; 0 is no limit.",
                unset: None,
            },
            Key {
                name: "window",
                slot: Slot::Duration(|config| &mut config.budget.window),
                help: "Over how long use is measured; two windows over the budget bring a step.",
                unset: None,
            },
            Key {
                name: "kernel_programs",
                slot: Slot::Bool(|config| &mut config.budget.kernel_programs),
                help: "Let the kernel time all its BPF programs all the time, at the price of two clock readings per \
                       run, so that those of the agent are held to the budget too.",
                unset: None,
            },
        ],
    },
    Table {
        name: "tasks",
        about: "Collections that are described in files of their own, one or several to a file.",
        keys: &[Key {
            name: "directory",
            slot: Slot::OptionalPath(|config| &mut config.tasks),
            help: "Directory whose `.json` and `.toml` files are read as tasks; what is wrong in one of them leaves all \
                   others running.",
            unset: Some(Unset { means: "there are no tasks", example: "\"/etc/pitot/tasks.d\"" }),
        }],
    },
    Table {
        name: "bursts",
        about: "What goes up and down within milliseconds: use of CPUs, run queues, memory pressure, disks and network \
                devices, read many times between two scrapes, as histograms of their rates and extremes of a minute.",
        keys: &[
            Key {
                name: "enabled",
                slot: Slot::Bool(|config| &mut config.bursts.enabled),
                help: "Whether bursts are looked for; it takes about 1 % of a CPU at 10 ms.",
                unset: None,
            },
            Key {
                name: "interval",
                slot: Slot::Duration(|config| &mut config.bursts.interval),
                help: "Distance of the readings.",
                unset: None,
            },
            Key {
                name: "peak",
                slot: Slot::Duration(|config| &mut config.bursts.peak),
                help: "How long extremes stay in sight; longer than the distance of scrapes.",
                unset: None,
            },
        ],
    },
    pods::TABLE,
    Table {
        name: "reload",
        about: "How a running agent learns of a changed configuration, beside SIGHUP. A reload is all or nothing: \
                with a problem in this file, what runs goes on as it is.",
        keys: &[
            Key {
                name: "watch",
                slot: Slot::Bool(|config| &mut config.reload.watch),
                help: "Whether a change of this file or of the directory of tasks is noticed by itself.",
                unset: None,
            },
            Key {
                name: "endpoint",
                slot: Slot::Bool(|config| &mut config.reload.endpoint),
                help: "Whether `POST /-/reload` reloads, for anybody who reaches the listening addresses.",
                unset: None,
            },
        ],
    },
];

/// Name of the table that holds one table per input.
pub const INPUT_TABLE: &str = "input";
/// Name of the table that holds one table per further pipeline.
pub const PIPELINE_TABLE: &str = "pipeline";
/// Name of the table that holds one table per output.
pub const OUTPUT_TABLE: &str = "output";

/// What a `[pipeline.NAME]` takes its samples from: one of these, beside the keys of an input's table.
pub static SOURCE_KEYS: &[Key<PipelineConfig>] = &[
    Key {
        name: "input",
        slot: Slot::Name(|pipeline| &mut pipeline.input),
        help: "Input that it collects, with the options of that input beside these keys.",
        unset: Some(Unset { means: "it takes from another pipeline", example: "\"cpu\"" }),
    },
    Key {
        name: "from",
        slot: Slot::Name(|pipeline| &mut pipeline.from),
        help: "Pipeline of which it computes something (`sql`), without collecting anything again; every input has one of its \
               name.",
        unset: Some(Unset { means: "it has an input", example: "\"cpu\"" }),
    },
];

/// The keys of an `[output.NAME]`.
pub static OUTPUT_KEYS: &[Key<OutputConfig>] = &[
    Key {
        name: "kind",
        slot: Slot::Choice(Choice {
            words: OutputKind::WORDS,
            get: |output| output.kind as usize,
            set: |output, which| output.kind = OutputKind::ALL[which],
        }),
        help: "`console` writes to the standard output, `file` appends to a file.",
        unset: None,
    },
    Key {
        name: "format",
        slot: Slot::Choice(Choice {
            words: OutputFormat::WORDS,
            get: |output| output.format as usize,
            set: |output, which| output.format = OutputFormat::ALL[which],
        }),
        help: "`text` and `openmetrics` are pages as scrapers get them, `json` is one line per sample.",
        unset: None,
    },
    Key {
        name: "path",
        slot: Slot::OptionalPath(|output| &mut output.path),
        help: "The file to append to; it is made when it is not there.",
        unset: Some(Unset { means: "a `file` is refused", example: "\"/var/log/pitot/metrics.prom\"" }),
    },
    Key {
        name: "max_bytes",
        slot: Slot::Bytes(|output| &mut output.max_bytes),
        help: "Size over which a file is renamed to `PATH.1` and begun anew.",
        unset: None,
    },
    Key {
        name: "keep",
        slot: Slot::Count(|output| &mut output.keep),
        help: "How many renamed files are kept.",
        unset: None,
    },
    Key {
        name: "queue",
        slot: Slot::Bytes(|output| &mut output.queue),
        help: "Encoded pages that wait to be written; one for which there is no room is dropped and counted.",
        unset: None,
    },
];

/// The keys that an input which is a check has beside those of every input.
pub static CHECK_KEYS: &[Key<PipelineConfig>] = &[
    Key {
        name: "target",
        slot: Slot::Target(|pipeline| &mut pipeline.check.target),
        help: "Containers in whose namespaces it is executed: globs on `namespace`, `pod`, `container`, `image` and \
               `runtime`, and tables of globs on `labels` and `annotations`, all of which must fit.",
        unset: Some(Unset { means: "the host is the target", example: "{ pod = \"web-*\" }" }),
    },
    Key {
        name: "concurrency",
        slot: Slot::Count(|pipeline| &mut pipeline.check.concurrency),
        help: "Targets that are checked at once; those that were slow the last time have half of it at most.",
        unset: None,
    },
    Key {
        name: "rate",
        slot: Slot::Limit(|pipeline| &mut pipeline.check.rate),
        help: "Checks that are started in a second, at most; 0 is no limit.",
        unset: None,
    },
    Key {
        name: "network_mode",
        slot: Slot::Choice(Choice {
            words: &["pod", "agent"],
            get: |pipeline| usize::from(pipeline.check.network_mode == NetworkMode::Agent),
            set: |pipeline, which| {
                pipeline.check.network_mode = [NetworkMode::Pod, NetworkMode::Agent][which];
            },
        }),
        help: "Where a target is checked from: `pod` is in its namespaces, `agent` is from outside, for what options take \
               of the target, such as its address.",
        unset: None,
    },
];

/// The keys that every `[input.NAME]` and `[pipeline.NAME]` has; an input's own options stand beside them.
pub static INPUT_KEYS: &[Key<PipelineConfig>] = &[
    Key {
        name: "enabled",
        slot: Slot::Bool(|input| &mut input.enabled),
        help: "Whether it runs.",
        unset: None,
    },
    Key {
        name: "interval",
        slot: Slot::Interval(|input| &mut input.interval),
        help: "How often it is collected, at multiples of the interval since 1970.",
        unset: Some(Unset { means: "whenever it is scraped", example: "\"15s\"" }),
    },
    Key {
        name: "offset",
        slot: Slot::Offset(|input| &mut input.offset),
        help: "Shift of the schedule, shorter than the interval.",
        unset: None,
    },
    Key {
        name: "spread",
        slot: Slot::Span(|input| &mut input.spread),
        help: "Span over which pipelines of the same interval are spread: each is late by a share of it that follows \
               from its name.",
        unset: Some(Unset { means: "the interval, or nothing with an `offset`", example: "\"0s\"" }),
    },
    Key {
        name: "deadline",
        slot: Slot::Duration(|input| &mut input.deadline),
        help: "How long one collection may take; a shorter interval shortens the default.",
        unset: None,
    },
    Key {
        name: "outputs",
        slot: Slot::Names(|input| &mut input.outputs),
        help: "Where its samples go: `prometheus` is the pages of scrapers, other names are those of `[output.NAME]`.",
        unset: None,
    },
    Key {
        name: "prefix",
        slot: Slot::Text(|input| &mut input.transform.prefix),
        help: "Start of its metric names.",
        unset: Some(Unset { means: "the input's own, or nothing with `from`", example: "\"host_\"" }),
    },
    Key {
        name: "allow",
        slot: Slot::Globs(|input| &mut input.transform.allow),
        help: "Metrics to keep, by name without prefix, as globs or as regular expressions between slashes; an empty \
               list keeps all.",
        unset: None,
    },
    Key {
        name: "deny",
        slot: Slot::Globs(|input| &mut input.transform.deny),
        help: "Metrics to leave out, by name without prefix; wins over `allow`.",
        unset: None,
    },
    Key {
        name: "allow_labels",
        slot: Slot::LabelPatterns(|input| &mut input.transform.allow_labels),
        help: "Labels, and patterns of which one must match the value where a series has the label.",
        unset: None,
    },
    Key {
        name: "deny_labels",
        slot: Slot::LabelPatterns(|input| &mut input.transform.deny_labels),
        help: "Labels, and patterns of which none may match the value where a series has the label.",
        unset: None,
    },
    Key {
        name: "rename",
        slot: Slot::Tags(|input| &mut input.transform.rename),
        help: "Metrics, by name without prefix, and what they are called instead.",
        unset: None,
    },
    Key {
        name: "values",
        slot: Slot::Values(|input| &mut input.transform.values),
        help: "Metrics whose values become differences (`delta`) or changes per second (`rate`), by pattern of their \
               names without prefix.",
        unset: None,
    },
    Key {
        name: "derive",
        slot: Slot::Lines(|input| &mut input.transform.derive),
        help: "Formulas, one after another, that compute metrics from those of the same labels: `NAME = EXPRESSION`, \
               `drop NAME` or `rename NAME NAME`.",
        unset: None,
    },
    Key {
        name: "tags",
        slot: Slot::Tags(|input| &mut input.transform.tags),
        help: "Labels added to every series of the input.",
        unset: None,
    },
    Key {
        name: "tag_policy",
        slot: Slot::Choice(Choice {
            words: &["own_wins", "tags_win", "refuse"],
            get: |input| input.transform.tag_policy as usize,
            set: |input, which| {
                input.transform.tag_policy =
                    [TagPolicy::OwnWins, TagPolicy::TagsWin, TagPolicy::Refuse][which];
            },
        }),
        help: "What happens to a series with a label that is also a tag: it keeps its own value, takes that of the tag, \
               or is left out and counted.",
        unset: None,
    },
    Key {
        name: "format",
        slot: Slot::Text(|input| &mut input.transform.format),
        help: "Names outside, with one `%s` for the name without prefix, instead of a prefix.",
        unset: Some(Unset { means: "a prefix and the name", example: "\"host_%s\"" }),
    },
    Key {
        name: "max_series",
        slot: Slot::Count(|input| &mut input.transform.max_series),
        help: "Series that one metric may have by themselves; further ones are shown as one called `other`.",
        unset: None,
    },
    Key {
        name: "sql",
        slot: Slot::Queries(|input| &mut input.queries),
        help: "Queries whose results it publishes instead of its samples, FROM its input or the pipeline that it \
               takes from.",
        unset: Some(Unset {
            means: "samples are passed on",
            example: "\"SELECT sum(rate(cpu_seconds_total)) AS cpu_busy_ratio FROM cpu WHERE mode != 'idle' GROUP BY cpu\"",
        }),
    },
    Key {
        name: "select",
        slot: Slot::Part("array of `{ metric, as, agg, of, over }`"),
        help: "The same as data, without `sql`: the results of one query, each with `metric`, `as` (its name), `agg` (how \
               values are folded), and `of` (`value`, `rate` or `delta`) or `over` (a time of its own) where needed.",
        unset: Some(Unset {
            means: "there is no query, or it is `sql`",
            example: "[{ metric = \"cpu_seconds_total\", as = \"cpu_busy_ratio\", agg = \"sum\", of = \"rate\" }]",
        }),
    },
    Key {
        name: "where",
        slot: Slot::Part("condition"),
        help: "Which samples the results of `select` take: `equals`, `in`, `like`, `glob` or `regex` of a label, or `value`, \
               put together with `and`, `or` and `not`.",
        unset: Some(Unset {
            means: "all",
            example: "{ not = { equals = { label = \"mode\", to = \"idle\" } } }",
        }),
    },
    Key {
        name: "group_by",
        slot: Slot::Part("array of strings"),
        help: "Labels that the results of `select` keep, one for each combination of their values.",
        unset: Some(Unset { means: "none", example: "[\"cpu\"]" }),
    },
    Key {
        name: "window",
        slot: Slot::Part("duration"),
        help: "Span of time that is folded into one result of `select`, at multiples of it since 1970.",
        unset: Some(Unset { means: "each collection by itself", example: "\"1m\"" }),
    },
];
