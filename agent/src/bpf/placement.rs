//! Where an object runs from: adopted from pins, pinned anew, or with this process alone.

use std::path::{Path, PathBuf};

use super::{
    Pinning,
    abi::Names,
    attach::{Context, Running},
    pin::Pins,
    private::Private,
};
use crate::catalogue::Unsupported;

/// The pins, as far as they have been asked for.
pub(super) struct Placement {
    pinning: Pinning,
    pins: Option<Result<Pins, String>>,
    /// Where maps are shared that are not pinned.
    private: Option<Result<Private, String>>,
    in_use: Vec<String>,
}

/// Where the maps and programs of an object are pinned, each as far as they are.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Its own maps.
    pub(super) maps: Option<PathBuf>,
    /// Its programs, and maps of what is under way.
    pub(super) programs: Option<PathBuf>,
    /// The maps that it shares.
    pub(super) shared: Option<PathBuf>,
}

impl Places {
    fn below(root: &Path, names: &Names) -> Self {
        let maps = root.join(&names.maps);
        Self {
            programs: Some(maps.join(&names.programs)),
            maps: Some(maps),
            shared: names.shared.as_ref().map(|name| root.join(name)),
        }
    }
}

impl Placement {
    pub(super) fn new(pinning: Pinning) -> Self {
        Self { pinning, pins: None, private: None, in_use: Vec::new() }
    }

    /// Brings an object to run. Notes what is lost by the place where it does.
    pub(super) fn run(
        &mut self,
        context: &Context<'_>,
        names: Names,
        lost: &mut Vec<String>,
    ) -> Result<Running, Unsupported> {
        let running = match self.pinning.clone() {
            Pinning::Ignore => self.load_unpinned(context, &names, lost)?,
            Pinning::Look(root) => match adopt(context, &root, &names) {
                Some(adopted) => Running { is_anothers: true, ..adopted },
                None => self.load_unpinned(context, &names, lost)?,
            },
            Pinning::Own(root) => match self.pins.get_or_insert_with(|| Pins::open(&root)) {
                Ok(pins) => own(context, pins, &root, &names)?,
                Err(reason) => {
                    lost.push(format!("not pinned, so counters restart with the agent ({reason})"));
                    self.load_unpinned(context, &names, lost)?
                }
            },
        };
        self.in_use.push(names.maps);
        self.in_use.extend(names.shared);
        Ok(running)
    }

    fn load_unpinned(
        &mut self,
        context: &Context<'_>,
        names: &Names,
        lost: &mut Vec<String>,
    ) -> Result<Running, Unsupported> {
        let mut places = Places::default();
        if let Some(name) = &names.shared {
            let private = self.private.get_or_insert_with(Private::mount).as_ref().map_err(Clone::clone);
            match private.and_then(|private| private.folder(name)) {
                Ok(folder) => places.shared = Some(folder),
                Err(reason) => {
                    let maps: Vec<_> = context.def.shared.iter().map(|map| map.name).collect();
                    lost.push(format!("no {} in common with other programs ({reason})", maps.join(", ")));
                }
            }
        }
        context.load(&places, |_| Ok(()))
    }

    /// Whether another agent owns the pins.
    pub(super) fn is_guest(&self) -> bool {
        self.pins.as_ref().is_some_and(|pins| pins.as_ref().is_ok_and(|pins| !pins.is_owner()))
    }

    /// Removes pinned objects that nobody asked for.
    pub(super) fn tidy(&self) {
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

    /// The pins, and the folders in use.
    pub(super) fn into_pins(self) -> (Option<Pins>, Vec<String>) {
        (self.pins.and_then(Result::ok), self.in_use)
    }
}

fn adopt(context: &Context<'_>, root: &Path, names: &Names) -> Option<Running> {
    let places = Places::below(root, names);
    let adopted = context.adopt(&places);
    if let Err(error) = &adopted
        && let Some(path) = places.programs.filter(|path| path.exists())
    {
        tracing::warn!(path = %path.display(), %error, "cannot adopt what is pinned");
    }
    adopted.ok()
}

/// Adopts what is pinned, or takes the maps over for other programs, or begins anew.
fn own(context: &Context<'_>, pins: &Pins, root: &Path, names: &Names) -> Result<Running, Unsupported> {
    let adopted = adopt(context, root, names);
    if !pins.is_owner() {
        return adopted.map(|adopted| Running { is_anothers: true, ..adopted }).ok_or_else(|| {
            Unsupported(format!(
                "{} holds the kernel programs; stop it, or run this one with --no-ebpf",
                pins.other()
            ))
        });
    }
    if let Some(adopted) = adopted {
        // A start that was killed may have left others. None of them was ever attached beside these.
        if let Err(error) = pins.discard_others(names, &root.join(&names.maps).join(&names.programs)) {
            tracing::warn!(%error, "cannot remove what a killed start has left");
        }
        return Ok(adopted);
    }
    context.load_pinned(pins, names)
}
