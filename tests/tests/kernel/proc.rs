//! The kernel's own numbers.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use pitot_common::irq::Vector;

/// `/proc/stat`: one of its counters.
pub(crate) fn stat(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

/// What the kernel says about a task's turns on a CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
    pub(crate) wait_ns: u64,
    pub(crate) waits: u64,
}

impl Turns {
    /// Those of the calling thread.
    pub(crate) fn mine() -> Self {
        Self::of(Path::new("/proc/thread-self")).unwrap()
    }

    fn of(task: &Path) -> Option<Self> {
        let status = fs::read_to_string(task.join("status")).ok()?;
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value?.trim().parse().ok()
        };
        let (wait_ns, waits) = waits(task)?;
        Some(Self {
            voluntary: field("voluntary_ctxt_switches")?,
            involuntary: field("nonvoluntary_ctxt_switches")?,
            wait_ns,
            waits,
        })
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            voluntary: self.voluntary - earlier.voluntary,
            involuntary: self.involuntary - earlier.involuntary,
            wait_ns: self.wait_ns - earlier.wait_ns,
            waits: self.waits - earlier.waits,
        }
    }
}

/// Nanoseconds that a task waited for a CPU, and how often it then got one.
fn waits(task: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let mut fields = text.split_whitespace().skip(1).map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

/// Whether the kernel keeps these figures.
pub(crate) fn keeps_waits() -> bool {
    waits(Path::new("/proc/thread-self")).is_some()
}

/// The waits of every task of the host, and the number of tasks ever made.
pub(crate) struct Tasks {
    pub(crate) made: u64,
    pub(crate) waits: HashMap<String, (u64, u64)>,
}

impl Tasks {
    pub(crate) fn all() -> Self {
        let mut all = HashMap::new();
        let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        for process in folders(Path::new("/proc")) {
            if process.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()) {
                for task in folders(&process.path().join("task")) {
                    if let Some(waits) = waits(&task.path()) {
                        all.insert(task.path().display().to_string(), waits);
                    }
                }
            }
        }
        Self { made: stat("processes"), waits: all }
    }

    /// How much the tasks that are in both grew.
    pub(crate) fn growth_since(&self, earlier: &Self) -> (u64, u64) {
        let both = self.waits.iter().filter_map(|(task, now)| Some((now, earlier.waits.get(task)?)));
        both.fold((0, 0), |sum, (now, before)| {
            (sum.0 + now.0.saturating_sub(before.0), sum.1 + now.1.saturating_sub(before.1))
        })
    }

    /// Whether no task came or went in between.
    pub(crate) fn same_as(&self, earlier: &Self) -> bool {
        self.made == earlier.made
            && self.waits.len() == earlier.waits.len()
            && self.waits.keys().all(|task| earlier.waits.contains_key(task))
    }
}

/// `/proc/<pid>/task/<tid>/sched` of the calling thread, where the kernel has it.
pub(crate) fn my_migrations() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/sched").ok()?;
    let line = text.lines().find(|line| line.starts_with("se.nr_migrations"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

/// A disk's line of `/proc/diskstats`: the numbers after its name.
pub(crate) fn disk(name: &str) -> Vec<u64> {
    let text = fs::read_to_string("/proc/diskstats").unwrap();
    let numbers = text.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(2);
        (fields.next()? == name).then(|| fields.map(|field| field.parse().unwrap()).collect())
    });
    numbers.unwrap()
}

/// Columns of `/proc/net/dev`.
pub(crate) mod columns {
    pub(crate) const RECEIVE: usize = 0;
    pub(crate) const TRANSMIT: usize = 8;
    /// From the first column of a direction.
    pub(crate) const BYTES: usize = 0;
    pub(crate) const PACKETS: usize = 1;
}

/// A network device's line of `/proc/net/dev`.
pub(crate) fn nic(name: &str) -> Vec<u64> {
    let text = fs::read_to_string("/proc/net/dev").unwrap();
    let numbers = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'));
    numbers.unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// A number of the line `Udp` of `/proc/net/snmp`.
pub(crate) fn udp(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
    pairs.find(|(known, _)| *known == name).unwrap().1.parse().unwrap()
}

/// The line `Tcp` of `net/snmp`, of every network namespace in which a process is.
pub(crate) struct Snmp(HashMap<PathBuf, HashMap<String, u64>>);

impl Snmp {
    pub(crate) fn everywhere() -> Self {
        let mut all = HashMap::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            if let Ok(namespace) = fs::read_link(process.path().join("ns/net"))
                && !all.contains_key(&namespace)
                && let Ok(text) = fs::read_to_string(process.path().join("net/snmp"))
            {
                all.insert(namespace, tcp_line(&text));
            }
        }
        Self(all)
    }

    /// A counter, over all of them.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.values().map(|counters| counters[name]).sum()
    }

    pub(crate) fn same_namespaces_as(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.keys().all(|namespace| other.0.contains_key(namespace))
    }
}

/// Names and numbers, each on a line of its own. One number, `MaxConn`, may be negative.
fn tcp_line(text: &str) -> HashMap<String, u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let pairs = names.split_whitespace().zip(numbers.split_whitespace());
    pairs.filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?))).collect()
}

/// `/proc/softirqs`: runs of each vector on all CPUs, in the order of [`Vector`].
pub(crate) fn softirqs() -> Vec<u64> {
    let text = fs::read_to_string("/proc/softirqs").unwrap();
    let row = |vector: &Vector| {
        let name = vector.label().to_uppercase();
        let counts = text.lines().find_map(|line| line.trim_start().strip_prefix(&name)?.strip_prefix(':'));
        counts.unwrap().split_whitespace().map(|count| count.parse::<u64>().unwrap()).sum()
    };
    Vector::ALL.iter().map(row).collect()
}

/// `/proc/interrupts`: interrupts of the lines of each name on all CPUs.
pub(crate) fn interrupts() -> HashMap<String, u64> {
    let text = fs::read_to_string("/proc/interrupts").unwrap();
    let mut lines = text.lines();
    let cpus = lines.next().unwrap().split_whitespace().count();
    let mut counts = HashMap::new();
    for line in lines {
        let Some((number, rest)) = line.split_once(':') else { continue };
        let Some((_, name)) = rest.rsplit_once("  ") else { continue };
        // What has no number is no line, and what has no handler has no name.
        if number.trim().parse::<u32>().is_ok() && !name.trim().is_empty() {
            let count = rest.split_whitespace().take(cpus).map(|count| count.parse::<u64>().unwrap());
            *counts.entry(name.to_owned()).or_insert(0) += count.sum::<u64>();
        }
    }
    counts
}

/// The time of all CPUs in ticks of a hundredth of a second, whatever they did.
pub(crate) fn cpu_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let all = text.lines().next().unwrap();
    // The last two are in the first two already.
    all.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// CPUs that are online, by the lines of `/proc/stat`.
pub(crate) fn online_cpus() -> usize {
    let text = fs::read_to_string("/proc/stat").unwrap();
    text.lines().skip(1).take_while(|line| line.starts_with("cpu")).count()
}

/// `/proc/vmstat`: the sum of some of its numbers.
pub(crate) fn vmstat(which: impl Fn(&str) -> bool) -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap();
    let numbers = text.lines().filter_map(|line| line.split_once(' ')).filter(|(name, _)| which(name));
    numbers.map(|(_, number)| number.parse::<u64>().unwrap()).sum()
}

/// Page faults of a task, without and with a wait for a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) minor: u64,
    pub(crate) major: u64,
}

/// Those of the calling thread.
pub(crate) fn my_faults() -> Faults {
    let text = fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The name, in parentheses, may hold anything; the state comes next.
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    Faults { minor: fields[7].parse().unwrap(), major: fields[9].parse().unwrap() }
}

/// The kernel's release: major and minor number.
pub(crate) fn release() -> (u32, u32) {
    let name = nix::sys::utsname::uname().unwrap();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
