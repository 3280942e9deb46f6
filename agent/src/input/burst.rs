//! What goes up and down within milliseconds, read at a price that a hundred readings a second can pay.
//!
//! The time of CPUs comes from the kernel programs of `sched`, without a system call and to the nanosecond:
//! `/proc/stat` counts in hundredths of a second. For the rest there is one short file for each device, so only
//! those with hardware behind them are read.

mod clock;
mod cpu;
mod devices;

use std::time::{Duration, Instant};

use self::{
    cpu::Cpus,
    devices::{Devices, Disk, Interface},
};
use super::{CollectContext, Input, InputDef, InputError, Options};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, OptionDef, OptionValue, Source, Unit, Unsupported},
    source::{Content, OptionalFile, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "burst",
    about: "CPU, network, disks, run queues and memory pressure, cheap enough to be read a hundred times a second.",
    prefix: "pitot_burst_",
    source: Source::Files(&[
        "sys:class/net/*/statistics/[rt]x_bytes",
        "sys:block/*/stat",
        "proc:pressure/memory",
    ]),
    cost: "two short files for each network device, one for each disk and one more; the rest is mapped memory of `sched`",
    metrics: &[
        &cpu::BUSY_SECONDS,
        &cpu::SHARED_SECONDS,
        &cpu::WAIT_SECONDS,
        &devices::NETWORK_BYTES,
        &devices::DISK_BUSY_SECONDS,
        &devices::DISK_BYTES,
        &MEMORY_STALL_SECONDS,
    ],
    options: &[
        OptionDef {
            key: "network_devices",
            default: OptionValue::Regex(""),
            help: "The network devices that are read; empty for all that have hardware.",
        },
        OptionDef {
            key: "disks",
            default: OptionValue::Regex(""),
            help: "The disks that are read; empty for all that have hardware.",
        },
    ],
    open: |cx| Ok(Box::new(Burst::new(cx.roots, cx.options, Cpus::of(cx.bpf)))),
};

static MEMORY_STALL_SECONDS: Metric = Metric::counter(
    "memory_stall_seconds_total",
    "Time in which some or all tasks that were not idle waited for memory.",
    &[Label::fixed("tasks", &["some", "full"])],
)
.unit(Unit::Seconds);

/// How often it is looked which devices there are.
const SURVEY: Duration = Duration::from_secs(10);

struct Burst {
    cpus: Result<Cpus, Unsupported>,
    interfaces: Devices<Interface>,
    disks: Devices<Disk>,
    surveyed: Option<Instant>,
    pressure: OptionalFile,
}

impl Burst {
    fn new(roots: &Roots, options: Options<'_>, cpus: Result<Cpus, Unsupported>) -> Self {
        Self {
            cpus,
            interfaces: Devices::new(roots, options.pattern("network_devices")),
            disks: Devices::new(roots, options.pattern("disks")),
            surveyed: None,
            pressure: OptionalFile::new(roots.proc("pressure/memory")),
        }
    }
}

impl Input for Burst {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        if self.surveyed.is_none_or(|at| cx.started.saturating_duration_since(at) >= SURVEY) {
            self.interfaces.survey();
            self.disks.survey();
            self.surveyed = Some(cx.started);
        }
        if let Ok(cpus) = &mut self.cpus {
            cpus.collect(cx.started, acc)?;
        }
        self.interfaces.collect(acc)?;
        self.disks.collect(acc)?;
        if let Some(content) = self.pressure.read()? {
            for tasks in ["some", "full"] {
                let micros = stalled(content, tasks.as_bytes());
                let micros =
                    micros.ok_or_else(|| content.malformed("a line with a total", content.bytes()))?;
                acc.put(&MEMORY_STALL_SECONDS, &[tasks.as_bytes()], micros as f64 / 1e6);
            }
        }
        Ok(())
    }

    fn degraded(&self) -> Option<String> {
        self.cpus.as_ref().err().map(|why| format!("no CPU and no run queue: {why}"))
    }
}

/// The sum at the end of the line that begins with a word.
fn stalled(content: Content<'_>, word: &[u8]) -> Option<u64> {
    let line = content.lines().find(|line| line.starts_with(word))?;
    parse::fields(line).last()?.strip_prefix(b"total=").and_then(parse::number)
}

#[cfg(test)]
mod tests;
