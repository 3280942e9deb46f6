//! The door to the kernel: objects are loaded, attached, pinned and adopted here, and their maps mapped.
//!
//! An input asks for its object and gets it running, or a reason why not. Nothing here is fatal: without
//! BTF, without a capability, without a BPF file system or beside another agent, what can run runs.

mod attach;
mod btf;
pub mod iter;
#[expect(unsafe_code, reason = "mapping the pages of a kernel map")]
pub mod map;
pub mod object;
pub mod pin;
mod program;

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use sha2::{Digest, Sha256};

pub use self::program::Program;
use self::{btf::Btf, iter::Records, map::View, pin::Pins};
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
    pinning: Pinning,
    pins: Option<Result<Pins, String>>,
    btf: Option<Result<Btf, String>>,
    in_use: Vec<String>,
    programs: Vec<Program>,
}

/// An object that runs.
pub struct Opened {
    maps: Vec<(&'static str, MapData)>,
    cpus: u32,
    /// How each hook is served.
    pub variant: String,
    /// What is missing on this host.
    pub degraded: Option<String>,
    settings: Settings,
    typed: bool,
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
            pinning,
            pins: None,
            btf: None,
            in_use: Vec::new(),
            programs: Vec::new(),
        }
    }

    /// A loader that loads nothing and touches nothing.
    pub fn off(reason: &str) -> Self {
        Self { off: Some(reason.to_owned()), ..Self::new(Path::new("/sys"), Pinning::Ignore) }
    }

    /// Brings an object to run: adopts the pinned one of the same hash, or loads, attaches and pins it.
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
        let mut typed = btf.as_ref().map(|_| ()).map_err(Clone::clone);
        for field in def.fields {
            let offset =
                btf.as_ref().ok().and_then(|btf| field.paths.iter().find_map(|path| btf.resolve(path)));
            match offset {
                Some(offset) => settings.set(field.setting, offset),
                None if field.loses.is_empty() => {
                    typed =
                        typed.and_then(|()| Err(format!("the kernel has no {}", field.paths.join(" or "))));
                }
                // An alternative to another field is no loss.
                None if field.loses.starts_with("nothing") => {}
                None if btf.is_ok() => {
                    lost.push(format!("no {} ({})", field.loses, field.paths.join(" or ")));
                }
                None => lost.push(format!("no {}", field.loses)),
            }
        }
        decide(&mut settings);
        lost.dedup_by(|a, b| a.split(" (").next() == b.split(" (").next());

        let folder = folder_name(def, bytes, &settings, cpus);
        let context = attach::Context {
            def,
            sysfs: &self.sysfs,
            bytes,
            settings: &settings,
            cpus,
            typed: &typed,
            btf: btf.as_ref().ok(),
        };
        let adopt = |path: PathBuf| {
            let adopted = context.adopt(&path);
            if let Err(error) = &adopted
                && path.exists()
            {
                tracing::warn!(path = %path.display(), %error, "cannot adopt what is pinned");
            }
            adopted.ok()
        };
        let mut shared = false;
        let running = match &self.pinning {
            Pinning::Ignore => context.load(None)?,
            Pinning::Look(root) => match adopt(root.join(&folder)) {
                Some(adopted) => adopted,
                None => context.load(None)?,
            },
            Pinning::Own(root) => match self.pins.get_or_insert_with(|| Pins::open(root)) {
                Ok(pins) => {
                    shared = !pins.is_owner();
                    match pins.existing(&folder).and_then(adopt) {
                        Some(adopted) => adopted,
                        None if shared => {
                            return Err(Unsupported(format!(
                                "{} holds the kernel programs; stop it, or run this one with --no-ebpf",
                                pins.other()
                            )));
                        }
                        None => context.load_pinned(pins, &folder)?,
                    }
                }
                Err(reason) => {
                    lost.push(format!("not pinned, so counters restart with the agent ({reason})"));
                    context.load(None)?
                }
            },
        };
        self.in_use.push(folder);
        for hook in running.hooks.iter().filter(|hook| !hook.loses.is_empty()) {
            lost.push(format!("no {} ({})", hook.loses, hook.refused));
        }
        let variant = describe(&running.hooks, shared);
        self.programs.extend(running.programs);
        Ok(Opened {
            maps: running.maps,
            cpus,
            variant,
            typed: running.hooks.iter().all(|hook| hook.kind != ProgramKind::RawTp),
            iterators: running.iterators,
            settings,
            degraded: (!lost.is_empty()).then(|| lost.join("; ")),
            _links: running.links,
        })
    }

    /// Removes pinned objects that nobody asked for: those of inputs that are off, and of other versions.
    /// Called once all inputs are open.
    pub fn tidy(&self) {
        if let Some(Ok(pins)) = &self.pins
            && pins.is_owner()
        {
            match pins.retain(&self.in_use) {
                Ok(removed) if removed.is_empty() => {}
                Ok(removed) => {
                    tracing::info!(removed = removed.join(" "), "removed pinned programs of other versions");
                }
                Err(error) => tracing::warn!(%error, "cannot remove old pins"),
            }
        }
    }

    /// The programs that run, for their cost.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Everything that must outlive the loader: the lock on the pins.
    pub fn into_guard(self) -> Guard {
        Guard { pins: self.pins.and_then(Result::ok), programs: self.programs }
    }
}

/// Keeps the pins this agent's own.
pub struct Guard {
    pins: Option<Pins>,
    /// The programs that run, for their cost.
    pub programs: Vec<Program>,
}

impl Guard {
    /// Whether programs go on when this agent has ended.
    pub fn outlives(&self) -> bool {
        self.pins.is_some() && !self.programs.is_empty()
    }
}

impl Opened {
    /// A map that was asked for in the definition.
    pub fn take_map(&mut self, name: &str) -> Result<MapData, Unsupported> {
        let at = self.maps.iter().position(|(known, _)| *known == name);
        at.map(|at| self.maps.swap_remove(at).1)
            .ok_or_else(|| Unsupported(format!("the object has no map {name}")))
    }

    /// A view of a map with `banks` entries of `words` words.
    pub fn view(&self, name: &str, banks: u32, words: usize) -> Result<View, Unsupported> {
        let (_, map) = self
            .maps
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| Unsupported(format!("the object has no map {name}")))?;
        View::new(map.fd(), banks as usize * words)
            .map_err(|error| Unsupported(format!("cannot map the pages of {name}: {error}")))
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

    /// Whether every hook got the variant that can read kernel fields.
    pub fn is_typed(&self) -> bool {
        self.typed
    }

    /// Possible CPUs, which is the number of banks of a per-CPU map.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }
}

/// Removes every pin below a root. Refused while an agent holds it.
pub fn clean(pin_root: &Path) -> Result<Vec<String>, String> {
    if !pin_root.exists() {
        return Ok(Vec::new());
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

fn entries(entries: Entries, settings: &Settings, cpus: u32) -> u32 {
    match entries {
        Entries::PerCpu => cpus,
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

/// The folder of an object: anything that changes what its maps mean changes the name.
fn folder_name(def: &BpfDef, bytes: &[u8], settings: &Settings, cpus: u32) -> String {
    let mut hash = Sha256::new();
    let (before, after) = without_stamp(bytes);
    hash.update(before);
    hash.update(after);
    hash.update(cpus.to_ne_bytes());
    for (name, value) in &settings.values {
        hash.update(name.as_bytes());
        hash.update(value.to_ne_bytes());
    }
    let digest = hash.finalize();
    let short = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
    format!("{}-{short:016x}", def.object)
}

/// The bytes of an object before and after the line that says which sources and compiler it comes from:
/// another comment or compiler that changes nothing else must not reset counters.
fn without_stamp(bytes: &[u8]) -> (&[u8], &[u8]) {
    const STAMP: &[u8] = b"sources ";
    let Some(at) = bytes.windows(STAMP.len()).position(|window| window == STAMP) else { return (bytes, &[]) };
    let (before, stamp) = bytes.split_at(at);
    let length = stamp.iter().position(|&b| b == b'\n').unwrap_or(0);
    (before, &stamp[length..])
}

fn describe(hooks: &[attach::Served], shared: bool) -> String {
    let mut kinds: Vec<ProgramKind> = hooks.iter().map(|hook| hook.kind).collect();
    kinds.dedup();
    let kinds = match kinds.as_slice() {
        [kind] => kind.name().to_owned(),
        _ => hooks.iter().map(|h| format!("{} by {}", h.hook, h.kind.name())).collect::<Vec<_>>().join(", "),
    };
    if shared { format!("{kinds}, counted by another pitot") } else { kinds }
}
