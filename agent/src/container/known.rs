//! The containers that are known: by control group, what is seen of each, what was told, and what is shown of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Container, Process, Runtime, cgroup_path,
    merge::{self, PodFacts, Seen, Told},
    source::{Description, Found},
    tree::{Group, Identities},
};
use crate::source::hierarchies;

/// A container is looked at again so long after it was looked at in vain: its group is there before its process is.
const LOOKS: [u64; 8] = [5, 10, 20, 40, 80, 160, 320, 640];
/// How long a container waits for its name before it is shown without.
const PATIENCE: Duration = Duration::from_millis(300);

/// Containers by control group.
pub(super) struct Known {
    entries: BTreeMap<Group, Entry>,
    most: usize,
    /// Containers for which there is no room.
    left_out: BTreeSet<Group>,
    pods: HashMap<String, PodFacts>,
    /// Pods whose containers came, went or changed.
    stale_pods: BTreeSet<String>,
    /// Something that was shown has gone.
    has_lost: bool,
    /// Labels, annotations and texts that were too long or too many.
    pub(super) dropped: u64,
}

/// A control group that is, or may be, a container's.
pub(super) struct Entry {
    identities: Identities,
    id: String,
    runtime: Runtime,
    cgroup: String,
    /// The pod, by the path.
    pod: Option<String>,
    pub(super) is_sure: bool,
    /// In how many containers it is.
    depth: usize,
    /// A container that is in fewer others has its identity, or is in its pod, so that it was not this one that a runtime
    /// started: whoever may make groups in a container can give them any name.
    is_impostor: bool,
    handler: String,
    pub(super) state: Looked,
    pub(super) told: Told,
    shown: Option<Arc<Container>>,
    is_stale: bool,
}

/// What looking at a container's processes has brought.
pub(super) enum Looked {
    /// Nothing yet: how often, and when it is worth another look. None when the kernel tells, or a patrol comes by.
    Waiting(usize, Option<Instant>),
    /// It runs.
    Running(Running),
}

/// What is seen of a container that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    /// None if its processes cannot be seen from here.
    pub(super) process: Option<Process>,
    pub(super) started: Option<SystemTime>,
    pub(super) is_pause: bool,
    pub(super) host_network: Option<bool>,
    /// Who started it, where the path does not say.
    pub(super) runtime: Option<Runtime>,
    /// The kernel tells when its last process is gone.
    pub(super) is_followed: bool,
    /// Until when it waits for its name.
    pub(super) patient_until: Option<Instant>,
}

impl Entry {
    fn new(group: &[u8], identities: Identities) -> Option<Self> {
        let cgroup = text(group);
        let origin = cgroup_path::container(&cgroup)?;
        Some(Self {
            identities,
            id: origin.id.to_owned(),
            runtime: origin.runtime,
            pod: origin.pod,
            is_sure: origin.is_sure,
            depth: cgroup_path::containers(&cgroup).count(),
            is_impostor: false,
            handler: origin.handler.to_owned(),
            state: Looked::Waiting(0, Some(Instant::now())),
            told: Told::default(),
            shown: None,
            is_stale: true,
            cgroup,
        })
    }

    /// Its identity.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Who started it, as far as its path and its keeper tell.
    pub(super) fn runtime(&self) -> Runtime {
        match (self.runtime, &self.state) {
            (Runtime::Unknown, Looked::Running(running)) => running.runtime.unwrap_or(Runtime::Unknown),
            (known, _) => known,
        }
    }

    /// The name of the group above its own.
    pub(super) fn above(&self) -> &str {
        self.cgroup.rsplit('/').nth(1).unwrap_or_default()
    }

    /// A runtime with a kernel of its own, if it is known to have been started by one.
    pub(super) fn note_handler(&mut self, handler: &str) {
        if self.handler.is_empty() {
            handler.clone_into(&mut self.handler);
        }
    }

    fn pod(&self) -> Option<&str> {
        // Whoever is asked knows better: a path may have it in another form.
        self.told.pod().or(self.pod.as_deref())
    }

    /// It is not what it says: nothing that was told is about it.
    fn expose(&mut self) {
        self.is_impostor = true;
        self.is_stale = true;
        self.told = Told::default();
        self.pod = None;
    }

    fn process(&self) -> Option<Process> {
        if let Looked::Running(running) = &self.state { running.process } else { None }
    }

    /// As sources are asked about it.
    pub(super) fn found(&self) -> Found {
        Found { id: self.id.clone(), runtime: self.runtime(), pod: self.pod.clone(), process: self.process() }
    }

    /// Something has happened: it is to be looked at anew.
    pub(super) fn wake(&mut self, now: Instant) {
        let times = if let Looked::Waiting(times, _) = self.state { times } else { 0 };
        self.is_stale |= matches!(self.state, Looked::Running(_));
        self.state = Looked::Waiting(times, Some(now));
    }

    /// Looked at in vain: when it is to be looked at again.
    pub(super) fn looked_in_vain(&mut self, now: Instant) {
        let times = if let Looked::Waiting(times, _) = self.state { times } else { 0 };
        let next = LOOKS.get(times).map(|pause| now + Duration::from_millis(*pause));
        self.is_stale |= matches!(self.state, Looked::Running(_)) || next.is_none();
        self.state = Looked::Waiting(times + 1, next);
    }

    /// Whether whatever is found is as good as it gets.
    pub(super) fn is_last_look(&self) -> bool {
        matches!(self.state, Looked::Waiting(times, _) if times >= LOOKS.len())
    }

    /// It runs. With `asked`, somebody may have a name for it.
    pub(super) fn runs(&mut self, mut running: Running, asked: bool, now: Instant) {
        running.patient_until = asked.then(|| now + PATIENCE);
        self.state = Looked::Running(running);
        self.is_stale = true;
    }

    /// When something is to be done about it by itself.
    fn due(&self) -> Option<Instant> {
        match &self.state {
            Looked::Waiting(_, next) => *next,
            Looked::Running(running) => running.patient_until,
        }
    }
}

impl Known {
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            most,
            left_out: BTreeSet::new(),
            pods: HashMap::new(),
            stale_pods: BTreeSet::new(),
            has_lost: false,
            dropped: 0,
        }
    }

    /// All groups that are known, for a walk that finds only what is there.
    pub(super) fn groups(&self) -> BTreeSet<Group> {
        self.entries.keys().chain(&self.left_out).cloned().collect()
    }

    /// Containers past the limit.
    pub(super) fn left_out(&self) -> usize {
        self.left_out.len()
    }

    /// Takes over what is there of a group now. Returns the container that has gone with it.
    pub(super) fn consider(&mut self, group: &Group, identities: Identities) -> Option<String> {
        if identities.is_gone() {
            self.left_out.remove(group);
            return self.remove(group);
        }
        if let Some(entry) = self.entries.get_mut(group)
            && !identities.is_other(entry.identities)
        {
            entry.is_stale |= entry.identities.unified != identities.unified;
            entry.identities = identities;
            if let Looked::Waiting(times, _) = &mut entry.state
                && entry.shown.is_none()
            {
                *times = 0;
            }
            return None;
        }
        // Another one under its name.
        let gone = self.remove(group);
        if let Some(mut entry) = Entry::new(group, identities) {
            entry.is_impostor = self.is_taken(&entry.id, entry.depth);
            if self.entries.len() < self.most {
                self.left_out.remove(group);
                self.entries.insert(Arc::clone(group), entry);
            } else if entry.is_sure {
                self.left_out.insert(Arc::clone(group));
            }
        }
        gone
    }

    /// Whether a container that is in fewer others has an identity. Those that are in more have it no longer.
    fn is_taken(&mut self, id: &str, depth: usize) -> bool {
        let mut is_taken = false;
        for entry in self.entries.values_mut().filter(|entry| entry.id == id) {
            is_taken |= entry.depth < depth;
            if entry.depth > depth {
                entry.expose();
            }
        }
        is_taken
    }

    fn remove(&mut self, group: &Group) -> Option<String> {
        let entry = self.entries.remove(group)?;
        self.has_lost |= entry.shown.is_some();
        self.stale_pods.extend(entry.pod().map(str::to_owned));
        Some(entry.id)
    }

    /// One for which there is room now.
    pub(super) fn next_left_out(&self) -> Option<Group> {
        self.left_out.first().filter(|_| self.entries.len() < self.most).cloned()
    }

    /// Groups that are to be looked at now.
    pub(super) fn waiting(&self, now: Instant) -> Vec<Group> {
        let is_due = |entry: &Entry| matches!(entry.state, Looked::Waiting(_, Some(at)) if at <= now);
        self.entries.iter().filter(|(_, entry)| is_due(entry)).map(|(group, _)| Arc::clone(group)).collect()
    }

    /// Whether something is still to be found out about one that is there.
    pub(super) fn is_settling(&self) -> bool {
        let is_one = |entry: &Entry| match &entry.state {
            Looked::Running(running) => running.patient_until.is_some() && entry.shown.is_none(),
            Looked::Waiting(times, _) => *times == 0,
        };
        self.entries.values().any(is_one)
    }

    /// Groups of which the kernel does not tell when a container begins or ends.
    pub(super) fn unfollowed(&self) -> Vec<Group> {
        let is_one = |entry: &Entry| match &entry.state {
            Looked::Running(running) => !running.is_followed,
            Looked::Waiting(_, next) => next.is_none(),
        };
        self.entries
            .iter()
            .filter(|(_, entry)| entry.is_sure && is_one(entry))
            .map(|(group, _)| Arc::clone(group))
            .collect()
    }

    /// When something is to be done the next time.
    pub(super) fn due(&self) -> Option<Instant> {
        self.entries.values().filter_map(Entry::due).min()
    }

    /// The entry of a group.
    pub(super) fn entry(&mut self, group: &Group) -> Option<&mut Entry> {
        self.entries.get_mut(group)
    }

    /// Takes what somebody says about containers.
    pub(super) fn tell(&mut self, rank: usize, descriptions: Vec<Description>) {
        let told: HashMap<String, Description> =
            descriptions.into_iter().map(|about| (about.id.clone(), about)).collect();
        for entry in self.entries.values_mut().filter(|entry| !entry.is_impostor) {
            let Some(description) = told.get(&entry.id).cloned() else { continue };
            self.stale_pods.extend(entry.pod().map(str::to_owned));
            self.dropped += entry.told.take(rank, description);
            entry.is_stale = true;
        }
    }

    /// Those of these containers that run, as sources are asked about them.
    pub(super) fn found(&self, ids: &[String]) -> Vec<Found> {
        let runs = |entry: &&Entry| {
            !entry.is_impostor && matches!(entry.state, Looked::Running(_)) && ids.contains(&entry.id)
        };
        self.entries.values().filter(runs).map(Entry::found).collect()
    }

    /// Containers that are shown now, if that is not what was shown before.
    pub(super) fn differences(&mut self, now: Instant, files: usize) -> Option<Vec<Arc<Container>>> {
        let mut differs = std::mem::take(&mut self.has_lost);
        for entry in self.entries.values_mut() {
            if let Looked::Running(running) = &mut entry.state
                && running.patient_until.is_some_and(|until| until <= now)
            {
                running.patient_until = None;
                entry.is_stale = true;
            }
        }
        self.refresh_pods();
        for entry in self.entries.values_mut().filter(|entry| entry.is_stale) {
            entry.is_stale = false;
            let facts = entry.pod().and_then(|pod| self.pods.get(pod));
            let shows = match &entry.state {
                _ if entry.is_impostor => false,
                Looked::Running(running) => {
                    entry.is_sure && (running.patient_until.is_none() || entry.told.has_below(files))
                }
                // Behind a kernel of its own there are no processes in it.
                Looked::Waiting(..) => {
                    entry.is_last_look() && facts.is_some_and(|facts| facts.sandboxed.is_some())
                }
            };
            let made = shows.then(|| make(entry, facts));
            if made.as_ref() != entry.shown.as_deref() {
                entry.shown = made.map(Arc::new);
                differs = true;
            }
        }
        differs.then(|| self.shown())
    }

    /// What is known of pods of which containers came, went or changed.
    fn refresh_pods(&mut self) {
        let stale = self.entries.values().filter(|entry| entry.is_stale).filter_map(Entry::pod);
        let stale: BTreeSet<String> =
            stale.map(str::to_owned).chain(std::mem::take(&mut self.stale_pods)).collect();
        self.expose_impostors(&stale);
        let mut members: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
        for (group, entry) in &self.entries {
            if let Some(pod) = entry.pod().and_then(|pod| stale.get(pod)) {
                members.entry(pod).or_default().push(group);
            }
        }
        for uid in &stale {
            let Some(groups) = members.get(uid.as_str()) else {
                self.pods.remove(uid);
                continue;
            };
            let entries = groups.iter().filter_map(|group| self.entries.get(*group));
            let facts = self.pods.entry(uid.clone()).or_default();
            let pod = merge::pod(uid, &entries.clone().map(|entry| &entry.told));
            if *facts.pod != pod {
                facts.pod = Arc::new(pod);
            }
            let handler = |entry: &&Entry| !entry.handler.is_empty();
            facts.sandboxed = entries
                .clone()
                .find(handler)
                .map(|entry| entry.handler.clone())
                .or_else(|| entries.clone().find_map(|entry| entry.told.sandboxed().map(str::to_owned)));
            facts.is_alone = groups.len() == 1;
            facts.host_network = entries.clone().find_map(|entry| entry.told.host_network());
        }
        for entry in self.entries.values_mut() {
            entry.is_stale |=
                entry.told.pod().or(entry.pod.as_deref()).is_some_and(|pod| stale.contains(pod));
        }
    }

    /// The containers of a pod are all in the same others.
    fn expose_impostors(&mut self, pods: &BTreeSet<String>) {
        let mut depths: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.entries.values() {
            if let Some(pod) = entry.pod().filter(|pod| pods.contains(*pod)) {
                let least = depths.entry(pod.to_owned()).or_insert(entry.depth);
                *least = entry.depth.min(*least);
            }
        }
        for entry in self.entries.values_mut() {
            if entry.pod().and_then(|pod| depths.get(pod)).is_some_and(|least| entry.depth > *least) {
                entry.expose();
            }
        }
    }

    /// All that is shown; of several groups that say they are one container, the one with a process.
    fn shown(&self) -> Vec<Arc<Container>> {
        let mut by_id: BTreeMap<&str, &Arc<Container>> = BTreeMap::new();
        for container in self.entries.values().filter_map(|entry| entry.shown.as_ref()) {
            let other = by_id.entry(&container.id).or_insert(container);
            if other.process.is_none() && container.process.is_some() {
                *other = container;
            }
        }
        by_id.into_values().cloned().collect()
    }
}

fn make(entry: &Entry, facts: Option<&PodFacts>) -> Container {
    let running =
        if let Looked::Running(running) = &entry.state { running.clone() } else { Running::default() };
    let seen = Seen {
        id: &entry.id,
        runtime: entry.runtime(),
        is_pause: running.is_pause,
        process: running.process,
        cgroup: &entry.cgroup,
        cgroup_id: Some(entry.identities.unified).filter(|identity| *identity != 0),
        host_network: running.host_network,
        started: running.started,
        sandboxed: Some(entry.handler.as_str()).filter(|handler| !handler.is_empty()),
    };
    merge::container(&seen, &entry.told, facts)
}

/// A path as the label `cgroup` has it, but for the slash in front.
fn text(group: &[u8]) -> String {
    String::from_utf8_lossy(&hierarchies::label(group)).into_owned()
}
