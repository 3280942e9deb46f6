//! Whose processes the OOM killer chose.

use std::time::Instant;

use pitot_common::{
    memory::OWNER_WORDS,
    owner::{SLOTS, note},
};

use crate::{
    accumulator::Accumulator,
    bpf::{
        Loader, Opened, Settings,
        map::View,
        owner::{Owners, Place},
    },
    catalogue::{Label, Metric, Since},
    input::Unsupported,
};

/// A word for each owner.
const PLACE: Place = Place { run: OWNER_WORDS, first: 0, words: 1 };

pub(super) static KILLS_TOTAL: Metric = Metric::counter(
    "memory_cgroup_oom_kills_total",
    "Victims of the OOM killer by their cgroup in the unified tree; `...` is the start of a path that was gone before it was read.",
    &[Label::bounded("cgroup", SLOTS + 1)],
)
.since(Since::Attach);

/// Whether victims can be counted by cgroup, and whether that takes the signals that kill them.
pub(super) fn decide(settings: &mut Settings) {
    let has_names =
        settings.has(&["TASK_CGROUPS", "SET_CGROUP", "CGROUP_NODE", "NODE_ID", "NODE_NAME", "NODE_PARENT"]);
    let has_task = settings.has(&["VICTIM_TASK"]);
    let has_signal = settings.has(&["TASK_PID", "SIGNAL_HOOK"]);
    settings.set("OWNERS_ON", u32::from(has_names && (has_task || has_signal)));
    settings.set("OWNERS_SIGNAL", u32::from(has_names && has_signal && !has_task));
}

/// The part of the memory input that counts by cgroup.
pub(super) struct ByOwner {
    owners: Owners,
    victims: View,
}

impl ByOwner {
    pub(super) fn open(bpf: &mut Loader, opened: &Opened) -> Result<Option<Self>, Unsupported> {
        if !opened.is_on("OWNERS_ON") || !opened.is_typed() {
            return Ok(None);
        }
        let owners = bpf.owners(opened)?;
        owners.clean_up(opened.writable_view("MEMORY_OWNER", 1, OWNER_WORDS)?, PLACE);
        owners.take_notes(opened.view("MEMORY_NAME", SLOTS, note::WORDS)?);
        Ok(Some(Self { owners, victims: opened.view("MEMORY_OWNER", 1, OWNER_WORDS)? }))
    }

    pub(super) fn collect(&self, at: Instant, acc: &mut dyn Accumulator) {
        self.owners.sums(at, &self.victims, PLACE, |cgroup, [kills]| {
            acc.put(&KILLS_TOTAL, &[cgroup], *kills);
        });
    }
}
