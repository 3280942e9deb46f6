//! Definitions: everything pitot knows about its inputs, as plain data.
//!
//! An input's file states its metrics once, as a `static` of `input::InputDef`. From it derive HELP and TYPE
//! lines, configuration keys and their validation, the generated documents, `pitot inputs` and the worst-case
//! number of series.

mod interned;

use std::{fmt, ops::Range, time::Duration};

use pitot_common::histogram::Scale;

/// Where an input's numbers come from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Files, relative to `procfs`, `sysfs` or `rootfs` (named `proc:`, `sys:` and `root:`).
    Files(&'static [&'static str]),
    /// System calls.
    Calls(&'static [&'static str]),
    /// A kernel program of pitot's own.
    Bpf(&'static BpfDef),
    /// What is tried out on a target, by a helper in its namespaces or in the host's.
    Check(&'static CheckDef),
    /// The program itself.
    Own,
}

impl Source {
    /// How soon it may be done without.
    pub const fn rank(&self) -> Rank {
        match self {
            Self::Files(_) | Self::Calls(_) | Self::Check(_) => Rank::Basic,
            Self::Bpf(_) => Rank::Optional,
            Self::Own => Rank::Own,
        }
    }
}

/// How soon an input may be done without when the agent is over its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Says what the agent does and costs: never.
    Own,
    /// What every dashboard of a host shows: shed only when nothing optional is left.
    Basic,
    /// More than that: shed first.
    Optional,
}

/// What a check needs of its target.
#[derive(Debug)]
pub struct CheckDef {
    /// Namespaces that are entered. Files of the target are read without entering any.
    pub namespaces: &'static [Namespace],
    /// Whether it has the user and the groups of the target's first process; otherwise it is nobody.
    pub as_target: bool,
    /// Whether it may start a program of the target, for which it also enters the target's root.
    pub executes: bool,
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Network.
    Net,
    /// Numbers of processes.
    Pid,
    /// Mounts.
    Mount,
    /// Inter-process communication.
    Ipc,
    /// Host name.
    Uts,
}

impl Namespace {
    /// Its name below `/proc/PID/ns`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Mount => "mnt",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }
}

/// A kernel object: its programs and what they need of the kernel.
#[derive(Debug)]
pub struct BpfDef {
    /// Name of the object file, without extension.
    pub object: &'static str,
    /// Every place it attaches to.
    pub hooks: &'static [Hook],
    /// Kernel fields that its programs read.
    pub fields: &'static [Field],
    /// Its maps, and what decides their size.
    pub maps: &'static [MapDef],
    /// Maps that it declares like its own, and that exist once for all objects that name them.
    pub shared: &'static [MapDef],
    /// What of its maps is about things under way. Their ends are missed while other programs take over, so
    /// that begins with nothing; all else is inherited.
    pub under_way: &'static [UnderWay],
    /// The oldest kernel that has its instructions, helpers and fields, if hooks and maps do not say it.
    pub oldest: Option<KernelVersion>,
}

/// A place in the kernel, and the programs that may serve it, best first.
#[derive(Debug)]
pub struct Hook {
    /// The kernel's name for it; where there are several of that name, `:` and which one is meant.
    pub name: &'static str,
    /// The programs, in the order of preference.
    pub variants: &'static [Variant],
    /// The setting of the object that must be on for this hook to be attached; empty for always.
    pub when: &'static str,
}

impl Hook {
    /// The kernel's name for it.
    pub fn place(&self) -> &'static str {
        self.name.split_once(':').map_or(self.name, |(place, _)| place)
    }

    /// Which one of that name is meant, if that has to be said.
    pub fn which(&self) -> Option<&'static str> {
        self.name.split_once(':').map(|(_, which)| which)
    }
}

/// One way to attach a program, or to do without.
#[derive(Debug)]
pub struct Variant {
    /// Program in the object.
    pub program: &'static str,
    /// Kind of attachment.
    pub kind: ProgramKind,
    /// What is lost with this variant, if anything.
    pub loses: &'static str,
}

/// Kind of attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// Tracepoint with BTF-typed arguments.
    TpBtf,
    /// Raw tracepoint: arguments are plain numbers.
    RawTp,
    /// Iterator: runs when it is read, once for each object of a kind. The hook's name is the kind.
    Iter,
    /// Entry of a kernel function, with BTF-typed arguments. Only where no tracepoint tells the same: a
    /// function may change from release to release, and many kernels let nobody attach to it.
    Fentry,
    /// Nothing is attached: the last variant of a hook that its object can do without.
    Nothing,
}

impl ProgramKind {
    /// The name that `bpftool` and the kernel's documents use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::Iter => "iter",
            Self::Fentry => "fentry",
            Self::Nothing => "nothing",
        }
    }

    /// The oldest kernel that has it.
    pub const fn since(self) -> KernelVersion {
        match self {
            Self::TpBtf | Self::Fentry => KernelVersion(5, 5),
            Self::RawTp => KernelVersion(4, 17),
            Self::Iter => KernelVersion(5, 8),
            Self::Nothing => KernelVersion(0, 0),
        }
    }
}

/// A release of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u16, pub u16);

impl KernelVersion {
    /// Arrays that user space can map (`BPF_F_MMAPABLE`), which is how counters are read.
    pub const MAPPED_ARRAYS: Self = Self(5, 5);
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A kernel field that a program reads: resolved from the running kernel's BTF before the load.
#[derive(Debug)]
pub struct Field {
    /// Setting of the object that receives the offset; empty when only its presence tells something.
    pub setting: &'static str,
    /// Ways to spell it, newest kernel first: a path such as `task_struct.se.cfs_rq`, or `sched_switch(4)`
    /// for the presence of a tracepoint's fourth argument.
    pub paths: &'static [&'static str],
    /// What a program loses without it, "nothing.." when another field says the same; empty when it cannot
    /// run at all.
    pub loses: &'static str,
}

/// A map of an object.
#[derive(Debug)]
pub struct MapDef {
    /// Name in the object.
    pub name: &'static str,
    /// How many entries it gets.
    pub entries: Entries,
}

/// A part of an object's maps that is about things under way.
#[derive(Debug)]
pub enum UnderWay {
    /// A whole map.
    Map(&'static str),
    /// Words of each bank of a map that the agent maps.
    Words {
        /// The map.
        map: &'static str,
        /// Words of one bank.
        bank: usize,
        /// Which of them.
        words: &'static [Range<usize>],
    },
}

/// What decides the number of a map's entries.
#[derive(Clone, Copy, Debug)]
pub enum Entries {
    /// One per possible CPU.
    PerCpu,
    /// So many per possible CPU.
    PerCpuTimes(u32),
    /// A fixed number.
    Fixed(u32),
    /// A fixed number while a setting is on, otherwise one.
    When(&'static str, u32),
}

/// A metric: a family of series.
#[derive(Debug)]
pub struct Metric {
    /// Raw name, without prefix. One `*` stands for a part that the source names, as in `memory_*_bytes`.
    pub name: &'static str,
    /// One sentence that says what is counted and by what.
    pub help: &'static str,
    /// Type.
    pub kind: Kind,
    /// Base unit, for OpenMetrics and the documents.
    pub unit: Unit,
    /// Labels, in the order in which samples give their values.
    pub labels: &'static [Label],
    /// Since when it counts.
    pub since: Since,
}

impl Metric {
    const fn new(name: &'static str, help: &'static str, kind: Kind, labels: &'static [Label]) -> Self {
        Self { name, help, kind, unit: Unit::None, labels, since: Since::Boot }
    }

    /// A counter that starts at boot.
    pub const fn counter(name: &'static str, help: &'static str, labels: &'static [Label]) -> Self {
        Self::new(name, help, Kind::Counter, labels)
    }

    /// A value that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str, labels: &'static [Label]) -> Self {
        Self { since: Since::Now, ..Self::new(name, help, Kind::Gauge, labels) }
    }

    /// A constant 1 whose labels are the information.
    pub const fn info(name: &'static str, help: &'static str, labels: &'static [Label]) -> Self {
        Self { since: Since::Now, ..Self::new(name, help, Kind::Info, labels) }
    }

    /// A number whose type the source does not tell.
    pub const fn untyped(name: &'static str, help: &'static str, labels: &'static [Label]) -> Self {
        Self::new(name, help, Kind::Untyped, labels)
    }

    /// A native histogram.
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        buckets: Buckets,
        labels: &'static [Label],
    ) -> Self {
        Self::new(name, help, Kind::Histogram(buckets), labels)
    }

    /// With a unit.
    pub const fn unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    /// With another start of counting.
    pub const fn since(self, since: Since) -> Self {
        Self { since, ..self }
    }
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only rises, until its source restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Constant 1; exposed as a gauge, as node_exporter does.
    Info,
    /// Exposed as `untyped` (text) or `unknown` (OpenMetrics).
    Untyped,
    /// Native histogram; text formats get the classic buckets of the range.
    Histogram(Buckets),
}

impl Kind {
    /// The word of the Prometheus text format.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info => "gauge",
            Self::Untyped => "untyped",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Bucket layout of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buckets {
    /// How raw values relate to the base unit.
    pub scale: Scale,
    /// Slots of the native histogram.
    pub slots: usize,
    /// Smallest classic bucket: `le = 2^first` base units.
    pub first: i32,
    /// Largest classic bucket before `+Inf`.
    pub last: i32,
}

/// Base unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A count of things.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share between 0 and 1.
    Ratio,
}

impl Unit {
    /// The unit that a metric name ends in.
    pub fn of_name(name: &str) -> Self {
        let ends = |unit: &Self| name.strip_suffix(unit.suffix()).is_some_and(|stem| stem.ends_with('_'));
        [Self::Seconds, Self::Bytes, Self::Ratio].into_iter().find(ends).unwrap_or(Self::None)
    }

    /// The suffix of a metric name, and the word of a UNIT line.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

/// Since when a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The kernel counts it from boot.
    Boot,
    /// A kernel program counts it from when it was first attached; a restart of the agent does not reset it.
    Attach,
    /// The agent counts it from its own start.
    Start,
    /// It is the state of the moment.
    Now,
}

impl Since {
    /// For the documents.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Attach => "attach",
            Self::Start => "agent start",
            Self::Now => "now",
        }
    }
}

/// A label and how many values it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

/// The values of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// A closed list.
    Fixed(&'static [&'static str]),
    /// One per CPU.
    Cpu,
    /// What the host has, at most so many beside one combination of the other labels: 1 when it follows from
    /// them, as the model of a device does.
    Bounded(u32),
}

impl Label {
    /// A label with a closed list of values.
    pub const fn fixed(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values: Values::Fixed(values) }
    }

    /// The `cpu` label.
    pub const fn cpu() -> Self {
        Self { name: "cpu", values: Values::Cpu }
    }

    /// A label whose values come from the host.
    pub const fn bounded(name: &'static str, most: u32) -> Self {
        Self { name, values: Values::Bounded(most) }
    }
}

/// A setting of one input.
#[derive(Debug)]
pub struct OptionDef {
    /// Key in the input's table.
    pub key: &'static str,
    /// Type and default.
    pub default: OptionValue,
    /// One sentence.
    pub help: &'static str,
}

/// Type and default of a setting.
#[derive(Clone, Copy, Debug)]
pub enum OptionValue {
    /// `true` or `false`.
    Bool(bool),
    /// A regular expression.
    Regex(&'static str),
    /// A text; an empty one is none.
    Text(&'static str),
    /// Texts.
    Texts(&'static [&'static str]),
    /// A length of time, at least a millisecond.
    Duration(Duration),
    /// A whole number.
    Integer {
        /// Unless another is given.
        default: u32,
        /// The least that may be given.
        min: u32,
        /// The most.
        max: u32,
    },
}

/// What is missing on this host, in words that name it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);
