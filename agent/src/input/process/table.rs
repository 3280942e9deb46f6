//! The processes of the last pass, put together from their threads.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use pitot_common::process::{State, Task};

/// A process and not a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub(super) pid: u32,
    start: u64,
}

/// The name of a process as the kernel keeps it, filled up with zeros.
pub(super) type Name = [u8; 16];

/// A process and what it used.
pub(super) struct Process {
    pub(super) name: Name,
    pub(super) cpu: Use,
    pub(super) bytes: Use,
    pub(super) memory: Use,
    pass: u64,
}

/// One thing that is used.
#[derive(Default)]
pub(super) struct Use {
    now: u64,
    highest: u64,
    /// What was used since the pass before.
    pub(super) growth: u64,
    /// By what processes are ranked: it moves half of the way at each pass.
    pub(super) rank: u64,
}

impl Use {
    /// Ends a pass of something that only grows. A thread that ended meanwhile may be missing this time.
    fn counted(&mut self) {
        self.growth = self.now.saturating_sub(self.highest);
        self.highest = self.highest.max(self.now);
        self.rank = self.rank / 2 + self.growth / 2;
    }

    /// Ends a pass of a level.
    fn level(&mut self, was_known: bool) {
        self.growth = self.now;
        self.rank = if was_known { self.rank / 2 + self.now / 2 } else { self.now };
    }

    /// The level at the last pass.
    pub(super) fn now(&self) -> u64 {
        self.now
    }
}

/// Everything that one pass tells.
#[derive(Default)]
pub(super) struct Table {
    processes: HashMap<Id, Process, RandomState>,
    pass: u64,
    pub(super) processes_in: [u64; State::COUNT],
    pub(super) threads_in: [u64; State::COUNT],
    /// What the tasks that are there have used since they began.
    pub(super) cpu: u64,
    pub(super) bytes: u64,
    /// Resident memory of all processes.
    pub(super) memory: u64,
}

impl Table {
    /// Takes all records of a pass.
    pub(super) fn update(&mut self, tasks: impl Iterator<Item = Task>, page: u64) {
        self.pass += 1;
        (self.cpu, self.bytes, self.memory) = (0, 0, 0);
        self.processes_in = Default::default();
        self.threads_in = Default::default();
        for task in tasks {
            self.add(&task, page);
        }
        let pass = self.pass;
        self.processes.retain(|_, process| process.pass == pass);
        // Room for as many again: processes that come and go take none.
        self.processes.reserve(self.processes.len());
        for process in self.processes.values_mut() {
            let is_first = process.memory.rank == 0;
            process.cpu.counted();
            process.bytes.counted();
            process.memory.level(!is_first);
            // What it had used before the first pass is nobody's.
            if pass == 1 {
                (process.cpu.growth, process.cpu.rank) = (0, 0);
                (process.bytes.growth, process.bytes.rank) = (0, 0);
            }
            self.memory += process.memory.now;
        }
    }

    fn add(&mut self, task: &Task, page: u64) {
        let state = State::of(task.state, task.exit_state).index();
        self.threads_in[state] += 1;
        if task.thread == task.process {
            self.processes_in[state] += 1;
        }
        self.cpu += task.own.cpu;
        self.bytes += task.own.bytes;
        let id = Id { pid: task.process, start: task.start };
        let process = self.processes.entry(id).or_insert_with(Process::new);
        if process.pass != self.pass {
            process.pass = self.pass;
            // Taken with the first thread alone: one that ends before its turn is missing once and not
            // counted twice.
            process.cpu.now = task.gone.cpu;
            process.bytes.now = task.gone.bytes;
            process.memory.now = 0;
            process.name = name(task);
        }
        process.cpu.now += task.own.cpu;
        process.bytes.now += task.own.bytes;
        process.memory.now = process.memory.now.max(task.pages * page);
    }

    pub(super) fn get(&self, id: Id) -> Option<&Process> {
        self.processes.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Process)> {
        self.processes.iter().map(|(id, process)| (*id, process))
    }
}

impl Process {
    fn new() -> Self {
        Self { name: [0; 16], cpu: Use::default(), bytes: Use::default(), memory: Use::default(), pass: 0 }
    }
}

fn name(task: &Task) -> Name {
    let [first, last] = task.name.map(u64::to_ne_bytes);
    std::array::from_fn(|at| if at < 8 { first[at] } else { last[at - 8] })
}
