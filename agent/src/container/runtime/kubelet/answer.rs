//! The pods of a node, as far as they are of interest.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::container::{
    Pod, Role,
    runtime::{labels, trouble::Trouble},
    source::Description,
};

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pod: Pod,
    host_network: Option<bool>,
    containers: HashMap<String, Named>,
}

/// A container of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    name: String,
    image: String,
}

impl Known {
    /// What that says of one of the pod's containers.
    pub(super) fn describe(&self, id: &str) -> Description {
        let named = self.containers.get(id).cloned();
        Description {
            id: id.to_owned(),
            // Its sandbox is not among them.
            role: named.is_some().then_some(Role::Workload),
            pod: Some(self.pod.clone()),
            host_network: self.host_network,
            name: named.as_ref().map(|named| named.name.clone()).unwrap_or_default(),
            image: named.map(|named| named.image).unwrap_or_default(),
            ..Description::default()
        }
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Metadata {
    uid: String,
    name: String,
    namespace: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    host_network: bool,
    containers: Vec<Wanted>,
    init_containers: Vec<Wanted>,
    ephemeral_containers: Vec<Wanted>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    name: String,
    image: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: String,
    container_statuses: Vec<Running>,
    init_container_statuses: Vec<Running>,
    ephemeral_container_statuses: Vec<Running>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Running {
    name: String,
    #[serde(rename = "containerID")]
    container_id: String,
}

/// The pods of an answer by their UIDs.
pub(super) fn pods(answer: &[u8]) -> Result<HashMap<String, Known>, Trouble> {
    let list: List = serde_json::from_slice(answer)
        .map_err(|error| Trouble::Refused(format!("not a list of pods: {error}")))?;
    let items = list.items.unwrap_or_default().into_iter();
    Ok(items
        .map(known)
        .filter(|known| !known.pod.uid.is_empty())
        .map(|known| (known.pod.uid.clone(), known))
        .collect())
}

fn known(item: Item) -> Known {
    let Item { metadata, spec, status } = item;
    let wanted = || spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers);
    let running =
        [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
    let containers = running.into_iter().flatten().filter_map(|running| {
        // `containerd://ID`
        let (_, id) = running.container_id.split_once("://")?;
        let image = wanted().find(|wanted| wanted.name == running.name).map(|wanted| wanted.image.clone());
        let image = labels::name(image.unwrap_or_default());
        Some((id.to_owned(), Named { name: labels::name(running.name), image }))
    });
    let containers = containers.collect();
    let pod = Pod {
        uid: metadata.uid,
        name: labels::name(metadata.name),
        namespace: labels::name(metadata.namespace),
        labels: labels::bounded(metadata.labels.unwrap_or_default()),
        annotations: labels::bounded(metadata.annotations.unwrap_or_default()),
        // That of the node is not one of its own.
        ip: if spec.host_network { String::new() } else { labels::name(status.pod_ip) },
    };
    Known { pod, host_network: Some(spec.host_network), containers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_what_the_api_says() {
        let answer = br#"{"kind":"PodList","items":[
            {"metadata":{"name":"web","namespace":"shop","uid":"u1","labels":{"app":"web"},
              "annotations":{"prometheus.io/port":"8080"}},
             "spec":{"containers":[{"name":"app","image":"nginx:1"},{"name":"side","image":"envoy:2"}]},
             "status":{"podIP":"10.0.0.7","containerStatuses":[
               {"name":"side","containerID":"containerd://c2","image":"docker.io/envoyproxy/envoy:2"},
               {"name":"app","image":"x"}]}},
            {"metadata":{"name":"proxy","namespace":"kube-system","uid":"u2"},
             "spec":{"hostNetwork":true},"status":{"podIP":"192.0.2.1"}},
            {"metadata":{"name":"no identity"}}]}"#;
        let pods = pods(answer).expect("pods");
        assert_eq!(pods.len(), 2);
        let side = pods["u1"].describe("c2");
        assert_eq!((side.name.as_str(), side.image.as_str()), ("side", "envoy:2"));
        assert_eq!((side.role, side.host_network), (Some(Role::Workload), Some(false)));
        let pod = side.pod.expect("a pod");
        assert_eq!((pod.ip.as_str(), pod.annotations["prometheus.io/port"].as_str()), ("10.0.0.7", "8080"));

        let proxy = pods["u2"].describe("c9");
        assert_eq!((proxy.name.as_str(), proxy.role, proxy.host_network), ("", None, Some(true)));
        assert_eq!(proxy.pod.map(|pod| pod.ip), Some(String::new()));
    }

    #[test]
    fn an_empty_node_has_none_and_nonsense_is_an_error() {
        assert_eq!(pods(br#"{"items":null}"#), Ok(HashMap::new()));
        assert_eq!(pods(b"{}"), Ok(HashMap::new()));
        assert!(matches!(pods(b"Unauthorized"), Err(Trouble::Refused(_))));
    }
}
