//! The targets of a pipeline among the containers of a moment.

use std::{collections::BTreeMap, sync::Arc};

use super::{plan::Plan, selector::Selector};
use crate::container::{Container, Role, Snapshot};

/// Targets of one pipeline; more are left out, and counted.
const MOST: usize = 2_000;
/// Characters of an identity that stand for a name that nobody has told.
const SHORT: usize = 12;

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What tells it from others, for as long as it is there.
    pub(super) identity: String,
    /// Through which container it is checked; none is the host.
    pub(super) container: Option<Arc<Container>>,
    /// Labels of its series: names and values.
    pub(super) labels: Vec<(String, String)>,
}

/// All targets, in the order of their identities, and how many were left out: past the limit, or because another has
/// the same labels.
#[derive(Debug, Default)]
pub(super) struct Targets {
    pub(super) found: Vec<Found>,
    pub(super) left_out: usize,
}

/// Finds the targets of a pipeline.
pub(super) fn find(plan: &Plan, snapshot: &Snapshot) -> Targets {
    let Some(selector) = &plan.selector else {
        let host = Found { identity: "host".to_owned(), container: None, labels: Vec::new() };
        return Targets { found: vec![host], left_out: 0 };
    };
    let all = if plan.is_of_pods() { by_pod(selector, snapshot) } else { by_container(selector, snapshot) };
    let mut by_labels: BTreeMap<Vec<(String, String)>, Found> = BTreeMap::new();
    let mut left_out = 0;
    for (identity, container, has_container) in all {
        let labels = labels(plan, &container, has_container);
        let found = Found { identity, container: Some(container), labels };
        match by_labels.get_mut(&found.labels) {
            // One that was started again is there twice for a moment: the later one counts.
            Some(other) => {
                left_out += 1;
                let age = |found: &Found| {
                    found.container.as_ref().map(|it| (it.started, it.process.map(|process| process.started)))
                };
                if age(other) < age(&found) {
                    *other = found;
                }
            }
            None => {
                by_labels.insert(found.labels.clone(), found);
            }
        }
    }
    let mut found: Vec<Found> = by_labels.into_values().collect();
    found.sort_by(|a, b| a.identity.cmp(&b.identity));
    left_out += found.len().saturating_sub(MOST);
    found.truncate(MOST);
    Targets { found, left_out }
}

/// Identity, container, and whether its name is part of what the target is called.
type Chosen = (String, Arc<Container>, bool);

fn by_container(selector: &Selector, snapshot: &Snapshot) -> Vec<Chosen> {
    let matching = snapshot.containers.iter().filter(|container| selector.matches(container));
    matching.map(|container| (format!("container/{}", container.id), Arc::clone(container), true)).collect()
}

/// Each pod once, whichever of its containers match. What belongs to no pod is a target by itself.
fn by_pod(selector: &Selector, snapshot: &Snapshot) -> Vec<Chosen> {
    let mut members: BTreeMap<String, (bool, Vec<&Arc<Container>>)> = BTreeMap::new();
    for container in &snapshot.containers {
        let identity = match container.pod.as_deref() {
            Some(pod) if !pod.uid.is_empty() => format!("pod/{}", pod.uid),
            Some(pod) => format!("pod/{}/{}", pod.namespace, pod.name),
            None => format!("container/{}", container.id),
        };
        let (is_wanted, all) = members.entry(identity).or_default();
        *is_wanted |= selector.matches(container);
        all.push(container);
    }
    // The one that holds the namespaces outlives all others; one whose processes are not seen is of no use.
    let use_of = |container: &&Arc<Container>| (container.process.is_none(), container.role != Role::Sandbox);
    let chosen = members.into_iter().filter(|(_, (is_wanted, _))| *is_wanted);
    chosen
        .filter_map(|(identity, (_, all))| {
            let container = Arc::clone(all.into_iter().min_by_key(use_of)?);
            let has_container = container.pod.is_none();
            Some((identity, container, has_container))
        })
        .collect()
}

/// What a target is called. What is empty is no label.
fn labels(plan: &Plan, container: &Container, has_container: bool) -> Vec<(String, String)> {
    let pod = container.pod.as_deref();
    let name = match container.name.as_str() {
        "" => container.id.get(..SHORT).unwrap_or(&container.id),
        name => name,
    };
    let own = [
        ("namespace", pod.map_or("", |pod| pod.namespace.as_str())),
        ("pod", pod.map_or("", |pod| pod.name.as_str())),
        ("container", if has_container { name } else { "" }),
    ];
    let mut labels: Vec<(String, String)> = Vec::new();
    for (label, value) in own {
        if !value.is_empty() {
            labels.push((label.to_owned(), value.to_owned()));
        }
    }
    for (tag, template) in &plan.tags {
        // What it has not is no label either.
        let Ok(value) = template.expand(Some(container)) else { continue };
        match labels.iter_mut().find(|(label, _)| label == tag) {
            Some(label) => label.1 = value,
            None if value.is_empty() => {}
            None => labels.push((tag.clone(), value)),
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            template::Template,
            testing::{container, plan},
        },
        *,
    };

    fn found(plan: &Plan, containers: Vec<Container>) -> Vec<(String, String)> {
        let snapshot = Snapshot::new(1, containers.into_iter().map(Arc::new).collect());
        let all = find(plan, &snapshot).found;
        all.into_iter()
            .map(|found| {
                let labels: Vec<String> =
                    found.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                (found.container.unwrap().id.clone(), labels.join(" "))
            })
            .collect()
    }

    fn pods() -> Vec<Container> {
        let mut sandbox = container("s1", "shop", "web", "");
        sandbox.role = Role::Sandbox;
        let lonely = Container { role: Role::Sandbox, ..container("s9", "shop", "starting", "") };
        let alone = Container { pod: None, ..container("d1", "", "", "redis") };
        vec![
            container("c1", "shop", "web", "app"),
            container("c2", "shop", "web", "proxy"),
            sandbox,
            lonely,
            alone,
        ]
    }

    fn said(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(id, labels)| ((*id).to_owned(), (*labels).to_owned())).collect()
    }

    #[test]
    fn a_pod_is_asked_once_through_what_holds_its_namespaces() {
        let mut plan = plan(Selector { image: Some("*".to_owned()), ..Selector::default() });
        assert_eq!(
            found(&plan, pods()),
            said(&[("d1", "container=redis"), ("s1", "namespace=shop pod=web")])
        );
        // Unless a container is asked for by its name.
        plan.selector = Some(Selector { container: Some("*".to_owned()), ..Selector::default() });
        let all = [
            ("c1", "namespace=shop pod=web container=app"),
            ("c2", "namespace=shop pod=web container=proxy"),
            ("d1", "container=redis"),
        ];
        assert_eq!(found(&plan, pods()), said(&all));
    }

    #[test]
    fn of_two_with_the_same_labels_the_later_one_counts() {
        let mut plan = plan(Selector { container: Some("*".to_owned()), ..Selector::default() });
        plan.tags = vec![
            ("team".to_owned(), Template::parse("{label:team}").unwrap()),
            ("of".to_owned(), Template::parse("{app}").unwrap()),
        ];
        let mut later = container("b2", "shop", "web", "app");
        later.process = later.process.map(|process| crate::container::Process { started: 9, ..process });
        let all = vec![container("c1", "shop", "web", "app"), later];
        assert_eq!(found(&plan, all), said(&[("b2", "namespace=shop pod=web container=app of=web")]));
        let unnamed = vec![container("0123456789abcdef", "shop", "web", "")];
        assert_eq!(found(&plan, unnamed)[0].1, "namespace=shop pod=web container=0123456789ab of=web");
    }
}
