//! The door to the kernel: objects are loaded, attached, pinned and adopted here, and their maps mapped.
//!
//! An input asks for its object and gets it running, or a reason why not. Nothing here is fatal: without
//! BTF, without a capability, without a BPF file system or beside another agent, what can run runs.

mod abi;
mod attach;
mod btf;
mod gone;
pub mod iter;
#[expect(unsafe_code, reason = "mapping the pages of a kernel map")]
pub mod map;
pub mod object;
pub mod owner;
pub mod pin;
mod placement;
mod private;
mod program;
mod sample;
pub(crate) mod slots;

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::SystemTime,
};

use aya::maps::MapData;
use pitot_common::owner::{TABLE_WORDS, cpu};

use self::{
    abi::Names,
    btf::Btf,
    iter::Records,
    map::{View, WritableView},
    owner::Owners,
    pin::Pins,
    placement::Placement,
};
pub use self::{
    attach::Served,
    program::{Figures, Program},
    sample::{Sampled, Sampler},
};
use crate::catalogue::{BpfDef, Entries, ProgramKind, Unsupported};

/// What becomes of pins.
#[derive(Clone, Debug)]
pub enum Pinning {
    /// Adopt what is pinned below this folder, pin what is new, remove what is old: the agent that runs.
    Own(PathBuf),
    /// Adopt what is pinned; load the rest for as long as this process lives. Changes nothing.
    Look(PathBuf),
    /// Load everything for as long as this process lives.
    Ignore,
}

/// Loads kernel objects for inputs.
pub struct Loader {
    off: Option<String>,
    sysfs: PathBuf,
    placement: Placement,
    btf: Option<Result<Btf, String>>,
    /// The owners of each table of owners, by the number of its map.
    owners: Vec<(u32, Owners)>,
    running: Vec<(&'static str, SystemTime)>,
    /// The maps of all objects that run, by object and name, for others to look into.
    maps: Vec<(&'static str, &'static str, OwnedFd)>,
    programs: Vec<Program>,
}

/// An object that runs.
pub struct Opened {
    maps: Vec<(&'static str, MapData)>,
    cpus: u32,
    /// Whether its maps are this process's to write.
    is_keeper: bool,
    /// How each hook is served.
    pub variant: String,
    /// What is missing on this host.
    pub degraded: Option<String>,
    settings: Settings,
    since: SystemTime,
    hooks: Vec<Served>,
    iterators: Vec<(&'static str, OwnedFd)>,
    /// Links that are not pinned live as long as this.
    _links: Vec<aya::programs::links::FdLink>,
}

/// The settings of an object: kernel fields, and what its input decides from them.
#[derive(Debug, Default)]
pub struct Settings {
    values: Vec<(&'static str, u32)>,
}

impl Settings {
    /// Sets one.
    pub fn set(&mut self, name: &'static str, value: u32) {
        self.values.push((name, value));
    }

    /// Whether all of these were resolved or set.
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.get(name).is_some())
    }

    fn get(&self, name: &str) -> Option<u32> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn is_on(&self, name: &str) -> bool {
        name.is_empty() || self.get(name).is_some_and(|value| value != 0)
    }
}

impl Loader {
    /// A loader for the kernel whose sysfs this is.
    pub fn new(sysfs: &Path, pinning: Pinning) -> Self {
        Self {
            off: None,
            sysfs: sysfs.to_owned(),
            placement: Placement::new(pinning),
            btf: None,
            owners: Vec::new(),
            running: Vec::new(),
            maps: Vec::new(),
            programs: Vec::new(),
        }
    }

    /// A loader that loads nothing and touches nothing.
    pub fn off(reason: &str) -> Self {
        Self { off: Some(reason.to_owned()), ..Self::new(Path::new("/sys"), Pinning::Ignore) }
    }

    /// Brings an object to run: adopts the pinned one of the same hash, or loads, attaches and pins it, with the
    /// maps of an earlier one that wrote the same words.
    pub fn open(
        &mut self,
        def: &'static BpfDef,
        decide: impl FnOnce(&mut Settings),
    ) -> Result<Opened, Unsupported> {
        if let Some(reason) = &self.off {
            return Err(Unsupported(reason.clone()));
        }
        let bytes =
            object::bytes(def.object).ok_or_else(|| Unsupported(format!("no object {}", def.object)))?;
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| Unsupported(format!("{path}: {error}")))?;
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);

        let btf = self
            .btf
            .get_or_insert_with(|| Btf::of_kernel(&self.sysfs).map_err(|e| format!("no kernel BTF: {e}")));
        let mut settings = Settings::default();
        let mut lost = Vec::new();
        let typed = resolve(def, btf, &mut settings, &mut lost);
        decide(&mut settings);
        lost.dedup_by(|a, b| a.split(" (").next() == b.split(" (").next());

        let names = Names::of(def, bytes, &settings, cpus)
            .ok_or_else(|| Unsupported(format!("the object {} cannot be read", def.object)))?;
        let context = attach::Context {
            def,
            sysfs: &self.sysfs,
            bytes,
            settings: &settings,
            cpus,
            typed: &typed,
            btf: btf.as_ref().ok(),
        };
        let running = self.placement.run(&context, names, &mut lost)?;
        self.running.push((def.object, running.since));
        let kept = running
            .maps
            .iter()
            .filter_map(|(name, map)| Some((def.object, *name, map.fd().as_fd().try_clone_to_owned().ok()?)));
        self.maps.extend(kept);
        for hook in running.hooks.iter().filter(|hook| !hook.loses.is_empty()) {
            let without = format!("no {} ({})", hook.loses, hook.refused);
            // Fields that are missing altogether have said it.
            if typed.is_ok() || !lost.iter().any(|said| said.contains(hook.loses)) {
                lost.push(without);
            }
        }
        let variant = describe(&running.hooks, self.placement.is_guest());
        self.programs.extend(running.programs);
        Ok(Opened {
            maps: running.maps,
            cpus,
            is_keeper: !running.is_anothers,
            variant,
            hooks: running.hooks,
            iterators: running.iterators,
            settings,
            degraded: (!lost.is_empty()).then(|| lost.join("; ")),
            since: running.since,
            _links: running.links,
        })
    }

    /// Values and names of an enum of the kernel; nothing where it is not known.
    pub fn enumerators(&self, name: &str) -> Vec<(u32, String)> {
        let known = self.btf.as_ref().and_then(|btf| btf.as_ref().ok());
        known.map(|btf| btf.enumerators(name)).unwrap_or_default()
    }

    /// Removes pinned objects that nobody asked for: those of inputs that are off, and of other versions.
    /// Called once all inputs are open.
    pub fn tidy(&self) {
        self.placement.tidy();
    }

    /// The owners for which an object counts. Objects that share their table share these.
    pub fn owners(&mut self, opened: &Opened) -> Result<Owners, Unsupported> {
        let table = opened.map("OWNER_TABLE")?;
        let number = table.info().map_err(|error| Unsupported(error.to_string()))?.id();
        if let Some((_, owners)) = self.owners.iter().find(|(known, _)| *known == number) {
            return Ok(owners.clone());
        }
        let owners = Owners::new(
            opened.writable_view("OWNER_TABLE", 1, TABLE_WORDS)?,
            opened.view("OWNER_CPU", opened.cpus(), cpu::WORDS)?,
            &self.sysfs,
            opened.is_keeper,
        );
        self.owners.push((number, owners.clone()));
        Ok(owners)
    }

    /// Whether an object of that name has been opened and runs.
    pub fn runs(&self, object: &str) -> bool {
        self.running.iter().any(|(running, _)| *running == object)
    }

    /// A view of a map of an object that an input before this one has opened, with an entry of `words` words for
    /// each possible CPU.
    pub fn look_into(&self, object: &str, map: &str, words: usize) -> Result<View, Unsupported> {
        let found = self.maps.iter().find(|(of, name, _)| *of == object && *name == map);
        let (.., fd) = found.ok_or_else(|| Unsupported(format!("the input `{object}` does not run")))?;
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| Unsupported(format!("{path}: {error}")))?;
        View::new(fd, cpus * words).map_err(|error| unmapped(map, error))
    }

    /// The programs that run, for their cost.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Everything that must outlive the loader: the lock on the pins.
    pub fn into_guard(self) -> Guard {
        let (pins, folders) = self.placement.into_pins();
        Guard { pins, folders, programs: self.programs, objects: self.running }
    }
}

/// Keeps the pins this agent's own.
pub struct Guard {
    pins: Option<Pins>,
    folders: Vec<String>,
    /// The programs that run, for their cost.
    pub programs: Vec<Program>,
    /// The objects that run, and when their counters began at zero.
    pub objects: Vec<(&'static str, SystemTime)>,
}

impl Guard {
    /// What the kernel says about each of the programs and maps.
    pub fn figures(&self) -> Vec<Figures> {
        self.programs.iter().map(Program::figures).collect()
    }

    /// Whether programs go on when this agent has ended.
    pub fn outlives(&self) -> bool {
        self.pins.is_some() && !self.programs.is_empty()
    }

    /// Whether programs are this process's own: those that another agent pinned are not its to detach.
    pub fn is_owner(&self) -> bool {
        self.pins.as_ref().is_none_or(Pins::is_owner)
    }

    /// Lets go of an object, after its input has: nothing keeps it attached or in memory after that. It
    /// takes no capability: pins belong to the user who made them.
    pub fn release(&mut self, object: &str) -> Result<(), String> {
        self.programs.retain(|program| program.object != object);
        let is_of = |folder: &String| folder.rsplit_once('-').is_some_and(|(name, _)| name == object);
        self.folders.retain(|folder| !is_of(folder));
        match &self.pins {
            Some(pins) if pins.is_owner() => {
                pins.retain(&self.folders).map(drop).map_err(|error| error.to_string())
            }
            _ => Ok(()),
        }
    }
}

impl Opened {
    /// A map that was asked for in the definition.
    pub fn take_map(&mut self, name: &str) -> Result<MapData, Unsupported> {
        let at = self.maps.iter().position(|(known, _)| *known == name);
        at.map(|at| self.maps.swap_remove(at).1)
            .ok_or_else(|| Unsupported(format!("the object has no map {name}")))
    }

    /// Notes what is missing beside what was found when it was opened.
    pub fn lose(&mut self, what: &str) {
        self.degraded = Some(match self.degraded.take() {
            Some(others) => format!("{others}; {what}"),
            None => what.to_owned(),
        });
    }

    /// A view of a map with `banks` entries of `words` words.
    pub fn view(&self, name: &str, banks: u32, words: usize) -> Result<View, Unsupported> {
        View::new(self.map(name)?.fd(), banks as usize * words).map_err(|error| unmapped(name, error))
    }

    /// The same of a map that the agent writes, too.
    pub fn writable_view(&self, name: &str, banks: u32, words: usize) -> Result<WritableView, Unsupported> {
        WritableView::new(self.map(name)?.fd(), banks as usize * words).map_err(|error| unmapped(name, error))
    }

    fn map(&self, name: &str) -> Result<&MapData, Unsupported> {
        let found = self.maps.iter().find(|(known, _)| *known == name).map(|(_, map)| map);
        found.ok_or_else(|| Unsupported(format!("the object has no map {name}")))
    }

    /// What the iterator over a kind of objects writes, in records of so many bytes. Can be taken once.
    pub fn records(&mut self, over: &str, length: usize) -> Result<Records, Unsupported> {
        let at = self.iterators.iter().position(|(known, _)| *known == over);
        at.map(|at| Records::new(self.iterators.swap_remove(at).1, length))
            .ok_or_else(|| Unsupported(format!("the object has no iterator over {over}")))
    }

    /// Whether a setting has another value than 0.
    pub fn is_on(&self, setting: &str) -> bool {
        self.settings.is_on(setting)
    }

    /// Whether a program is attached to a hook that the object can do without.
    pub fn is_attached(&self, hook: &str) -> bool {
        !self.hooks.iter().any(|served| served.hook == hook && served.kind == ProgramKind::Nothing)
    }

    /// Whether every hook got the variant that can read kernel fields.
    pub fn is_typed(&self) -> bool {
        self.hooks.iter().all(|served| served.kind != ProgramKind::RawTp)
    }

    /// The hooks that were asked for, and how each is served.
    pub fn hooks(&self) -> &[Served] {
        &self.hooks
    }

    /// When its counters began at zero: the time of day when its maps were made, by the clock of that moment.
    pub fn counting_since(&self) -> SystemTime {
        self.since
    }

    /// Whether its maps are this process's to write. An agent that only looks leaves that to their owner.
    pub fn is_keeper(&self) -> bool {
        self.is_keeper
    }

    /// Possible CPUs, which is the number of banks of a per-CPU map.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }
}

/// Removes every pin below a root. Refused while an agent holds it.
pub fn clean(pin_root: &Path) -> Result<Vec<String>, String> {
    // Who may not enter the file system does not know that nothing is there.
    match pin_root.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot look into {}: {error}", pin_root.display())),
    }
    let pins = Pins::open(pin_root)?;
    if !pins.is_owner() {
        return Err(format!(
            "{} is running and uses the pins in {}; stop it first",
            pins.other(),
            pin_root.display()
        ));
    }
    let removed = pins.retain(&[]).map_err(|error| error.to_string())?;
    pins.remove_root().map_err(|error| format!("cannot remove {}: {error}", pin_root.display()))?;
    Ok(removed)
}

/// Finds the fields in the kernel's types. Says whether programs with typed arguments can run, or why not,
/// and notes what is lost by fields that are missing.
fn resolve(
    def: &BpfDef,
    btf: &Result<Btf, String>,
    settings: &mut Settings,
    lost: &mut Vec<String>,
) -> Result<(), String> {
    let mut typed = btf.as_ref().map(|_| ()).map_err(Clone::clone);
    let mut untyped = Vec::new();
    for field in def.fields {
        let offset = btf.as_ref().ok().and_then(|btf| field.paths.iter().find_map(|path| btf.resolve(path)));
        match offset {
            Some(_) if field.setting.is_empty() => {}
            Some(offset) => settings.set(field.setting, offset),
            None if field.loses.is_empty() => {
                typed = typed.and_then(|()| Err(format!("the kernel has no {}", field.paths.join(" or "))));
            }
            // An alternative to another field is no loss.
            None if field.loses.starts_with("nothing") => {}
            None if btf.is_ok() => lost.push(format!("no {} ({})", field.loses, field.paths.join(" or "))),
            None if !untyped.contains(&field.loses) => untyped.push(field.loses),
            None => {}
        }
    }
    if let (Err(reason), false) = (btf, untyped.is_empty()) {
        lost.push(format!("no {} ({reason})", untyped.join(", ")));
    }
    typed
}

fn entries(entries: Entries, settings: &Settings, cpus: u32) -> u32 {
    match entries {
        Entries::PerCpu => cpus,
        Entries::PerCpuTimes(n) => cpus.saturating_mul(n),
        Entries::Fixed(n) => n,
        Entries::When(setting, n) => {
            if settings.is_on(setting) {
                n
            } else {
                1
            }
        }
    }
}

fn unmapped(name: &str, error: nix::Error) -> Unsupported {
    Unsupported(format!("cannot map the pages of {name}: {error}"))
}

fn describe(hooks: &[Served], is_guest: bool) -> String {
    // Functions come on top, where a kernel allows it; that one is missing is said as a loss.
    let on_top = |hook: &&Served| matches!(hook.kind, ProgramKind::Fentry | ProgramKind::Nothing);
    let attached = || hooks.iter().filter(|hook| !on_top(hook));
    let mut kinds: Vec<ProgramKind> = attached().map(|hook| hook.kind).collect();
    kinds.dedup();
    let kinds = match kinds.as_slice() {
        // An iterator is served in one way or not at all, which says nothing about the rest.
        [kind] | [kind, ProgramKind::Iter] => kind.name().to_owned(),
        _ => attached().map(|h| format!("{} by {}", h.hook, h.kind.name())).collect::<Vec<_>>().join(", "),
    };
    if is_guest { format!("{kinds}, counted by another pitot") } else { kinds }
}
