//! Inputs: one file each, which defines its metrics and reads them.

pub mod agent;
pub mod block;
pub mod burst;
pub mod cgroup;
pub mod check;
pub mod conntrack;
pub mod cpu;
pub mod diskstats;
pub mod entropy;
pub mod filefd;
pub mod filesystem;
pub mod irq;
pub mod loadavg;
pub mod meminfo;
pub mod net;
pub mod memory;
pub mod netdev;
pub mod netstat;
pub mod pressure;
pub mod process;
pub mod sched;
pub mod sockstat;
pub mod stat;
pub mod syscall;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod time;
pub mod uname;
pub mod vmstat;

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

pub use crate::catalogue::Unsupported;
use crate::{
    accumulator::{Accumulator, Beginnings},
    bpf,
    catalogue::{Metric, OptionDef, OptionValue, Source},
    source::{Roots, SourceError},
    telemetry,
};

/// Every input, in the order of the exposition.
pub static INPUTS: &[&InputDef] = &[
    &cpu::DEF,
    &stat::DEF,
    &loadavg::DEF,
    &pressure::DEF,
    &meminfo::DEF,
    &vmstat::DEF,
    &diskstats::DEF,
    &filesystem::DEF,
    &netdev::DEF,
    &netstat::DEF,
    &sockstat::DEF,
    &conntrack::DEF,
    &filefd::DEF,
    &entropy::DEF,
    &time::DEF,
    &uname::DEF,
    &sched::DEF,
    &syscall::DEF,
    &block::DEF,
    &tcp::DEF,
    &irq::DEF,
    &process::DEF,
    &net::DEF,
    &memory::DEF,
    &cgroup::DEF,
    &burst::DEF,
    &check::httpcheck::DEF,
    &check::dialcheck::DEF,
    &check::dns::DEF,
    &check::ping::DEF,
    &check::sockets::DEF,
    &check::processes::DEF,
    &check::disk::DEF,
    &check::jvm::DEF,
    &check::exec::DEF,
    &agent::DEF,
];

/// Those that run only when they are asked for, beside checks.
static ON_REQUEST: &[&InputDef] = &[&burst::DEF];

/// The input of that name.
pub fn find(name: &str) -> Option<&'static InputDef> {
    INPUTS.iter().find(|def| def.name == name).copied()
}

/// An input: what it measures, what it needs and what it costs.
#[derive(Debug)]
pub struct InputDef {
    /// Name in the configuration, on the command line and in `input` labels.
    pub name: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// Prefix of its metric names unless the configuration says otherwise.
    pub prefix: &'static str,
    /// Where the numbers come from.
    pub source: Source,
    /// What running it costs, and how that grows.
    pub cost: &'static str,
    /// Every metric it may deliver.
    pub metrics: &'static [&'static Metric],
    /// Settings of its own.
    pub options: &'static [OptionDef],
    /// Builds it. Cheap, and never fails for a missing file: that is found out when it is collected.
    pub open: fn(&mut OpenContext<'_>) -> Result<Box<dyn Input>, Unsupported>,
}

impl InputDef {
    /// Whether it runs unless the configuration says otherwise.
    pub fn is_by_default(&self) -> bool {
        !matches!(self.source, Source::Check(_)) && !ON_REQUEST.iter().any(|def| def.name == self.name)
    }
}

/// Something that can be measured again and again.
///
/// An input knows no business: no tenant, no pod, no prefix, no schedule. Those belong to the pipeline that
/// wraps it.
pub trait Input: Any + Send {
    /// Its definition.
    fn definition(&self) -> &'static InputDef;

    /// Prefix of its metric names, unless the pipeline says otherwise.
    fn default_prefix(&self) -> &'static str {
        self.definition().prefix
    }

    /// Measures once and delivers the samples. When it fails, nothing of this call is published.
    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError>;

    /// Takes over what an earlier instance knew, after a change of configuration. An input that keeps
    /// state tells by `downcast_mut` whether the old one is of its kind.
    fn update_from(&mut self, _old: &mut dyn Any) {}

    /// Whatever helps to understand it, served under `/status`.
    fn debug_info(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// The kernel programs that count for it, if it has any: they say how it runs and what is missing.
    fn kernel_object(&self) -> Option<&bpf::Opened> {
        None
    }

    /// When its counters began at zero, as far as they do not count from boot.
    fn beginnings(&self) -> Beginnings {
        let attach = self.kernel_object().map(bpf::Opened::counting_since);
        Beginnings { attach, start: Some(telemetry::started()) }
    }

    /// How it runs, when there is more than one way: shown as `running{variant}`.
    fn variant(&self) -> Option<String> {
        self.kernel_object().map(|object| object.variant.clone())
    }

    /// Begins what goes on between collections. The engine says so before the first one, when the agent has given its
    /// privileges up; what comes later begins with its first collection.
    fn begin(&mut self) {}

    /// What came too late so far, if it measures by itself between collections.
    fn overdue(&self) -> Overdue {
        Overdue::default()
    }

    /// The same as a check, if it is one.
    fn check(&mut self) -> Option<&mut dyn check::PodInput> {
        None
    }

    /// What it has to do without on this host.
    fn degraded(&self) -> Option<String> {
        self.kernel_object().and_then(|object| object.degraded.clone())
    }
}

/// What came too late of an input that measures by itself between collections, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Results that were too old to be delivered, each once for every collection.
    pub stale: u64,
    /// Measurements whose time passed because an earlier one went on, or because there was no room.
    pub missed: u64,
}

/// What a collection may know about its own moment.
#[derive(Clone, Debug)]
pub struct CollectContext {
    /// The scheduled time, a multiple of the interval; without an interval, the time of the scrape.
    pub aligned_timestamp: SystemTime,
    /// When it started.
    pub started: Instant,
    /// When its result will no longer be waited for.
    pub deadline: Instant,
    cancelled: Option<Arc<AtomicBool>>,
}

impl CollectContext {
    /// A context that starts now.
    pub fn new(budget: Duration) -> Self {
        let started = Instant::now();
        Self { aligned_timestamp: SystemTime::now(), started, deadline: started + budget, cancelled: None }
    }

    /// The same, for a scheduled time.
    pub fn at(self, aligned_timestamp: SystemTime) -> Self {
        Self { aligned_timestamp, ..self }
    }

    /// The same, with a flag that someone else may raise.
    pub fn cancelled_by(self, cancelled: Arc<AtomicBool>) -> Self {
        Self { cancelled: Some(cancelled), ..self }
    }

    /// Nobody waits for the result any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
            || Instant::now() >= self.deadline
    }
}

/// Why a collection brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The host does not have what this input measures. Not an error: a state, tried again now and then.
    #[error("{0}")]
    Unsupported(Unsupported),
    /// A file could not be read or understood.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl InputError {
    /// Whatever it is, in its own words.
    pub fn other(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }

    /// A missing file means that the host lacks the feature; any other failure is an error.
    pub fn missing_is_unsupported(error: SourceError) -> Self {
        if error.is_missing() {
            Self::Unsupported(Unsupported(format!("the kernel does not have it: {error}")))
        } else {
            Self::Source(error)
        }
    }
}

/// What an input gets to build itself from.
pub struct OpenContext<'a> {
    /// Where the host's trees are.
    pub roots: &'a Roots,
    /// The settings of this input.
    pub options: Options<'a>,
    /// The door to the kernel's programs.
    pub bpf: &'a mut bpf::Loader,
}

/// The settings of an input: what the configuration gives, otherwise the defaults of its definition.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    defs: &'static [OptionDef],
    given: &'a [(String, OptionSetting)],
}

/// A setting as the configuration gives it, already checked against its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionSetting {
    /// `true` or `false`.
    Bool(bool),
    /// A regular expression.
    Regex(String),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// A length of time.
    Duration(Duration),
    /// A whole number.
    Integer(u32),
}

impl<'a> Options<'a> {
    /// The settings of one input.
    pub fn new(defs: &'static [OptionDef], given: &'a [(String, OptionSetting)]) -> Self {
        Self { defs, given }
    }

    fn given(&self, key: &str) -> Option<&'a OptionSetting> {
        self.given.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn default(&self, key: &str) -> Option<OptionValue> {
        self.defs.iter().find(|def| def.key == key).map(|def| def.default)
    }

    /// A switch.
    pub fn bool(&self, key: &str) -> bool {
        match (self.given(key), self.default(key)) {
            (Some(OptionSetting::Bool(value)), _) => *value,
            (None, Some(OptionValue::Bool(value))) => value,
            _ => false,
        }
    }

    /// A whole number.
    pub fn integer(&self, key: &str) -> u32 {
        match (self.given(key), self.default(key)) {
            (Some(OptionSetting::Integer(value)), _) => *value,
            (None, Some(OptionValue::Integer { default, .. })) => default,
            _ => 0,
        }
    }

    /// A text; an empty one is none.
    pub fn text(&self, key: &str) -> &'a str {
        match (self.given(key), self.default(key)) {
            (Some(OptionSetting::Text(text)), _) => text,
            (None, Some(OptionValue::Text(text))) => text,
            _ => "",
        }
    }

    /// Texts.
    pub fn texts(&self, key: &str) -> Vec<&'a str> {
        match (self.given(key), self.default(key)) {
            (Some(OptionSetting::Texts(texts)), _) => texts.iter().map(String::as_str).collect(),
            (None, Some(OptionValue::Texts(texts))) => texts.to_vec(),
            _ => Vec::new(),
        }
    }

    /// A length of time.
    pub fn duration(&self, key: &str) -> Duration {
        match (self.given(key), self.default(key)) {
            (Some(OptionSetting::Duration(value)), _) => *value,
            (None, Some(OptionValue::Duration(value))) => value,
            _ => Duration::ZERO,
        }
    }

    /// A pattern; an empty one matches nothing.
    pub fn pattern(&self, key: &str) -> Pattern {
        match (self.given(key), self.default(key)) {
            (Some(OptionSetting::Regex(text)), _) => Pattern::new(text),
            (_, Some(OptionValue::Regex(text))) => Pattern::new(text),
            _ => Pattern::new(""),
        }
    }
}

/// A compiled pattern; an empty one matches nothing.
#[derive(Clone, Debug, Default)]
pub struct Pattern(Option<regex_lite::Regex>);

impl Pattern {
    /// Compiles it. One that does not compile matches nothing; the configuration has refused it before.
    pub fn new(text: &str) -> Self {
        Self(if text.is_empty() { None } else { regex_lite::Regex::new(text).ok() })
    }

    /// Whether it matches anywhere in the text.
    pub fn matches(&self, text: &[u8]) -> bool {
        match (&self.0, std::str::from_utf8(text)) {
            (Some(regex), Ok(text)) => regex.is_match(text),
            (Some(regex), Err(_)) => regex.is_match(&String::from_utf8_lossy(text)),
            (None, _) => false,
        }
    }

    /// The pattern itself; empty when there is none.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", regex_lite::Regex::as_str)
    }

    /// Whether there is a pattern at all.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }
}
