//! Bringing one object to run: load, attach by the first variant that works, pin, or adopt.

use std::{
    error::Error,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{
    Btf as KernelTypes, Ebpf, EbpfLoader, Endianness,
    maps::{Map, MapData},
    programs::{
        BtfTracePoint, Iter, ProgramInfo, RawTracePoint,
        links::{FdLink, LinkError, PinnedLink},
    },
};

use super::{Program, Settings, btf::Btf, entries, iter, pin::Pins};
use crate::catalogue::{BpfDef, Hook, ProgramKind, Unsupported, Variant};

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
#[derive(Default)]
pub(super) struct Running {
    pub(super) maps: Vec<(&'static str, MapData)>,
    pub(super) programs: Vec<Program>,
    pub(super) links: Vec<FdLink>,
    pub(super) hooks: Vec<Served>,
    /// The pinned links of iterators, by what they iterate over.
    pub(super) iterators: Vec<(&'static str, OwnedFd)>,
}

/// A hook and the variant that serves it.
pub(super) struct Served {
    pub(super) hook: &'static str,
    pub(super) kind: ProgramKind,
    pub(super) loses: &'static str,
    /// Why better variants were refused.
    pub(super) refused: String,
}

impl Context<'_> {
    /// The hooks that the settings ask for.
    fn hooks(&self) -> impl Iterator<Item = &'static Hook> {
        self.def.hooks.iter().filter(|hook| self.settings.is_on(hook.when))
    }

    /// Takes over an object that an earlier agent pinned.
    pub(super) fn adopt(&self, folder: &Path) -> Result<Running, Box<dyn Error>> {
        let mut running = Running::default();
        for def in self.def.maps {
            let map = MapData::from_pin(folder.join(format!("map-{}", def.name)))?;
            running.note_map(def.name, &map)?;
            running.maps.push((def.name, map));
        }
        for hook in self.hooks() {
            let link = folder.join(format!("link-{}", hook.name));
            running.links.push(PinnedLink::from_pin(&link)?.into());
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
                running.programs.push(Program { name: variant.program, is_map: false, fd });
            }
            if variant.kind == ProgramKind::Iter {
                running.iterators.push((hook.name, iter::hold(&link)?));
            }
            running.serve(hook, variant, "chosen by the agent that attached it");
        }
        Ok(running)
    }

    /// Loads and attaches, and pins everything in a folder that an heir can adopt.
    pub(super) fn load_pinned(&self, pins: &Pins, name: &str) -> Result<Running, Unsupported> {
        let said = |error: &(dyn Error + 'static)| Unsupported(format!("cannot pin: {}", reason(error)));
        let folder = pins.start(name).map_err(|e| said(&e))?;
        let mut running = self.load(Some(&folder))?;
        for (map, data) in &running.maps {
            data.pin(folder.join(format!("map-{map}"))).map_err(|e| said(&e))?;
        }
        let links = std::mem::take(&mut running.links);
        for (served, link) in running.hooks.iter().zip(links) {
            let path = folder.join(format!("link-{}", served.hook));
            running.links.push(link.pin(&path).map_err(|e| said(&e))?.into());
            if served.kind == ProgramKind::Iter {
                running.iterators.push((served.hook, iter::hold(&path).map_err(|e| said(&e))?));
            }
        }
        pins.finish(name).map_err(|e| said(&e))?;
        Ok(running)
    }

    /// Loads and attaches; pins the programs if there is a folder for them.
    pub(super) fn load(&self, folder: Option<&Path>) -> Result<Running, Unsupported> {
        let mut loader = EbpfLoader::new();
        // Fields are resolved already; the kernel's types, which are large, are not needed here.
        loader.btf(None);
        for (name, value) in &self.settings.values {
            loader.override_global(name, value, false);
        }
        for map in self.def.maps {
            loader.map_max_entries(map.name, entries(map.entries, self.settings, self.cpus));
        }
        let mut object = loader.load(self.bytes).map_err(|e| Unsupported(reason(&e)))?;
        let types = self.kernel_types();

        let mut running = Running::default();
        for hook in self.hooks() {
            let mut refused = Vec::new();
            let mut served = false;
            for variant in hook.variants {
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
                        running.programs.push(program);
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
        for def in self.def.maps {
            let map = object.take_map(def.name).ok_or_else(|| Unsupported(format!("no map {}", def.name)))?;
            let (Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data)) = map else {
                return Err(Unsupported(format!("map {} is of another type", def.name)));
            };
            running.note_map(def.name, &data).map_err(|e| Unsupported(e.to_string()))?;
            running.maps.push((def.name, data));
        }
        Ok(running)
    }

    fn attach(
        &self,
        object: &mut Ebpf,
        hook: &'static Hook,
        variant: &'static Variant,
        types: Option<&KernelTypes>,
        folder: Option<&Path>,
    ) -> Result<(FdLink, Program), String> {
        let program = object.program_mut(variant.program).ok_or("not in the object")?;
        let pin = folder.map(|folder| folder.join(format!("prog-{}", variant.program)));
        let explain = |error: &(dyn Error + 'static)| reason(error);
        let (link, fd) = match variant.kind {
            ProgramKind::TpBtf => {
                self.typed.clone()?;
                let types = types.ok_or("no kernel BTF")?;
                let program: &mut BtfTracePoint = program.try_into().map_err(|e| explain(&e))?;
                program.load(hook.name, types).map_err(|e| explain(&e))?;
                if let Some(path) = &pin {
                    program.pin(path).map_err(|e| explain(&e))?;
                }
                let id = program.attach().map_err(|e| explain(&e))?;
                let link: FdLink = program.take_link(id).map_err(|e| explain(&e))?.into();
                (link, program.fd().map_err(|e| explain(&e))?.as_fd().try_clone_to_owned())
            }
            ProgramKind::RawTp => {
                let program: &mut RawTracePoint = program.try_into().map_err(|e| explain(&e))?;
                program.load().map_err(|e| explain(&e))?;
                if let Some(path) = &pin {
                    program.pin(path).map_err(|e| explain(&e))?;
                }
                let id = program.attach(hook.name).map_err(|e| explain(&e))?;
                let link: FdLink = program.take_link(id).map_err(|e| explain(&e))?.into();
                (link, program.fd().map_err(|e| explain(&e))?.as_fd().try_clone_to_owned())
            }
            ProgramKind::Iter => {
                self.typed.clone()?;
                let types = types.ok_or("no kernel BTF")?;
                let program: &mut Iter = program.try_into().map_err(|e| explain(&e))?;
                program.load(hook.name, types).map_err(|e| explain(&e))?;
                if let Some(path) = &pin {
                    program.pin(path).map_err(|e| explain(&e))?;
                }
                let link = if hook.name == "cgroup" {
                    let program = program.fd().map_err(|e| explain(&e))?;
                    iter::over_cgroups(program.as_fd(), self.sysfs)?
                } else {
                    let id = program.attach().map_err(|e| explain(&e))?;
                    let link = program.take_link(id).map_err(|e| explain(&e))?;
                    link.try_into().map_err(|e: LinkError| explain(&e))?
                };
                (link, program.fd().map_err(|e| explain(&e))?.as_fd().try_clone_to_owned())
            }
        };
        let fd = fd.map_err(|e| e.to_string())?;
        Ok((link, Program { name: variant.program, is_map: false, fd }))
    }

    /// The part of the kernel's types that attaching needs, in the form that aya wants.
    fn kernel_types(&self) -> Option<KernelTypes> {
        let names: Vec<&str> = self.hooks().map(|hook| hook.name).collect();
        KernelTypes::parse(&self.btf?.hooks_only(&names), Endianness::default()).ok()
    }
}

impl Running {
    fn serve(&mut self, hook: &'static Hook, variant: &'static Variant, refused: &str) {
        let (kind, loses) = (variant.kind, variant.loses);
        self.hooks.push(Served { hook: hook.name, kind, loses, refused: refused.to_owned() });
    }

    fn note_map(&mut self, name: &'static str, map: &MapData) -> io::Result<()> {
        let fd = map.fd().as_fd().try_clone_to_owned()?;
        self.programs.push(Program { name, is_map: true, fd });
        Ok(())
    }
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
        text.push_str(" (needs root, or the capabilities CAP_BPF and CAP_PERFMON)");
    }
    text
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
