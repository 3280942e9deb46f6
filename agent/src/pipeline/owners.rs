//! Whose control group it is: the labels of pods and containers, for series that have that of a control group.
//!
//! They are decided when a series is born, like tags, of which they are the weakest. Unlike tags they may change: a
//! runtime tells the name of a container after its control group has been seen. So a pipeline remembers which
//! [`Snapshot`] it has named its series by; when there is a newer one, those that it concerns are labelled anew.

use std::{borrow::Cow, sync::Arc};

use crate::{
    accumulator::{Labels, SeriesStore},
    container::{Attribute, Container, Directory, Owner, Snapshot},
    input::InputDef,
};

/// Bytes of a value that a pod chose: what is longer ends here.
const LONGEST: usize = 128;
/// The label that has the path of a control group.
const CGROUP: &str = "cgroup";

/// Says whose control group it is.
#[derive(Clone, Debug)]
pub struct Owners {
    directory: Directory,
    /// Labels of metrics, and what of the pod they say.
    attributes: Arc<[(String, Attribute)]>,
    /// The label that has the path, which may begin with a slash.
    path: &'static str,
    /// Whether the image and the identity of containers are labels, too.
    in_full: bool,
}

impl Owners {
    /// By the label `cgroup`.
    pub fn new(directory: Directory, attributes: Vec<(String, Attribute)>) -> Self {
        Self { directory, attributes: attributes.into(), path: CGROUP, in_full: false }
    }

    /// By another label, and with all that cAdvisor says of a container.
    pub(super) fn by(&self, path: &'static str) -> Self {
        Self { path, in_full: true, ..self.clone() }
    }

    /// Whether an input has anything that may be owned.
    pub(super) fn concern(def: &InputDef) -> bool {
        def.metrics.iter().any(|metric| metric.labels.iter().any(|label| label.name == CGROUP))
    }

    /// The path among the labels of a series.
    pub(super) fn path_of(&self, own: &Labels<'_>) -> Option<String> {
        own.iter().find(|(name, _)| *name == self.path).map(|(_, path)| path.to_string())
    }

    /// Adds the labels of the owner of a control group, where there are none of these names.
    pub(super) fn label<'a>(&'a self, path: &str, labels: &mut Labels<'a>) {
        let snapshot = self.directory.now();
        let Some(owner) = snapshot.owner(path.trim_start_matches('/')) else { return };
        let mut add = |name: &'a str, value: &str| {
            if !value.is_empty() && labels.iter().all(|(known, _)| *known != name) {
                labels.push((name, Cow::Owned(tame(value))));
            }
        };
        let (container, pod) = match owner {
            Owner::Container(container) => (Some(&**container), container.pod.as_deref()),
            Owner::Pod(pod) => (None, Some(&**pod)),
        };
        if let Some(pod) = pod {
            add("namespace", &pod.namespace);
            add("pod", &pod.name);
        }
        if let Some(container) = container {
            add("container", &container.name);
            if self.in_full {
                add("image", &container.image);
                add("name", &container.id);
            }
        }
        for (name, attribute) in &*self.attributes {
            add(name, pod.and_then(|pod| attribute.of(pod)).unwrap_or_default());
        }
    }
}

/// What a pod chose, as the value of a label.
fn tame(value: &str) -> String {
    let mut end = value.len().min(LONGEST);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let (kept, _) = value.split_at(end);
    kept.chars().filter(|c| !c.is_control()).collect()
}

/// Which snapshot a pipeline has named its series by.
#[derive(Debug)]
pub(super) struct Named {
    owners: Owners,
    by: Arc<Snapshot>,
}

impl Named {
    pub(super) fn new(owners: Owners) -> Self {
        Self { by: owners.directory.now(), owners }
    }

    pub(super) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Gives series of a store other labels, if their owners are called something else now.
    pub(super) fn keep_current(&mut self, store: &mut SeriesStore) {
        if self.owners.directory.generation() == self.by.generation {
            return;
        }
        let now = self.owners.directory.now();
        let groups = differing(&self.by, &now);
        if !groups.is_empty() {
            let concerns = |path: &str| {
                let path = path.trim_start_matches('/');
                groups.iter().any(|group| {
                    path.strip_prefix(group.as_str())
                        .is_some_and(|below| below.is_empty() || below.starts_with('/'))
                })
            };
            store.relabel(self.owners.path, &concerns);
        }
        self.by = now;
    }
}

/// The control groups of pods and containers that are in one of two snapshots only, or are called something else.
fn differing(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let group = |container: &Container| match (&container.pod, container.cgroup.rsplit_once('/')) {
        (Some(_), Some((pod, _))) => pod.to_owned(),
        _ => container.cgroup.clone(),
    };
    let of = |snapshot: &Snapshot, id: &str| {
        let at = snapshot.containers.binary_search_by(|container| container.id.as_str().cmp(id)).ok();
        at.map(|at| Arc::clone(&snapshot.containers[at]))
    };
    let is_other = |container: &Arc<Container>, other: &Snapshot| {
        of(other, &container.id).is_none_or(|other| !Arc::ptr_eq(container, &other) && **container != *other)
    };
    let gone = old.containers.iter().filter(|container| is_other(container, new));
    let come = new.containers.iter().filter(|container| is_other(container, old));
    let mut groups: Vec<String> = gone.chain(come).map(|container| group(container)).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        accumulator::{Accumulator, Limits},
        catalogue::{Label, Metric},
        container::{Pod, Publisher, Role, Runtime},
        output::{Encoder, Format},
        pipeline::{Rules, TransformConfig, ValueRule},
    };

    const POD: &str = "kubepods/pod00000003-1111-2222-3333-444455556666";
    const GROUP: &str = "kubepods/pod00000003-1111-2222-3333-444455556666/c1";

    static TIME: Metric = Metric::counter("time_total", "Time.", &[Label::bounded("cgroup", 9)]);
    static OTHER: Metric = Metric::gauge("other", "Other.", &[]);

    fn pod(name: &str) -> Pod {
        let labels = [("team".to_owned(), "red\nish".to_owned())];
        let (name, namespace) = (name.to_owned(), "shop".to_owned());
        Pod {
            uid: format!("{:08x}-1111-2222-3333-444455556666", name.len()),
            name,
            namespace,
            labels: labels.into(),
            ..Pod::default()
        }
    }

    fn container(id: &str, name: &str, pod: Pod) -> Arc<Container> {
        Arc::new(Container {
            id: id.to_owned(),
            name: name.to_owned(),
            runtime: Runtime::Containerd,
            role: Role::Workload,
            cgroup: format!("kubepods/pod{}/{id}", pod.uid),
            pod: Some(Arc::new(pod)),
            image: "shop:1".to_owned(),
            labels: std::collections::BTreeMap::default(),
            annotations: std::collections::BTreeMap::default(),
            process: None,
            cgroup_id: None,
            sandboxed: None,
            host_network: None,
            started: None,
        })
    }

    struct Bench {
        publisher: Publisher,
        named: Named,
        store: SeriesStore,
        generation: u64,
        counted: f64,
        begun: Instant,
    }

    impl Bench {
        fn new(transform: &TransformConfig) -> Self {
            let (publisher, directory) = Directory::new();
            let attributes = vec![("team".to_owned(), "label:team".parse().unwrap())];
            let named = Named::new(Owners::new(directory, attributes));
            let rules = Rules::of(transform, "x_").with_owners(Some(named.owners().clone()));
            let store = SeriesStore::new(Box::new(rules), Limits::default());
            Self { publisher, named, store, generation: 0, counted: 0.0, begun: Instant::now() }
        }

        fn publish(&mut self, containers: Vec<Arc<Container>>) {
            self.generation += 1;
            self.publisher.send(Arc::new(Snapshot::new(self.generation, containers))).unwrap();
        }

        fn page(&mut self, cgroups: &[&str]) -> Vec<String> {
            self.counted += 10.0;
            self.begun += Duration::from_secs(1);
            self.named.keep_current(&mut self.store);
            self.store.begin(self.begun);
            let acc: &mut dyn Accumulator = &mut self.store;
            for cgroup in cgroups {
                acc.put(&TIME, &[cgroup.as_bytes()], self.counted);
            }
            acc.put(&OTHER, &[], 1.0);
            self.store.publish();
            let page = Encoder::new().encode(Format::Text, &[self.store.frame()]);
            let lines = String::from_utf8_lossy(&page);
            lines.lines().filter(|line| line.starts_with("x_time")).map(str::to_owned).collect()
        }
    }

    #[test]
    fn a_name_that_comes_late_comes_changes_and_goes_and_what_is_counted_goes_on() {
        let mut bench = Bench::new(&TransformConfig::default());
        let group = GROUP;
        let bare = |value: u32| vec![format!("x_time_total{{cgroup=\"{group}\"}} {value}")];
        assert_eq!(bench.page(&[group]), bare(10));
        bench.publish(vec![container("c1", "app", pod("web"))]);
        let own = |name: &str, value: u32| {
            let labels = format!("namespace=\"shop\",pod=\"web\",container=\"{name}\",team=\"redish\"");
            vec![format!("x_time_total{{cgroup=\"{group}\",{labels}}} {value}")]
        };
        assert_eq!(bench.page(&[group]), own("app", 20));
        let epoch = bench.store.frame().epoch();
        bench.publish(vec![container("c1", "app", pod("web")), container("c2", "side", pod("db"))]);
        assert_eq!(bench.page(&[group]), own("app", 30));
        assert_eq!(bench.store.frame().epoch(), epoch, "nothing was born for somebody else");
        bench.publish(vec![container("c1", "renamed", pod("web"))]);
        assert_eq!(bench.page(&[group]), own("renamed", 40));
        bench.publish(Vec::new());
        assert_eq!(bench.page(&[group]), bare(50));
    }

    #[test]
    fn groups_below_a_container_are_its_own_and_the_group_of_a_pod_has_no_container() {
        let mut bench = Bench::new(&TransformConfig::default());
        bench.publish(vec![container("c1", "app", pod("web"))]);
        let page = bench.page(&[&format!("{GROUP}/init"), POD, "kubepods", &format!("{POD}7")]);
        assert!(page[0].contains("container=\"app\""), "{page:?}");
        assert!(page[1].contains("pod=\"web\"") && !page[1].contains("container"), "{page:?}");
        assert!(page[2..].iter().all(|line| !line.contains("pod=")), "{page:?}");
    }

    #[test]
    fn tags_are_stronger_and_rates_go_on() {
        let rate = ValueRule {
            pattern: "time_total".to_owned(),
            manipulation: crate::pipeline::Manipulation::Rate,
            keep_negative: false,
        };
        let tags = vec![("pod".to_owned(), "tag".to_owned())];
        let mut bench =
            Bench::new(&TransformConfig { tags, values: vec![rate], ..TransformConfig::default() });
        let group = GROUP;
        assert_eq!(bench.page(&[group]), Vec::<String>::new());
        bench.publish(vec![container("c1", "app", pod("web"))]);
        let page = bench.page(&[group]);
        assert!(page[0].contains("pod=\"tag\"") && page[0].contains("container=\"app\""), "{page:?}");
        assert!(page[0].ends_with(" 10"), "{page:?}");
    }

    #[test]
    fn what_a_pod_says_is_tamed() {
        assert_eq!(tame("a\u{7}b"), "ab");
        assert_eq!(tame(&"ä".repeat(100)).chars().count(), 64);
    }
}
