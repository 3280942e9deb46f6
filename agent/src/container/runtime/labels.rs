//! What Kubernetes writes on containers, and how much of what anybody writes there is kept.

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

/// Entries of a map that are kept.
const MOST: usize = 128;
/// Bytes of a name or a value that is kept: what is longer is a document, as the whole manifest of a pod is.
const LONGEST: usize = 1024;

/// What the owner of a container has written on it, within bounds: what is too long or too much is left out and counted.
pub(super) fn bounded(written: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    let mut left_out = 0;
    for (name, value) in written {
        if kept.len() < MOST && name.len() <= LONGEST && value.len() <= LONGEST {
            kept.insert(name, value);
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        metrics::counter!("pitot_agent_container_metadata_left_out_total").increment(left_out);
    }
    kept
}

/// A name, unless it is too long to be one.
pub(super) fn name(text: String) -> String {
    if text.len() <= LONGEST { text } else { String::new() }
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
    fn documents_and_floods_are_left_out() {
        let long = "x".repeat(LONGEST + 1);
        let fits = "x".repeat(LONGEST);
        let kept = bounded(map(&[("manifest", &long), ("app", &fits), (&long, "y")]));
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["app"]);
        let many = (0..10 * MOST).map(|n| (format!("label{n:05}"), "1".to_owned()));
        assert_eq!(bounded(many).len(), MOST);
        assert_eq!(name(long), "");
    }
}
