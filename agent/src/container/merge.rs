//! What several say about one container or pod, put together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use super::{Container, Pod, Process, Role, Runtime, process, source::Description};

/// Entries that a container or pod may have of labels and of annotations.
const MOST_ENTRIES: usize = 64;
/// Longest value of a label or annotation, and longest text of any kind.
const LONGEST: usize = 1024;

/// What was told about a container, by the rank of who told it: the first that says something holds.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<usize, Box<Description>>);

impl Told {
    /// Takes what somebody says in place of what the same one said before. What is too long or too much is left out,
    /// which is counted: cut off it would be wrong.
    pub(super) fn take(&mut self, rank: usize, mut description: Description) -> u64 {
        let mut left_out = bound(&mut description.labels) + bound(&mut description.annotations);
        let Description { id, name, image, handler, pod, .. } = &mut description;
        if let Some(pod) = pod {
            left_out += bound(&mut pod.labels) + bound(&mut pod.annotations);
            for text in [&mut pod.uid, &mut pod.name, &mut pod.namespace, &mut pod.ip] {
                left_out += u64::from(clear_if_long(text));
            }
        }
        for text in [name, image, handler] {
            left_out += u64::from(clear_if_long(text));
        }
        // It is where this is kept already.
        *id = String::new();
        self.0.insert(rank, Box::new(description));
        left_out
    }

    /// Whether anybody of a rank below this one has told.
    pub(super) fn has_below(&self, rank: usize) -> bool {
        self.0.range(..rank).next().is_some()
    }

    fn text(&self, of: impl Fn(&Description) -> &String) -> String {
        self.0.values().map(|told| of(told)).find(|text| !text.is_empty()).cloned().unwrap_or_default()
    }

    fn one<T>(&self, of: impl Fn(&Description) -> Option<T>) -> Option<T> {
        self.0.values().find_map(|told| of(told))
    }

    fn map(&self, of: impl Fn(&Description) -> &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        self.0.values().for_each(|told| join(&mut all, of(told)));
        all
    }

    /// The pod that it belongs to, by what identifies it.
    pub(super) fn pod(&self) -> Option<&str> {
        let pods = self.0.values().filter_map(|told| told.pod.as_ref());
        pods.map(|pod| pod.uid.as_str()).find(|uid| !uid.is_empty())
    }

    /// What it is there for, if anybody says so.
    pub(super) fn role(&self) -> Option<Role> {
        self.one(|told| told.role)
    }

    /// A runtime that runs it behind a kernel of its own.
    pub(super) fn sandboxed(&self) -> Option<&str> {
        self.0.values().map(|told| told.handler.as_str()).find(|handler| process::is_sandboxed(handler))
    }

    /// Whether it is in the host's network namespace.
    pub(super) fn host_network(&self) -> Option<bool> {
        self.one(|told| told.host_network)
    }
}

/// What is seen of a container, without being told.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) id: &'a str,
    pub(super) runtime: Runtime,
    pub(super) is_pause: bool,
    pub(super) process: Option<Process>,
    pub(super) cgroup: &'a str,
    pub(super) cgroup_id: Option<u64>,
    pub(super) host_network: Option<bool>,
    pub(super) started: Option<SystemTime>,
    pub(super) sandboxed: Option<&'a str>,
}

/// What holds for all containers of a pod.
#[derive(Clone, Debug, Default)]
pub(super) struct PodFacts {
    pub(super) pod: Arc<Pod>,
    pub(super) sandboxed: Option<String>,
    pub(super) host_network: Option<bool>,
    /// There is no other container in it.
    pub(super) is_alone: bool,
}

/// A container, from what is seen and what is told.
pub(super) fn container(seen: &Seen<'_>, told: &Told, of_pod: Option<&PodFacts>) -> Container {
    let handler = seen.sandboxed.or(told.sandboxed()).or(of_pod.and_then(|facts| facts.sandboxed.as_deref()));
    let is_pause = seen.is_pause && of_pod.is_some();
    let role = told.role().unwrap_or(if is_pause { Role::Sandbox } else { Role::Workload });
    // All that is seen of some pods behind another kernel is one group for the whole: it stands for what runs in it.
    let is_whole = handler.is_some() && of_pod.is_some_and(|facts| facts.is_alone);
    let role = if is_whole { Role::Workload } else { role };
    let runtime = match seen.runtime {
        Runtime::Unknown => told.one(|told| told.runtime).unwrap_or(Runtime::Unknown),
        known => known,
    };
    let host_network = seen.host_network.filter(|_| handler.is_none());
    Container {
        id: seen.id.to_owned(),
        name: told.text(|told| &told.name),
        runtime,
        role,
        pod: of_pod.map(|facts| Arc::clone(&facts.pod)),
        image: told.text(|told| &told.image),
        labels: told.map(|told| &told.labels),
        annotations: told.map(|told| &told.annotations),
        process: seen.process,
        cgroup: seen.cgroup.to_owned(),
        cgroup_id: seen.cgroup_id,
        sandboxed: handler.map(|handler| format!("{handler} runs it behind a kernel of its own")),
        host_network: host_network
            .or_else(|| told.host_network())
            .or(of_pod.and_then(|facts| facts.host_network)),
        started: told.one(|told| told.started).or(seen.started),
    }
}

/// A pod, from what was told of its containers.
pub(super) fn pod<'a>(uid: &str, told: &(impl Iterator<Item = &'a Told> + Clone)) -> Pod {
    let mut whole = Pod { uid: uid.to_owned(), ..Pod::default() };
    let ranks: BTreeSet<usize> = told.clone().flat_map(|told| told.0.keys().copied()).collect();
    for rank in ranks {
        let at_rank = told.clone().filter_map(|told| told.0.get(&rank)?.pod.as_ref());
        for part in at_rank.filter(|part| part.uid.is_empty() || part.uid == uid) {
            for (text, told) in [
                (&mut whole.name, &part.name),
                (&mut whole.namespace, &part.namespace),
                (&mut whole.ip, &part.ip),
            ] {
                if text.is_empty() {
                    text.clone_from(told);
                }
            }
            join(&mut whole.labels, &part.labels);
            join(&mut whole.annotations, &part.annotations);
        }
    }
    whole
}

/// Adds what is not there yet.
fn join(all: &mut BTreeMap<String, String>, more: &BTreeMap<String, String>) {
    for (key, value) in more {
        if !all.contains_key(key) && all.len() < MOST_ENTRIES {
            all.insert(key.clone(), value.clone());
        }
    }
}

/// Leaves out what is too long or too much, and says how many entries.
fn bound(map: &mut BTreeMap<String, String>) -> u64 {
    let before = map.len();
    map.retain(|key, value| key.len() <= LONGEST && value.len() <= LONGEST);
    while map.len() > MOST_ENTRIES {
        map.pop_last();
    }
    (before - map.len()) as u64
}

fn clear_if_long(text: &mut String) -> bool {
    let is_long = text.len() > LONGEST;
    if is_long {
        text.clear();
    }
    is_long
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn seen() -> Seen<'static> {
        Seen {
            id: "a",
            runtime: Runtime::Unknown,
            is_pause: false,
            process: None,
            cgroup: "x/a",
            cgroup_id: Some(7),
            host_network: None,
            started: None,
            sandboxed: None,
        }
    }

    #[test]
    fn the_first_that_says_something_holds_and_maps_are_joined() {
        let mut told = Told::default();
        let files = Description {
            name: "from files".into(),
            runtime: Some(Runtime::Containerd),
            labels: map(&[("a", "old"), ("b", "2")]),
            ..Description::default()
        };
        assert_eq!(told.take(9, files), 0);
        assert!(!told.has_below(9));
        let api = Description { image: "nginx".into(), labels: map(&[("a", "1")]), ..Description::default() };
        told.take(0, api);
        let made = container(&seen(), &told, None);
        assert_eq!((made.name.as_str(), made.image.as_str()), ("from files", "nginx"));
        assert_eq!(made.runtime, Runtime::Containerd);
        assert_eq!(made.labels, map(&[("a", "1"), ("b", "2")]));
        told.take(0, Description { name: "renamed".into(), ..Description::default() });
        let made = container(&seen(), &told, None);
        assert_eq!((made.name.as_str(), made.image.as_str()), ("renamed", ""), "it says so no more");
    }

    #[test]
    fn a_pod_is_known_by_all_its_containers() {
        let of = |pod: Pod| {
            let mut told = Told::default();
            told.take(1, Description { pod: Some(pod), ..Description::default() });
            told
        };
        let one = of(Pod { uid: "u".into(), name: "web".into(), ..Pod::default() });
        let other = of(Pod { namespace: "prod".into(), labels: map(&[("app", "web")]), ..Pod::default() });
        let stranger = of(Pod { uid: "v".into(), ip: "10.0.0.9".into(), ..Pod::default() });
        let made = pod("u", &[&one, &other, &stranger].into_iter());
        assert_eq!((&*made.name, &*made.namespace, &*made.ip), ("web", "prod", ""));
        assert_eq!(made.labels, map(&[("app", "web")]));
        assert_eq!((one.pod(), other.pod()), (Some("u"), None));
    }

    #[test]
    fn what_a_pod_may_say_has_a_bound() {
        let mut labels: BTreeMap<_, _> = (0..100).map(|n| (format!("k{n:03}"), String::new())).collect();
        labels.insert("big".into(), "x".repeat(LONGEST + 1));
        let mut told = Told::default();
        let name = "n".repeat(LONGEST + 1);
        assert_eq!(told.take(0, Description { name, labels, ..Description::default() }), 38);
        let made = container(&seen(), &told, None);
        assert_eq!((made.name.len(), made.labels.len()), (0, MOST_ENTRIES));
        assert!(!made.labels.contains_key("big"));
    }

    #[test]
    fn a_pod_behind_another_kernel_is_so_as_a_whole() {
        let facts = PodFacts { sandboxed: Some("runsc".into()), ..PodFacts::default() };
        let looks = Seen { host_network: Some(true), is_pause: true, ..seen() };
        let made = container(&looks, &Told::default(), Some(&facts));
        assert!(made.sandboxed.is_some_and(|why| why.contains("runsc")));
        assert_eq!(made.host_network, None, "its processes are not seen");
        assert_eq!(made.role, Role::Sandbox);
        let facts = PodFacts { is_alone: true, ..facts };
        assert_eq!(
            container(&looks, &Told::default(), Some(&facts)).role,
            Role::Workload,
            "it is all there is"
        );
        let alone = container(&looks, &Told::default(), None);
        assert_eq!((alone.role, alone.host_network), (Role::Workload, Some(true)));
    }
}
