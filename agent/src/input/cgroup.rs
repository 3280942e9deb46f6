//! Control groups: what each uses of memory, CPUs, tasks and disks, and how long it had to wait.
//!
//! The tree is walked once; after that the kernel tells of births and deaths. Figures come from one pass of an
//! iterator over each hierarchy where the kernel has that, otherwise from files.

mod figures;
mod files;
mod iterator;
mod known;
mod metrics;
mod parse;
#[cfg(test)]
mod tests;
mod tree;
mod turns;

use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit};
use pitot_common::cgroup::RECORDS;

use self::{
    figures::{Figures, Limits},
    files::Group,
    iterator::{BPF, Iterator},
    known::{Known, Rules, Trouble},
    metrics::{
        CPU_LIMIT, CPU_MODE, CPU_PERIODS, CPU_THROTTLED, CPU_THROTTLED_PERIODS, CPU_USAGE, IO_BYTES,
        IO_OPERATIONS, MEMORY_EVENTS, MEMORY_LIMIT, MEMORY_PEAK, MEMORY_USAGE, MOST, PIDS, PIDS_LIMIT,
        PRESSURE_STALLED, PRESSURE_WAITING, UNTRACKED,
    },
    tree::Tree,
};
use super::{CollectContext, Input, InputDef, InputError, Unsupported};
use crate::{
    accumulator::Accumulator,
    bpf::Opened,
    catalogue::{OptionDef, OptionValue, Source},
    source::{
        Roots,
        hierarchies::{self, Controller},
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "cgroup",
    about: "Memory, CPU time, throttling, tasks, pressure and I/O of every control group.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "one pass of an iterator over all control groups, a file of up to 128 groups right below the root, one or two \
           of up to 128 for disks, and 1 MiB of kernel memory; a system call to ask for births and deaths; with version 1 \
           a pass for each hierarchy and one file per group, and before Linux 6.1 four or five \
           files per group, whose descriptors, at most 5120, take 5 KiB of kernel memory each",
    metrics: &[
        &MEMORY_USAGE,
        &MEMORY_LIMIT,
        &MEMORY_PEAK,
        &MEMORY_EVENTS,
        &CPU_USAGE,
        &CPU_MODE,
        &CPU_PERIODS,
        &CPU_THROTTLED_PERIODS,
        &CPU_THROTTLED,
        &CPU_LIMIT,
        &PIDS,
        &PIDS_LIMIT,
        &PRESSURE_WAITING,
        &PRESSURE_STALLED,
        &IO_BYTES,
        &IO_OPERATIONS,
        &UNTRACKED,
    ],
    options: &[
        OptionDef {
            key: "max_cgroups",
            default: OptionValue::Integer { default: MOST, min: 1, max: RECORDS },
            help: "Control groups with series, shallow ones first; more than some 1,700 take a higher `max_series`.",
        },
        OptionDef {
            key: "depth",
            default: OptionValue::Integer { default: DEPTH, min: 1, max: 32 },
            help: "Levels below the root with series; containers of Kubernetes are on the fourth.",
        },
        OptionDef {
            key: "io",
            default: OptionValue::Bool(true),
            help: "Read what each control group did on each block device: from files, of 128 groups at a time, in turn.",
        },
        OptionDef {
            key: "more_files",
            default: OptionValue::Bool(false),
            help: "Read pressure, the memory peak and the split of CPU time also where that takes files, up to four of each control group.",
        },
    ],
    open: |cx| {
        let choice = Choice {
            max_cgroups: cx.options.integer("max_cgroups"),
            depth: cx.options.integer("depth"),
            io: cx.options.bool("io"),
            more_files: cx.options.bool("more_files"),
        };
        Ok(Box::new(Cgroups::new(cx.roots, choice, Iterator::open(cx.bpf, cx.roots))))
    },
};

/// Levels below the root that get series unless the configuration says otherwise. Pods of Kubernetes have their containers on the fourth
/// (`kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice/cri-containerd-Y.scope`), programs
/// of a user of systemd on the fifth; below that a container divides itself.
const DEPTH: u32 = 5;
/// Descriptors that are kept open, at most: the kernel keeps 5 KiB for each once it was read.
const MOST_DESCRIPTORS: usize = 5120;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Control groups with series, at most.
    pub max_cgroups: u32,
    /// Levels below the root that get series.
    pub depth: u32,
    /// Figures of block devices.
    pub io: bool,
    /// Pressure and what else is dear to read from files.
    pub more_files: bool,
}

impl Default for Choice {
    fn default() -> Self {
        Self { max_cgroups: MOST, depth: DEPTH, io: true, more_files: false }
    }
}

/// Reads the control groups of the host.
pub struct Cgroups {
    roots: Roots,
    choice: Choice,
    /// Or why there is none.
    iterator: Result<Iterator, Unsupported>,
    followed: Option<Followed>,
    figures: Figures,
    buffer: Vec<u8>,
    devices: Devices,
}

/// The hierarchies, as they are known.
struct Followed {
    known: Known,
    tree: Tree,
    /// By hierarchy, its control groups by id, with their place among those that are known.
    by_id: Vec<Vec<(u64, usize)>>,
    /// The changes that `by_id` is of.
    changes: Option<u64>,
}

impl Cgroups {
    /// Of the host whose trees these are, from files alone.
    pub fn from_files(roots: &Roots, choice: Choice) -> Self {
        Self::new(roots, choice, Err(Unsupported("not asked for".into())))
    }

    fn new(roots: &Roots, choice: Choice, iterator: Result<Iterator, Unsupported>) -> Self {
        Self {
            roots: roots.clone(),
            choice,
            iterator,
            followed: None,
            figures: Figures::default(),
            buffer: Vec::new(),
            devices: Devices::new(roots),
        }
    }

    /// Finds the hierarchies.
    fn find(&self) -> Result<Followed, InputError> {
        let hierarchies = hierarchies::find(&self.roots).map_err(InputError::missing_is_unsupported)?;
        if hierarchies.is_empty() {
            return Err(InputError::Unsupported(Unsupported("no control groups are mounted".into())));
        }
        let covers = |hierarchy| self.iterator.as_ref().map_or_else(|_| Vec::new(), |i| i.covers(hierarchy));
        let covered = hierarchies.iter().flat_map(covers).collect();
        let by_id = vec![Vec::new(); hierarchies.len()];
        let known = Known::new(hierarchies, rules(self.choice, covered), descriptors());
        Ok(Followed { known, tree: Tree::new(), by_id, changes: None })
    }
}

impl Followed {
    /// Makes a pass over each hierarchy, and has every control group take its records.
    fn pass(&mut self, iterator: &mut Iterator) -> Result<(), InputError> {
        let Self { known: Known { hierarchies, cgroups, changes, .. }, by_id, .. } = self;
        if self.changes != Some(*changes) {
            self.changes = Some(*changes);
            for (hierarchy, by_id) in by_id.iter_mut().enumerate() {
                by_id.clear();
                let ids = cgroups.iter().enumerate().map(|(at, known)| (known.ids[hierarchy], at));
                by_id.extend(ids.filter(|(id, _)| *id != 0));
                by_id.sort_unstable();
            }
        }
        for known in cgroups.iter_mut() {
            known.record.clear();
        }
        // The unified one comes first: where both versions know a figure, that of version 1 holds.
        for (hierarchy, by_id) in hierarchies.iter().zip(by_id) {
            let mut next = 0;
            iterator.pass(hierarchy, |id, noted| {
                // Siblings come in the order in which they were made, and so were numbered.
                let is_next = by_id.get(next).is_some_and(|(one, _)| *one == id);
                let at = if is_next { Ok(next) } else { by_id.binary_search_by_key(&id, |(one, _)| *one) };
                if let Ok(at) = at {
                    cgroups[by_id[at].1].record.take(noted);
                    next = at + 1;
                }
            })?;
        }
        Ok(())
    }
}

fn rules(choice: Choice, covered: Vec<Controller>) -> Rules {
    Rules { most: choice.max_cgroups as usize, depth: choice.depth as usize, groups: wanted(choice), covered }
}

fn wanted(choice: Choice) -> &'static [Group] {
    match (choice.more_files, choice.io) {
        (false, false) => &[Group::Core],
        (true, false) => &[Group::Core, Group::More],
        (false, true) => &[Group::Core, Group::Io],
        (true, true) => &[Group::Core, Group::More, Group::Io],
    }
}

/// Descriptors to keep: half of what the process may have, so that scrapes and other inputs have theirs.
fn descriptors() -> usize {
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    usize::try_from(allowed / 2).unwrap_or(usize::MAX).min(MOST_DESCRIPTORS)
}

impl Input for Cgroups {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        self.iterator.as_ref().ok().map(Iterator::opened)
    }

    fn variant(&self) -> Option<String> {
        Some(match &self.iterator {
            Ok(iterator) if iterator.is_partial() => {
                format!("{}, version 1 by files", iterator.opened().variant)
            }
            Ok(iterator) => iterator.opened().variant.clone(),
            Err(_) => "files".to_owned(),
        })
    }

    fn degraded(&self) -> Option<String> {
        match &self.iterator {
            Ok(iterator) => iterator.opened().degraded.clone(),
            Err(_) if self.choice.more_files => None,
            Err(why) => Some(format!("no pressure, for which more files are read with more_files ({why})")),
        }
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        if self.followed.is_none() {
            self.followed = Some(self.find()?);
        }
        let Some(followed) = &mut self.followed else { return Ok(()) };
        if followed.tree.update(cx.started, &mut followed.known) {
            // Numbers of devices are given out again.
            self.devices.known.clear();
        }
        let mut untracked = 0;
        if let Ok(iterator) = &mut self.iterator {
            followed.known.flush(&mut self.buffer);
            followed.pass(iterator)?;
            untracked = iterator.left_out();
        }
        let known = &mut followed.known;
        let passes_unified = known.covers(Controller::Unified);
        known.take_turns();
        for at in 0..known.cgroups.len() {
            self.figures.clear();
            let mut limits = Limits::default();
            let cgroup = &mut known.cgroups[at];
            if let Ok(iterator) = &self.iterator {
                // Without a record it has just died.
                if passes_unified && cgroup.is_unified() && !cgroup.record.is_unified() {
                    continue;
                }
                cgroup.record.read(iterator.page(), &mut self.figures, &mut limits, &mut cgroup.modes);
            }
            match known.read(at, &mut self.figures, &mut self.buffer) {
                Ok(()) => {}
                Err(Trouble::Gone) => continue,
                Err(Trouble::Source(error)) => return Err(error.into()),
            }
            let cgroup = &known.cgroups[at];
            self.figures.put(&cgroup.label, acc);
            cgroup.limits.or(&limits).put(&cgroup.label, acc);
            for io in &cgroup.io {
                io.put(&cgroup.label, self.devices.name(io.major, io.minor), acc);
            }
        }
        acc.put(&UNTRACKED, &[], untracked.max(known.untracked() as u64));
        Ok(())
    }
}

/// The names of block devices by their numbers.
struct Devices {
    folder: PathBuf,
    known: Vec<(u32, u32, Box<[u8]>)>,
}

impl Devices {
    fn new(roots: &Roots) -> Self {
        Self { folder: roots.sysfs.join("dev/block"), known: Vec::new() }
    }

    /// The kernel's name of a device, or its numbers if it has gone.
    fn name(&mut self, major: u32, minor: u32) -> &[u8] {
        let at =
            self.known.iter().position(|known| (known.0, known.1) == (major, minor)).unwrap_or_else(|| {
                let numbers = format!("{major}:{minor}");
                let target = std::fs::read_link(self.folder.join(&numbers)).ok();
                let name = target.as_deref().and_then(std::path::Path::file_name);
                let name = name.map_or(numbers.as_bytes(), std::ffi::OsStr::as_encoded_bytes).into();
                self.known.push((major, minor, name));
                self.known.len() - 1
            });
        &self.known[at].2
    }
}
