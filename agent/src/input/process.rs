//! Processes: how many start and end, in which states they are, and which of them use the most.
//!
//! Starts, execs and exits are counted in the kernel as they happen. The rest comes from one pass over all
//! tasks per cycle, which the kernel makes without a system call per task. It sees what the process namespace of
//! the agent has, as /proc does, and counts of the dead are of the whole host: so there is a pass only where the
//! two are the same.
//!
//! Beside /proc:
//!
//! * CPU time is what the scheduler charged, in nanoseconds; `/proc/PID/stat` has the same in clock ticks;
//! * resident memory is `VmRSS`. The kernel keeps a part of it by CPU, and adds that to the rest page by page or in
//!   batches, so it may be off by 32 pages per CPU (more with more than 16 CPUs, twice their number) and kind of
//!   page. Processes that share memory have it each;
//! * bytes are `read_bytes` and `write_bytes` of `/proc/PID/io`, without what children did.

mod kernel;
mod metrics;
mod record;
mod table;
mod top;
mod total;
mod usage;

use std::{any::Any, fs, time::Instant};

use nix::unistd::{SysconfVar, sysconf};
use pitot_common::process::{
    BANK_WORDS, EXECS, EXITS, Exit, GONE_BYTES, GONE_CPU, STARTS, State, THREAD_STARTS,
};

use self::{kernel::BPF, usage::Usage};
use super::{CollectContext, Input, InputDef, InputError, OpenContext, Unsupported};
use crate::{
    accumulator::Accumulator,
    bpf::{Opened, iter::Records, map::View},
    catalogue::{OptionDef, OptionValue, Source},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "process",
    about: "Starts and ends of processes, their states, and those that use the most, told by the kernel.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "a program per start, exec and end of a task; per collection a pass over all tasks, about a \
           microsecond each; 100 bytes per process",
    metrics: &[
        &metrics::STARTS_TOTAL,
        &metrics::THREAD_STARTS_TOTAL,
        &metrics::EXECS_TOTAL,
        &metrics::EXITS_TOTAL,
        &metrics::STATES,
        &metrics::THREAD_STATES,
        &metrics::THREADS,
        &metrics::CPU_SECONDS_TOTAL,
        &metrics::IO_BYTES_TOTAL,
        &metrics::RESIDENT_BYTES,
    ],
    options: &[OptionDef {
        key: "top",
        default: OptionValue::Integer { default: 10, min: 0, max: MOST },
        help: "Length of each list of the processes that use the most CPU time, storage and memory; 0 for none.",
    }],
    open: |cx| Ok(Box::new(Process::open(cx)?)),
};

/// The longest lists.
const MOST: u32 = 100;

struct Process {
    opened: Opened,
    banks: View,
    /// Unless there is no pass over tasks.
    tasks: Option<Records>,
    /// Why there is none, when the kernel has what it takes.
    without_tasks: Option<String>,
    usage: Usage,
    top: usize,
    page: u64,
}

impl Process {
    fn open(cx: &mut OpenContext<'_>) -> Result<Self, Unsupported> {
        let mut open = |tasks| cx.bpf.open(&BPF, |settings| kernel::decide(settings, tasks));
        let with_tasks = sees_all_processes().and_then(|()| open(true).map_err(|Unsupported(why)| why));
        let (mut opened, without_tasks) = match with_tasks {
            Ok(opened) => (opened, None),
            Err(why) => (open(false)?, Some(format!("no states and use of processes ({why})"))),
        };
        let tasks = opened.is_on("TASKS_ON").then(|| opened.records("task", record::LENGTH)).transpose()?;
        let top = usize::try_from(cx.options.integer("top")).unwrap_or(0);
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        Ok(Self {
            banks: opened.view("PROCESS", opened.cpus(), BANK_WORDS)?,
            opened,
            tasks,
            without_tasks,
            usage: Usage::new(top),
            top,
            page: page.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096),
        })
    }

    fn sum(&self, word: usize) -> u64 {
        self.banks.sum(BANK_WORDS, word)
    }

    fn collect_tasks(&mut self, now: Instant, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        // Before the pass: who ends meanwhile is missing this time, and never counted twice.
        let gone = [GONE_CPU, GONE_BYTES].map(|word| self.sum(word));
        let Some(tasks) = &mut self.tasks else { return Ok(()) };
        let records =
            tasks.read().map_err(|error| InputError::Other(format!("no pass over all tasks: {error}")))?;
        let table = &mut self.usage.table;
        table.update(record::tasks(records), self.page);
        for (state, (processes, threads)) in
            State::ALL.iter().zip(table.processes_in.iter().zip(&table.threads_in))
        {
            acc.put(&metrics::STATES, &[state.label().as_bytes()], *processes);
            acc.put(&metrics::THREAD_STATES, &[state.label().as_bytes()], *threads);
        }
        acc.put(&metrics::THREADS, &[], table.threads_in.iter().sum::<u64>());
        if self.top > 0 {
            let [cpu, bytes] = gone;
            self.usage.update(cpu, bytes, now);
            self.usage.deliver(self.opened.is_on("BYTES_ON"), acc);
        }
        Ok(())
    }
}

impl Input for Process {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn degraded(&self) -> Option<String> {
        let reasons: Vec<&str> =
            [&self.opened.degraded, &self.without_tasks].into_iter().flatten().map(String::as_str).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn update_from(&mut self, old: &mut dyn Any) {
        if let Some(old) = old.downcast_mut::<Self>() {
            self.usage.take_over(&mut old.usage, self.top);
        }
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        acc.put(&metrics::STARTS_TOTAL, &[], self.sum(STARTS));
        acc.put(&metrics::THREAD_STARTS_TOTAL, &[], self.sum(THREAD_STARTS));
        acc.put(&metrics::EXECS_TOTAL, &[], self.sum(EXECS));
        if self.opened.is_on("EXITS_ON") {
            for exit in Exit::ALL {
                acc.put(&metrics::EXITS_TOTAL, &[exit.label().as_bytes()], self.sum(EXITS + exit.index()));
            }
        }
        self.collect_tasks(cx.started, acc)
    }
}

/// Whether this process is in the first process namespace, whose number never changes.
fn sees_all_processes() -> Result<(), String> {
    const FIRST: &str = "pid:[4026531836]";
    match fs::read_link("/proc/self/ns/pid") {
        Ok(namespace) if namespace.as_os_str() == FIRST => Ok(()),
        Ok(_) => Err("this one has a process namespace of its own: run it with the host's".to_owned()),
        Err(error) => Err(format!("/proc/self/ns/pid: {error}")),
    }
}
