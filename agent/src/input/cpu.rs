//! Time of each CPU by mode, and beside it what is known about the CPUs.

mod info;
mod topology;

use self::topology::Topology;
use super::{CollectContext, Input, InputDef, InputError, Options, Pattern};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, OptionDef, OptionValue, Source, Unit},
    source::{File, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "cpu",
    about: "Time that each CPU spent in each mode, how often heat slowed it down, and which CPUs there are.",
    prefix: "node_",
    source: Source::Files(&[
        "proc:stat",
        "proc:cpuinfo",
        "sys:devices/system/cpu/isolated",
        "sys:devices/system/cpu/cpu*/online",
        "sys:devices/system/cpu/cpu*/topology/*_id",
        "sys:devices/system/cpu/cpu*/thermal_throttle/*_throttle_count",
    ]),
    cost: "one file of a line per CPU; where the kernel counts throttling, one number per core and package; \
           the other files only when a CPU comes or goes, or with `info`",
    metrics: &[
        &SECONDS,
        &GUEST_SECONDS,
        &CORE_THROTTLES,
        &PACKAGE_THROTTLES,
        &ISOLATED,
        &ONLINE,
        &INFO,
        &FREQUENCY,
        &FLAG_INFO,
        &BUG_INFO,
    ],
    options: &[
        OptionDef {
            key: "info",
            default: OptionValue::Bool(false),
            help: "Also read /proc/cpuinfo, for which some kernels interrupt every CPU.",
        },
        OptionDef {
            key: "info_flags",
            default: OptionValue::Regex(""),
            help: "With `info`, the CPU flags that are published.",
        },
        OptionDef {
            key: "info_bugs",
            default: OptionValue::Regex(""),
            help: "With `info`, the CPU bugs that are published.",
        },
    ],
    open: |cx| Ok(Box::new(Cpu::new(cx.roots, cx.options))),
};

static SECONDS: Metric = Metric::counter(
    "cpu_seconds_total",
    "Time that a CPU spent in a mode.",
    &[Label::cpu(), Label::fixed("mode", MODES)],
)
.unit(Unit::Seconds);
static GUEST_SECONDS: Metric = Metric::counter(
    "cpu_guest_seconds_total",
    "Time that a CPU ran virtual machines, which is part of its time in the mode of the same name.",
    &[Label::cpu(), Label::fixed("mode", GUEST_MODES)],
)
.unit(Unit::Seconds);
static CORE_THROTTLES: Metric = Metric::counter(
    "cpu_core_throttles_total",
    "How often a core was slowed down by heat.",
    &[Label::bounded("package", 1), Label::bounded("core", 1024)],
);
static PACKAGE_THROTTLES: Metric = Metric::counter(
    "cpu_package_throttles_total",
    "How often a package was slowed down by heat.",
    &[Label::bounded("package", 16)],
);
static ISOLATED: Metric =
    Metric::gauge("cpu_isolated", "A CPU that the scheduler leaves alone, always 1.", &[Label::cpu()]);
static ONLINE: Metric = Metric::gauge(
    "cpu_online",
    "Whether a CPU is in use, where the kernel can take CPUs out.",
    &[Label::cpu()],
);
static INFO: Metric = Metric::info(
    "cpu_info",
    "What /proc/cpuinfo says about a CPU.",
    &[
        Label::bounded("package", 1),
        Label::bounded("core", 1),
        Label::cpu(),
        Label::bounded("vendor", 1),
        Label::bounded("family", 1),
        Label::bounded("model", 1),
        Label::bounded("model_name", 1),
        Label::bounded("microcode", 1),
        Label::bounded("stepping", 1),
        Label::bounded("cachesize", 1),
    ],
);
static FREQUENCY: Metric = Metric::gauge(
    "cpu_frequency_hertz",
    "Frequency of a CPU according to /proc/cpuinfo.",
    &[Label::bounded("package", 1), Label::bounded("core", 1), Label::cpu()],
);
static FLAG_INFO: Metric = Metric::info(
    "cpu_flag_info",
    "A flag of the first CPU in /proc/cpuinfo.",
    &[Label::bounded("flag", 256)],
);
static BUG_INFO: Metric =
    Metric::info("cpu_bug_info", "A bug of the first CPU in /proc/cpuinfo.", &[Label::bounded("bug", 64)]);

/// In the order of the file, where those of the guests follow.
const MODES: &[&str] = &["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: &[&str] = &["user", "nice"];
/// Columns of the file: both lists.
const COLUMNS: usize = 10;
const IDLE: usize = 3;
/// Columns that every kernel has.
const LEAST: usize = 4;
/// The unit of the file, in the kernel's interface on every architecture that we know.
const TICKS_PER_SECOND: u64 = 100;
/// An idle time that is so much smaller than before belongs to a CPU that was taken out and put back.
const JUMP_BACK: u64 = 3 * TICKS_PER_SECOND;

/// What is known of the time of a CPU.
#[derive(Debug)]
struct Clock {
    cpu: u32,
    ticks: [u64; COLUMNS],
    /// The collection that last saw it.
    cycle: u64,
}

impl Clock {
    /// Takes over what the kernel says. Its idle and I/O wait times are sampled and may step back a little,
    /// which a counter must not.
    fn advance(&mut self, now: &[u64; COLUMNS]) {
        if self.ticks[IDLE].saturating_sub(now[IDLE]) >= JUMP_BACK {
            self.ticks = [0; COLUMNS];
        }
        for (kept, now) in self.ticks.iter_mut().zip(now) {
            *kept = (*kept).max(*now);
        }
    }
}

/// Reads `/proc/stat` and what `/sys/devices/system/cpu` shows.
#[derive(Debug)]
pub struct Cpu {
    roots: Roots,
    stat: File,
    /// By the number of the CPU.
    clocks: Vec<Clock>,
    cycle: u64,
    topology: Topology,
    /// CPUs came or went since the topology was read.
    stale: bool,
    info: Option<File>,
    flags: Pattern,
    bugs: Pattern,
}

impl Cpu {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots, options: Options<'_>) -> Self {
        Self {
            roots: roots.clone(),
            stat: roots.proc("stat"),
            clocks: Vec::new(),
            cycle: 0,
            topology: Topology::default(),
            stale: true,
            info: options.bool("info").then(|| roots.proc("cpuinfo")),
            flags: options.pattern("info_flags"),
            bugs: options.pattern("info_bugs"),
        }
    }

    fn collect_times(&mut self, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let content = self.stat.read()?;
        self.cycle += 1;
        let mut seen = 0;
        // The CPUs come first; the long lines after them are not looked at.
        for line in content.lines().take_while(|line| line.starts_with(b"cpu")) {
            let mut fields = parse::fields(line);
            let name = fields.next().and_then(|name| name.strip_prefix(b"cpu")).unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            let malformed = || content.malformed("a CPU and its times", line);
            let cpu = parse::number(name).and_then(|cpu| u32::try_from(cpu).ok()).ok_or_else(malformed)?;
            let mut ticks = [0; COLUMNS];
            let mut columns = 0;
            for (slot, field) in ticks.iter_mut().zip(fields) {
                *slot = parse::number(field).ok_or_else(malformed)?;
                columns += 1;
            }
            if columns < LEAST {
                return Err(malformed().into());
            }

            let index = match self.clocks.binary_search_by_key(&cpu, |clock| clock.cpu) {
                Ok(index) => index,
                Err(index) => {
                    self.stale = true;
                    self.clocks.insert(index, Clock { cpu, ticks: [0; COLUMNS], cycle: 0 });
                    index
                }
            };
            let clock = &mut self.clocks[index];
            if clock.cycle == self.cycle {
                return Err(malformed().into());
            }
            clock.cycle = self.cycle;
            clock.advance(&ticks);
            seen += 1;

            let modes = MODES.iter().map(|mode| (&SECONDS, mode));
            let modes = modes.chain(GUEST_MODES.iter().map(|mode| (&GUEST_SECONDS, mode)));
            for ((metric, mode), ticks) in modes.zip(clock.ticks).take(columns) {
                acc.put(metric, &[name, mode.as_bytes()], ticks as f64 / TICKS_PER_SECOND as f64);
            }
        }
        if seen == 0 {
            return Err(content.malformed("a line per CPU", content.bytes()).into());
        }
        if seen < self.clocks.len() {
            self.stale = true;
            self.clocks.retain(|clock| clock.cycle == self.cycle);
        }
        Ok(())
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new(&Roots::default(), Options::new(DEF.options, &[]))
    }
}

impl Input for Cpu {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.collect_times(acc)?;
        if self.stale {
            self.topology = Topology::read(&self.roots)?;
            self.stale = false;
        }
        self.topology.collect(acc);
        match &mut self.info {
            Some(file) => Ok(info::collect(file.read_to_end()?, &self.flags, &self.bugs, acc)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::{Tree, collect, few, soup, survives};

    fn input(tree: &Tree) -> Cpu {
        Cpu::new(&tree.roots(), Options::new(DEF.options, &[]))
    }

    #[test]
    fn times_are_in_seconds() {
        let tree = Tree::new(&[("proc/stat", "cpu  9 9 9 9\ncpu3 1 2 3 4 5 6 7 8 9 10\nintr 7\n")]);
        let acc = collect(&mut input(&tree)).unwrap();
        assert_eq!(acc.number("cpu_seconds_total", &["3", "user"]), Some(0.01));
        assert_eq!(acc.number("cpu_seconds_total", &["3", "steal"]), Some(0.08));
        assert_eq!(acc.number("cpu_guest_seconds_total", &["3", "user"]), Some(0.09));
        assert_eq!(acc.number("cpu_guest_seconds_total", &["3", "nice"]), Some(0.1));
        assert_eq!(acc.samples().len(), 10);
    }

    #[test]
    fn a_small_step_back_is_held_and_a_large_one_is_a_new_start() {
        let tree = Tree::new(&[("proc/stat", "cpu0 500 0 0 1000\n")]);
        let mut input = input(&tree);
        collect(&mut input).unwrap();
        for (idle, user, expected) in
            [(701, 400, [10.0, 5.0]), (700, 400, [7.0, 4.0]), (800, 300, [8.0, 4.0])]
        {
            tree.write("proc/stat", format!("cpu0 {user} 0 0 {idle}\n").as_bytes());
            let acc = collect(&mut input).unwrap();
            for (mode, expected) in ["idle", "user"].into_iter().zip(expected) {
                assert_eq!(acc.number("cpu_seconds_total", &["0", mode]), Some(expected), "{idle} {mode}");
            }
        }
    }

    #[test]
    fn a_cpu_that_went_is_forgotten_and_the_topology_read_again() {
        let tree = Tree::new(&[
            ("proc/stat", "cpu0 1 1 1 1\ncpu1 1 1 1 1\n"),
            ("sys/devices/system/cpu/cpu0/online", "1\n"),
            ("sys/devices/system/cpu/cpu1/online", "1\n"),
        ]);
        let mut input = input(&tree);
        assert_eq!(collect(&mut input).unwrap().number("cpu_online", &["1"]), Some(1.0));
        tree.write("proc/stat", b"cpu0 1 1 1 1\n");
        tree.write("sys/devices/system/cpu/cpu1/online", b"0\n");
        let acc = collect(&mut input).unwrap();
        assert_eq!(acc.number("cpu_seconds_total", &["1", "user"]), None);
        assert_eq!(acc.number("cpu_online", &["1"]), Some(0.0));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in ["", "intr 1\n", "cpu 1 2 3 4\n", "cpu0 1 2 3\n", "cpux 1 2 3 4\n", "cpu0 1 2 3 4 x\n"] {
            assert!(collect(&mut input(&Tree::new(&[("proc/stat", bad)]))).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(
            stat in soup(&["cpu", "\ncpu0", "\ncpu1 1 2 3 4"]),
            isolated in soup(&["1-3", ",", "-", "0-65535"]),
        ) {
            let tree = Tree::new(&[]);
            tree.write("proc/stat", &[b"cpu0 1 2 3 4\n".as_slice(), &stat].concat());
            tree.write("sys/devices/system/cpu/isolated", &isolated);
            survives(&mut input(&tree));
        }
    }
}
