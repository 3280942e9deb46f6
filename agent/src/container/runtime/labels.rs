//! What Kubernetes writes on containers, and how much of what anybody writes there is remembered.

use std::collections::BTreeMap;

use crate::container::Pod;

/// The name of a container in its pod.
pub(super) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// What the docker of a Kubernetes node says a container is there for.
pub(super) const DOCKER_TYPE: &str = "io.kubernetes.docker.type";
/// That it holds the namespaces of a pod.
pub(super) const DOCKER_SANDBOX: &str = "podsandbox";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";

/// Entries of a map that are remembered: more than discovery keeps.
const MOST: usize = 128;
/// Bytes of a text that discovery keeps: what is longer is a document, as the whole manifest of a pod is.
const LONGEST: usize = 1024;

/// What the owner of a container has written on it, as far as it has to be remembered: discovery leaves out what is too
/// long or too much and counts it, so that has to be seen of it, and no more.
pub(super) fn bounded(written: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    written.into_iter().take(MOST).map(|(key, value)| (name(key), name(value))).collect()
}

/// A name or a value, of which discovery sees whether it is too long.
pub(super) fn name(mut text: String) -> String {
    if let Some(end) = (LONGEST + 1..text.len()).find(|at| text.is_char_boundary(*at)) {
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

/// The pod that the labels of a container name, without what only its sandbox or the kubelet knows.
pub(super) fn pod(labels: &BTreeMap<String, String>) -> Option<Pod> {
    let of = |label: &str| labels.get(label).cloned().unwrap_or_default();
    let pod = Pod { uid: of(POD_UID), name: of(POD_NAME), namespace: of(POD_NAMESPACE), ..Pod::default() };
    (!pod.uid.is_empty() && !pod.name.is_empty()).then_some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{merge::Told, source::Description};

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pod_needs_an_identity_and_a_name() {
        let labels = map(&[(POD_NAME, "web"), (POD_NAMESPACE, "shop"), (POD_UID, "u1"), ("app", "web")]);
        let named = pod(&labels).expect("a pod");
        assert_eq!(
            (named.name.as_str(), named.namespace.as_str(), named.uid.as_str()),
            ("web", "shop", "u1")
        );
        assert!(named.labels.is_empty(), "those of a container are not those of its pod");
        assert_eq!(pod(&map(&[(POD_NAME, "web")])), None);
        assert_eq!(pod(&map(&[])), None);
    }

    #[test]
    fn of_documents_and_floods_it_is_seen_that_they_are() {
        let long = "\u{e9}".repeat(100 * LONGEST);
        let fits = "x".repeat(LONGEST);
        let cut = bounded(map(&[("manifest", &long), ("app", &fits), (&long, "y")]));
        assert!(cut.iter().all(|(key, value)| key.len() + value.len() < 2 * LONGEST));
        assert_eq!(cut["app"], fits);
        let many = bounded((0..10 * MOST).map(|n| (format!("label{n:05}"), "1".to_owned())));
        assert_eq!(many.len(), MOST);

        let mut told = Told::default();
        let description = Description { labels: cut, name: name(long), ..Description::default() };
        assert_eq!(told.take(0, description), 3);
        let flood = Description { annotations: many, ..Description::default() };
        assert!(told.take(0, flood) > 0);
    }
}
