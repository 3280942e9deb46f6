//! The keys of the configuration file, as data. Reading, validation, the reference and the example derive
//! from these tables; defaults are those of [`Config::default`] and [`PipelineConfig::new`].

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Config, PipelineConfig};
use crate::catalogue::OptionValue;

/// A key of the file.
#[derive(Debug)]
pub struct Key<T: 'static> {
    /// Name in the file.
    pub name: &'static str,
    /// Type, and the field it sets.
    pub slot: Slot<T>,
    /// One sentence.
    pub help: &'static str,
    /// For keys without a default.
    pub unset: Option<Unset>,
}

/// A key without a default.
#[derive(Debug)]
pub struct Unset {
    /// What holds without it.
    pub means: &'static str,
    /// A value to show, as it stands in the file.
    pub example: &'static str,
}

/// The type of a key, and the field it sets.
#[derive(Debug)]
pub enum Slot<T: 'static> {
    /// `true` or `false`.
    Bool(fn(&mut T) -> &mut bool),
    /// A path of the file system.
    Path(fn(&mut T) -> &mut PathBuf),
    /// A length of time, at least a millisecond.
    Duration(fn(&mut T) -> &mut Duration),
    /// A length of time that may be zero.
    Offset(fn(&mut T) -> &mut Duration),
    /// A length of time that may be absent.
    Interval(fn(&mut T) -> &mut Option<Duration>),
    /// Where to listen.
    Addresses(fn(&mut T) -> &mut Vec<SocketAddr>),
    /// The start of metric names.
    Prefix(fn(&mut T) -> &mut Option<String>),
    /// Globs on metric names.
    Globs(fn(&mut T) -> &mut Vec<String>),
    /// Label names and values.
    Tags(fn(&mut T) -> &mut Vec<(String, String)>),
    /// A number above zero.
    Count(fn(&mut T) -> &mut u32),
    /// A number that may have a fraction; 0 is no limit.
    Limit(fn(&mut T) -> &mut f64),
}

impl<T> Slot<T> {
    /// The type, for people.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "boolean",
            Self::Path(_) => "path",
            Self::Duration(_) | Self::Offset(_) | Self::Interval(_) => "duration",
            Self::Addresses(_) => "array of \"ADDR:PORT\"",
            Self::Prefix(_) => "string",
            Self::Globs(_) => "array of globs",
            Self::Tags(_) => "table of strings",
            Self::Count(_) => "integer",
            Self::Limit(_) => "number",
        }
    }

    /// The value that the field has, as it would stand in the file; nothing when it is not set.
    pub fn text(&self, of: &mut T) -> Option<String> {
        Some(match self {
            Self::Bool(field) => field(of).to_string(),
            Self::Path(field) => quoted(&field(of).to_string_lossy()),
            Self::Duration(field) | Self::Offset(field) => quoted(&duration(*field(of))),
            Self::Interval(field) => quoted(&duration((*field(of))?)),
            Self::Addresses(field) => array(field(of).iter().map(ToString::to_string)),
            Self::Prefix(field) => quoted(field(of).as_deref()?),
            Self::Globs(field) => array(field(of).iter()),
            Self::Tags(field) => table(field(of)),
            Self::Count(field) => field(of).to_string(),
            Self::Limit(field) => field(of).to_string(),
        })
    }
}

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
];

/// Name of the table that holds one table per input.
pub const INPUT_TABLE: &str = "input";

/// The keys that every `[input.NAME]` has; an input's own options stand beside them.
pub static INPUT_KEYS: &[Key<PipelineConfig>] = &[
    Key {
        name: "enabled",
        slot: Slot::Bool(|input| &mut input.enabled),
        help: "Whether the input runs.",
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
        name: "deadline",
        slot: Slot::Duration(|input| &mut input.deadline),
        help: "How long one collection may take; a shorter interval shortens the default.",
        unset: None,
    },
    Key {
        name: "prefix",
        slot: Slot::Prefix(|input| &mut input.transform.prefix),
        help: "Start of its metric names.",
        unset: Some(Unset { means: "the input's own", example: "\"host_\"" }),
    },
    Key {
        name: "allow",
        slot: Slot::Globs(|input| &mut input.transform.allow),
        help: "Metrics to keep, by name without prefix; an empty list keeps all.",
        unset: None,
    },
    Key {
        name: "deny",
        slot: Slot::Globs(|input| &mut input.transform.deny),
        help: "Metrics to leave out, by name without prefix; wins over `allow`.",
        unset: None,
    },
    Key {
        name: "tags",
        slot: Slot::Tags(|input| &mut input.transform.tags),
        help: "Labels added to every series of the input.",
        unset: None,
    },
    Key {
        name: "max_series",
        slot: Slot::Count(|input| &mut input.transform.max_series),
        help: "Series that one metric may have by themselves; further ones are shown as one called `other`.",
        unset: None,
    },
];

impl OptionValue {
    /// The type, for people.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "boolean",
            Self::Regex(_) => "regular expression",
            Self::Integer { .. } => "integer",
        }
    }

    /// The default, as it would stand in the file.
    pub fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Regex(text) => quoted(text),
            Self::Integer { default, .. } => default.to_string(),
        }
    }
}

/// A TOML string. Backslashes, which regular expressions are full of, stay readable in single quotes.
fn quoted(text: &str) -> String {
    let literal = text.contains(['\\', '"']) && !text.contains('\'') && !text.contains(char::is_control);
    if literal {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            control if control.is_control() => out.extend(format!("\\u{:04X}", u32::from(control)).chars()),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn array(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    format!("[{}]", items.map(|item| quoted(item.as_ref())).collect::<Vec<_>>().join(", "))
}

fn table(entries: &[(String, String)]) -> String {
    if entries.is_empty() {
        return "{}".into();
    }
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// A duration in the largest unit that keeps it whole.
fn duration(value: Duration) -> String {
    let millis = value.as_millis();
    let unit =
        super::value::UNITS.iter().rev().find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)));
    match unit {
        Some(&(unit, factor)) if millis > 0 => format!("{}{unit}", millis / u128::from(factor)),
        _ => format!("{millis}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_their_largest_whole_unit() {
        for (millis, text) in [(0, "0s"), (1, "1ms"), (1_500, "1500ms"), (60_000, "1m"), (7_200_000, "2h")] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn quoted_text_is_read_back() {
        for text in ["plain", r"^(ram|loop)\d+$", "it's", r#"both ' and " and \"#, "tab\there", ""] {
            let line = format!("key = {}", quoted(text));
            let table: toml::Table = line.parse().unwrap();
            assert_eq!(table["key"].as_str(), Some(text), "{line}");
        }
    }
}
