//! Looking at a control group: whether a container runs in it, and what its processes tell.

use std::time::Instant;

use super::{
    Runtime, cgroup_path,
    discovery::Discovery,
    known::{Looked, Running},
    process::{First, Keeper, is_sandboxed, own_kernel},
    source::Description,
    state::Sought,
    tree::Group,
};
use crate::source::hierarchies::label;

/// Whether a group is worth following.
pub(super) fn may_be_container(group: &[u8]) -> bool {
    std::str::from_utf8(&label(group)).is_ok_and(|path| cgroup_path::container(path).is_some())
}

/// Whether a group below a container's is another container's.
fn is_container(group: &[u8]) -> bool {
    let path = label(group);
    let origin = std::str::from_utf8(&path).ok().and_then(cgroup_path::container);
    origin.is_some_and(|origin| origin.is_sure)
}

impl Discovery {
    /// Looks whether a container still runs, or whether one runs by now.
    pub(super) fn look_again(&mut self, group: &Group, now: Instant) {
        let Some(entry) = self.known.entry(group) else { return };
        let has_ended = match &entry.state {
            Looked::Running(Running { process: Some(process), is_followed, .. }) => {
                // After a walk the tree knows of directories only.
                if *is_followed {
                    self.tree.watch_processes(group);
                }
                !self.processes.is_alive(*process)
            }
            Looked::Running(Running { process: None, .. }) => {
                self.tree.members(group, is_container).hidden == 0
            }
            Looked::Waiting(..) => true,
        };
        if has_ended {
            entry.wake(now);
        }
    }

    /// Looks for the first process of a container. Says whether it runs.
    pub(super) fn look(&mut self, group: &Group, now: Instant) -> Option<Description> {
        let entry = self.known.entry(group)?;
        // From now on the kernel tells, so that nothing falls between two looks.
        let is_followed = entry.is_sure && self.tree.watch_processes(group);
        let mut members = self.tree.members(group, is_container);
        let first = self.processes.first(&mut members.pids);
        // Its number may have become another one's between the list and the look: if it still is in the list, and
        // still the same, it is the container's.
        let first = first.filter(|first| {
            let again = self.tree.members(group, is_container).pids;
            again.contains(&first.process.pid) && self.processes.is_alive(first.process)
        });
        match first {
            Some(first) if !first.is_on_its_way() || entry.is_last_look() => {
                self.run(group, &first, is_followed, now)
            }
            None if members.hidden > 0 && entry.is_sure => {
                entry.runs(Running { is_followed, ..Running::default() }, !self.errands.is_empty(), now);
                let sought =
                    Sought { id: entry.id(), runtime: entry.runtime(), above: entry.above(), keeper: None };
                Some(self.files.describe(&sought).unwrap_or_default())
            }
            _ => {
                entry.looked_in_vain(now);
                None
            }
        }
    }

    /// Which keeper a process is, if it is one of the host's.
    fn keeper(&self, pid: u32) -> Option<Keeper> {
        Keeper::of(&self.processes.words(pid)).filter(|_| self.processes.is_of_host(pid))
    }

    /// A container's first process has been found: what it and its keeper tell.
    fn run(&mut self, group: &Group, first: &First, is_followed: bool, now: Instant) -> Option<Description> {
        let pid = first.process.pid;
        let own = self.processes.words(pid);
        // Of one that runs its own kernel the keeper itself may be in the group.
        let keeper = self.keeper(pid).or_else(|| self.keeper(first.parent));
        // Of a runtime that runs inside a container, as on a node that is one: enough to stay out of there.
        let claimed = Keeper::of(&self.processes.words(first.parent)).map(|keeper| keeper.handler);
        let claimed = claimed.filter(|handler| keeper.is_none() && is_sandboxed(handler));
        let entry = self.known.entry(group)?;
        if !entry.is_sure {
            let is_kept = |keeper: &Keeper| keeper.id == entry.id() && keeper.namespace == entry.above();
            entry.is_sure =
                keeper.as_ref().is_some_and(is_kept) || self.files.is_task(entry.above(), entry.id());
            if !entry.is_sure {
                entry.looked_in_vain(now);
                return None;
            }
        }
        let is_followed = is_followed || self.tree.watch_processes(group);
        match &keeper {
            Some(keeper) if is_sandboxed(&keeper.handler) => entry.note_handler(&keeper.handler),
            // It says that it runs it with another one.
            Some(keeper) if !keeper.handler.is_empty() => {}
            _ => own_kernel(&own).into_iter().for_each(|kernel| entry.note_handler(kernel)),
        }
        if let Some(handler) = claimed {
            entry.note_handler(&handler);
        }
        let running = Running {
            process: Some(first.process),
            started: self.processes.time_of(first.process),
            is_pause: first.comm == "pause"
                || (first.comm == "catatonit" && own.get(1).is_some_and(|w| w == "-P")),
            host_network: self.processes.is_in_host_network(pid),
            runtime: keeper.as_ref().and_then(runtime_of),
            is_followed,
            patient_until: None,
        };
        entry.runs(running, !self.errands.is_empty(), now);
        let sought = Sought {
            id: entry.id(),
            runtime: entry.runtime(),
            above: entry.above(),
            keeper: keeper.as_ref().map(|keeper| (first.parent, keeper)),
        };
        let told = self.files.describe(&sought);
        Some(told.unwrap_or_else(|| Description { id: entry.id().to_owned(), ..Description::default() }))
    }
}

/// Whose a keeper is.
fn runtime_of(keeper: &Keeper) -> Option<Runtime> {
    match keeper.namespace.as_str() {
        _ if keeper.is_conmon && keeper.name.starts_with("k8s_") => Some(Runtime::Crio),
        _ if keeper.is_conmon => Some(Runtime::Podman),
        "" => None,
        "moby" => Some(Runtime::Docker),
        _ => Some(Runtime::Containerd),
    }
}
