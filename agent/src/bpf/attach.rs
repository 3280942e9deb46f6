//! Bringing one object to run: load, attach by the first variant that works, pin, or adopt.

use std::{
    error::Error,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::SystemTime,
};

use aya::{
    Btf as KernelTypes, Ebpf, EbpfLoader, Endianness,
    maps::{Map, MapData},
    programs::{
        BtfTracePoint, FEntry, Iter, ProgramError, ProgramInfo, RawTracePoint,
        links::{FdLink, LinkError, PinnedLink},
    },
};
use caps::{CapSet, Capability};

use super::{
    Program, Settings, abi::Names, btf::Btf, entries, gone, iter, map::WritableView, pin::Pins,
    placement::Places,
};
use crate::catalogue::{BpfDef, Hook, MapDef, ProgramKind, UnderWay, Unsupported, Variant};

/// Why a better variant was not taken, to an heir.
const CHOSEN: &str = "the agent that attached it found no other way, and its log says why";

/// Has the kernel check a program again that it put aside, because a signal came in the middle.
fn patiently(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    const TRIES: usize = 5;
    let is_put_aside = |error: &ProgramError| matches!(error, ProgramError::LoadError { io_error, .. } if io_error.kind() == io::ErrorKind::WouldBlock);
    for _ in 1..TRIES {
        match load() {
            Err(error) if is_put_aside(&error) => {}
            loaded => return loaded,
        }
    }
    load()
}

pub(super) struct Context<'a> {
    pub(super) def: &'static BpfDef,
    pub(super) sysfs: &'a Path,
    pub(super) bytes: &'a [u8],
    pub(super) settings: &'a Settings,
    pub(super) cpus: u32,
    /// Whether programs with BTF-typed arguments can be used, or why not.
    pub(super) typed: &'a Result<(), String>,
    pub(super) btf: Option<&'a Btf>,
}

/// What runs.
pub(super) struct Running {
    pub(super) maps: Vec<(&'static str, MapData)>,
    pub(super) programs: Vec<Program>,
    pub(super) links: Vec<FdLink>,
    pub(super) hooks: Vec<Served>,
    /// The pinned links of iterators, by what they iterate over.
    pub(super) iterators: Vec<(&'static str, OwnedFd)>,
    /// When its maps were made.
    pub(super) since: SystemTime,
    /// Whether another agent owns them.
    pub(super) is_anothers: bool,
}

/// A hook and the variant that serves it.
#[derive(Debug)]
pub struct Served {
    /// The kernel's name for the hook.
    pub hook: &'static str,
    /// How the program is attached that serves it.
    pub kind: ProgramKind,
    /// What is lost by that, if anything.
    pub loses: &'static str,
    /// Why better variants were refused.
    pub refused: String,
}

impl Context<'_> {
    /// The hooks that the settings ask for.
    fn hooks(&self) -> impl Iterator<Item = &'static Hook> {
        self.def.hooks.iter().filter(|hook| self.settings.is_on(hook.when))
    }

    /// Its own maps, then the shared ones.
    fn maps(&self) -> impl Iterator<Item = &'static MapDef> {
        self.def.maps.iter().chain(self.def.shared)
    }

    /// Where a map is pinned.
    fn pin_of(&self, places: &Places, map: &MapDef) -> Option<PathBuf> {
        let shared = self.def.shared.iter().any(|other| other.name == map.name);
        let folder = match self.is_under_way(map) {
            _ if shared => &places.shared,
            true => &places.programs,
            false => &places.maps,
        };
        folder.as_ref().map(|folder| folder.join(pin_name(map)))
    }

    fn is_under_way(&self, map: &MapDef) -> bool {
        self.def.under_way.iter().any(|part| matches!(part, UnderWay::Map(name) if *name == map.name))
    }

    /// Takes over an object that an earlier agent pinned.
    pub(super) fn adopt(&self, places: &Places) -> Result<Running, Box<dyn Error>> {
        let mut running = Running::new();
        let folder = places.programs.as_ref().ok_or("no folder")?;
        for def in self.maps() {
            let path = self.pin_of(places, def).ok_or("no folder of a map")?;
            let map = MapData::from_pin(&path)?;
            running.note_map(self.def, def.name, &map)?;
            running.maps.push((def.name, map));
        }
        running.since = self.since(places);
        for hook in self.hooks() {
            let without = hook.variants.iter().find(|variant| variant.kind == ProgramKind::Nothing);
            if let Some(variant) = without
                && !folder.join(format!("link-{}", hook.name)).exists()
            {
                running.serve(hook, variant, CHOSEN);
                continue;
            }
            // Only to see that it is there: a link that is held would live on when an heir removes the pin.
            let link = folder.join(format!("link-{}", hook.name));
            PinnedLink::from_pin(&link)?;
            let pinned = hook.variants.iter().find_map(|variant| {
                ProgramInfo::from_pin(folder.join(format!("prog-{}", variant.program)))
                    .ok()
                    .map(|info| (variant, info))
            });
            let (variant, info) = pinned.ok_or("a hook without its program")?;
            // A program is looked up by its number, which takes CAP_SYS_ADMIN. It is adopted without, too: only
            // its own figures are missing then.
            if let Ok(fd) = info.fd() {
                let fd = fd.as_fd().try_clone_to_owned()?;
                let (name, object) = (variant.program, self.def.object);
                running.run(Program { name, object, is_map: false, fd });
            }
            if variant.kind == ProgramKind::Iter {
                running.iterators.push((hook.name, iter::hold(&link)?));
            }
            running.serve(hook, variant, CHOSEN);
        }
        Ok(running)
    }

    /// Loads and attaches, and pins everything in folders that an heir can adopt. Maps that are there already
    /// are inherited, and the programs that wrote them end in between.
    pub(super) fn load_pinned(&self, pins: &Pins, names: &Names) -> Result<Running, Unsupported> {
        let said = |error: &(dyn Error + 'static)| Unsupported(format!("cannot pin: {}", reason(error)));
        let mut places = Places::default();
        if let Some(shared) = &names.shared {
            places.shared = Some(pins.folder(shared).map_err(|e| said(&e))?);
        }
        let own = self.def.maps.iter().filter(|map| !self.is_under_way(map));
        let begun = pins.begin(names, own.map(pin_name)).map_err(|e| said(&e))?;
        places.maps = Some(begun.maps.clone());
        places.programs = Some(begun.programs.clone());
        let mut running = self.load(&places, |object| {
            let others = pins.discard_others(names, &begun.programs)?;
            gone::wait(&others);
            if begun.inherits { self.forget(object) } else { Ok(()) }
        })?;
        running.since = self.since(&places);
        let attached = running.hooks.iter().filter(|served| served.kind != ProgramKind::Nothing);
        for (served, link) in attached.zip(running.links.drain(..)) {
            let path = begun.programs.join(format!("link-{}", served.hook));
            link.pin(&path).map_err(|e| said(&e))?;
            if served.kind == ProgramKind::Iter {
                running.iterators.push((served.hook, iter::hold(&path).map_err(|e| said(&e))?));
            }
        }
        begun.finish(names).map_err(|e| said(&e))?;
        Ok(running)
    }

    /// Loads, then attaches, as soon as `make_way` has ended what must not run beside it. Pins maps and
    /// programs where there are places for them; a map that is pinned there already is used.
    pub(super) fn load(
        &self,
        places: &Places,
        make_way: impl FnOnce(&Ebpf) -> io::Result<()>,
    ) -> Result<Running, Unsupported> {
        let mut loader = EbpfLoader::new();
        // Fields are resolved already; the kernel's types, which are large, are not needed here.
        loader.btf(None);
        for (name, value) in &self.settings.values {
            loader.override_global(name, value, false);
        }
        for map in self.maps() {
            loader.map_max_entries(map.name, entries(map.entries, self.settings, self.cpus));
        }
        for map in self.maps() {
            if let Some(path) = self.pin_of(places, map) {
                loader.map_pin_path(map.name, path);
            }
        }
        let mut object = loader.load(self.bytes).map_err(|e| Unsupported(reason(&e)))?;
        let types = self.kernel_types();

        let folder = places.programs.as_deref();
        // The verifier takes its time; what is replaced counts on meanwhile.
        for hook in self.hooks() {
            let mut variants = hook.variants.iter();
            variants.find(|variant| self.verify(&mut object, hook, variant, types.as_ref(), folder).is_ok());
        }
        make_way(&object).map_err(|e| Unsupported(format!("cannot take over: {}", reason(&e))))?;
        let mut running = Running::new();
        for hook in self.hooks() {
            let mut refused = Vec::new();
            let mut served = false;
            for variant in hook.variants {
                if variant.kind == ProgramKind::Nothing {
                    running.serve(hook, variant, &refused.join("; "));
                    served = true;
                    break;
                }
                match self.attach(&mut object, hook, variant, types.as_ref(), folder) {
                    Ok((link, program)) => {
                        let link = match (variant.kind, folder) {
                            (ProgramKind::Iter, None) => {
                                let (link, held) = iter::pin_in_private(link).map_err(Unsupported)?;
                                running.iterators.push((hook.name, held));
                                link
                            }
                            _ => link,
                        };
                        running.links.push(link);
                        running.run(program);
                        running.serve(hook, variant, &refused.join("; "));
                        served = true;
                        break;
                    }
                    Err(why) => refused.push(format!("{}: {why}", variant.kind.name())),
                }
            }
            if !served {
                return Err(Unsupported(format!("{}: {}", hook.name, refused.join("; "))));
            }
        }
        for def in self.maps() {
            let map = object.take_map(def.name).ok_or_else(|| Unsupported(format!("no map {}", def.name)))?;
            let (Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data)) = map else {
                return Err(Unsupported(format!("map {} is of another type", def.name)));
            };
            running.note_map(self.def, def.name, &data).map_err(|e| Unsupported(e.to_string()))?;
            running.maps.push((def.name, data));
        }
        Ok(running)
    }

    /// Has the kernel check a program, unless it has done so, and pins it.
    fn verify(
        &self,
        object: &mut Ebpf,
        hook: &'static Hook,
        variant: &'static Variant,
        types: Option<&KernelTypes>,
        folder: Option<&Path>,
    ) -> Result<(), String> {
        let program = object.program_mut(variant.program).ok_or("not in the object")?;
        if program.fd().is_ok() {
            return Ok(());
        }
        match variant.kind {
            ProgramKind::TpBtf => {
                self.typed.clone()?;
                let types = types.ok_or("no kernel BTF")?;
                let program: &mut BtfTracePoint = (&mut *program).try_into().map_err(|e| reason(&e))?;
                patiently(|| program.load(hook.name, types)).map_err(|e| reason(&e))?;
            }
            ProgramKind::RawTp => {
                let program: &mut RawTracePoint = (&mut *program).try_into().map_err(|e| reason(&e))?;
                patiently(|| program.load()).map_err(|e| reason(&e))?;
            }
            ProgramKind::Fentry => {
                self.typed.clone()?;
                let types = types.ok_or("no kernel BTF")?;
                let program: &mut FEntry = (&mut *program).try_into().map_err(|e| reason(&e))?;
                return patiently(|| program.load(hook.name, types)).map_err(|e| reason(&e));
            }
            ProgramKind::Nothing => return Err("nothing can be attached".into()),
            ProgramKind::Iter => {
                self.typed.clone()?;
                let types = types.ok_or("no kernel BTF")?;
                let program: &mut Iter = (&mut *program).try_into().map_err(|e| reason(&e))?;
                patiently(|| program.load(hook.place(), types)).map_err(|e| reason(&e))?;
            }
        }
        match folder {
            Some(folder) => program.pin(pin_of_program(folder, variant)),
            None => Ok(()),
        }
        .map_err(|e| reason(&e))
    }

    fn attach(
        &self,
        object: &mut Ebpf,
        hook: &'static Hook,
        variant: &'static Variant,
        types: Option<&KernelTypes>,
        folder: Option<&Path>,
    ) -> Result<(FdLink, Program), String> {
        self.verify(object, hook, variant, types, folder)?;
        let program = object.program_mut(variant.program).ok_or("not in the object")?;
        let (link, fd) = match variant.kind {
            ProgramKind::TpBtf => {
                let program: &mut BtfTracePoint = program.try_into().map_err(|e| reason(&e))?;
                let id = program.attach().map_err(|e| reason(&e))?;
                let link: FdLink = program.take_link(id).map_err(|e| reason(&e))?.into();
                (link, program.fd().map_err(|e| reason(&e))?.as_fd().try_clone_to_owned())
            }
            ProgramKind::RawTp => {
                let program: &mut RawTracePoint = program.try_into().map_err(|e| reason(&e))?;
                let id = program.attach(hook.name).map_err(|e| reason(&e))?;
                let link: FdLink = program.take_link(id).map_err(|e| reason(&e))?.into();
                (link, program.fd().map_err(|e| reason(&e))?.as_fd().try_clone_to_owned())
            }
            ProgramKind::Fentry => {
                let program: &mut FEntry = program.try_into().map_err(|e| reason(&e))?;
                let id = program.attach().map_err(|e| reason(&e))?;
                // Pinned only now: many kernels refuse to attach, and an heir takes a pinned program for one that
                // runs.
                if let Some(folder) = folder {
                    program.pin(pin_of_program(folder, variant)).map_err(|e| reason(&e))?;
                }
                let link: FdLink = program.take_link(id).map_err(|e| reason(&e))?.into();
                (link, program.fd().map_err(|e| reason(&e))?.as_fd().try_clone_to_owned())
            }
            ProgramKind::Nothing => return Err("nothing can be attached".into()),
            ProgramKind::Iter => {
                let program: &mut Iter = program.try_into().map_err(|e| reason(&e))?;
                let link = if hook.place() == "cgroup" {
                    let program = program.fd().map_err(|e| reason(&e))?;
                    iter::over_cgroups(program.as_fd(), self.sysfs, hook.which())?
                } else {
                    let id = program.attach().map_err(|e| reason(&e))?;
                    let link = program.take_link(id).map_err(|e| reason(&e))?;
                    link.try_into().map_err(|e: LinkError| reason(&e))?
                };
                (link, program.fd().map_err(|e| reason(&e))?.as_fd().try_clone_to_owned())
            }
        };
        let fd = fd.map_err(|e| e.to_string())?;
        Ok((link, Program { name: variant.program, object: self.def.object, is_map: false, fd }))
    }

    /// Forgets what was under way when other programs wrote the inherited maps. Whole maps of that kind are new.
    fn forget(&self, object: &Ebpf) -> io::Result<()> {
        for part in self.def.under_way {
            let UnderWay::Words { map, bank, words } = part else { continue };
            let Some(Map::Array(data)) = object.map(map) else { continue };
            let entries = data.info().map_err(io::Error::other)?.max_entries();
            let view = WritableView::new(data.fd(), bank * entries as usize)?;
            for bank in (0..entries as usize).map(|entry| entry * bank) {
                words.iter().flat_map(Clone::clone).for_each(|word| view.store(bank + word, 0));
            }
        }
        Ok(())
    }

    /// When the maps that outlive a set of programs were pinned, which is before anything was counted.
    fn since(&self, places: &Places) -> SystemTime {
        let kept = self.def.maps.iter().filter(|map| !self.is_under_way(map));
        let pins = kept.filter_map(|map| self.pin_of(places, map));
        let times = pins.filter_map(|pin| fs::metadata(pin).and_then(|pin| pin.modified()).ok());
        times.min().unwrap_or_else(SystemTime::now)
    }

    /// The part of the kernel's types that attaching needs, in the form that aya wants.
    fn kernel_types(&self) -> Option<KernelTypes> {
        let names = |function: bool| -> Vec<&str> {
            let is_function = |hook: &&Hook| hook.variants.iter().any(|v| v.kind == ProgramKind::Fentry);
            self.hooks().filter(|hook| is_function(hook) == function).map(Hook::place).collect()
        };
        KernelTypes::parse(&self.btf?.hooks_only(&names(false), &names(true)), Endianness::default()).ok()
    }
}

impl Running {
    fn new() -> Self {
        Self {
            maps: Vec::new(),
            programs: Vec::new(),
            links: Vec::new(),
            hooks: Vec::new(),
            since: SystemTime::now(),
            is_anothers: false,
            iterators: Vec::new(),
        }
    }

    /// Notes a program, which may serve several hooks.
    fn run(&mut self, program: Program) {
        if !self.programs.iter().any(|known| !known.is_map && known.name == program.name) {
            self.programs.push(program);
        }
    }

    fn serve(&mut self, hook: &'static Hook, variant: &'static Variant, refused: &str) {
        let (kind, loses) = (variant.kind, variant.loses);
        self.hooks.push(Served { hook: hook.name, kind, loses, refused: refused.to_owned() });
    }

    fn note_map(&mut self, of: &BpfDef, name: &'static str, map: &MapData) -> io::Result<()> {
        let fd = map.fd().as_fd().try_clone_to_owned()?;
        self.programs.push(Program { name, object: of.object, is_map: true, fd });
        Ok(())
    }
}

fn pin_name(map: &MapDef) -> String {
    format!("map-{}", map.name)
}

fn pin_of_program(folder: &Path, variant: &Variant) -> PathBuf {
    folder.join(format!("prog-{}", variant.program))
}

/// An error and its causes, in one line, with what would mend it.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut errno = None;
    while let Some(one) = cause {
        let said = one.to_string();
        let said = match said.split_once(". Verifier output: ") {
            Some((what, log)) => format!("{what}{}", verdict(log)),
            None => said,
        };
        if !text.contains(&said) {
            text = if text.is_empty() { said } else { format!("{text}: {said}") };
        }
        errno = one.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error).or(errno);
        cause = one.source();
    }
    tracing::debug!(%error, "the kernel refused a program");
    if errno == Some(libc::EPERM) {
        text.push_str(if may_load() {
            " (not for want of capabilities: a policy of the kernel or the container forbids it)"
        } else {
            " (needs root, or the capabilities CAP_BPF and CAP_PERFMON)"
        });
    }
    text
}

/// Whether this process has what loading programs takes, so that a refusal has another cause.
fn may_load() -> bool {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    has(Capability::CAP_SYS_ADMIN) || has(Capability::CAP_BPF) && has(Capability::CAP_PERFMON)
}

/// The line of a verifier log that says why; the last lines are statistics.
fn verdict(log: &str) -> String {
    let telling = |line: &&str| {
        !line.is_empty()
            && !line.starts_with("processed ")
            && !line.starts_with("verification ")
            && !line.starts_with("stack depth")
    };
    match log.lines().map(str::trim).rfind(telling) {
        Some(line) => format!(", verifier: {line}"),
        None => String::new(),
    }
}
