//! The content of runtimes' files. Whatever is not as it should be is as if it were not there.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

use super::super::{Pod, Role, Runtime, source::Description};

type Map = BTreeMap<String, String>;

/// What of a bundle's `config.json` matters.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: Map,
    #[serde(default)]
    linux: Linux,
}

#[derive(Default, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Vec<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    path: String,
}

/// From the `config.json` of a bundle.
pub(super) fn of_bundle(content: &[u8]) -> Option<Description> {
    let bundle: Bundle = serde_json::from_slice(content).ok()?;
    let mut found = of_annotations(bundle.annotations);
    // One that is entered by its path is somebody else's, and may be the host's.
    match bundle.linux.namespaces.iter().find(|namespace| namespace.kind == "network") {
        None if !bundle.linux.namespaces.is_empty() => found.host_network = Some(true),
        Some(namespace) if namespace.path.is_empty() => found.host_network = Some(false),
        _ => {}
    }
    Some(found)
}

/// What of runc's `state.json` matters.
#[derive(Deserialize)]
struct State {
    #[serde(default)]
    init_process_pid: u32,
    #[serde(default)]
    config: Config,
}

#[derive(Default, Deserialize)]
struct Config {
    /// Annotations, each as `key=value`.
    #[serde(default)]
    labels: Vec<String>,
}

/// From runc's `state.json`.
pub(super) fn of_runc(content: &[u8]) -> Option<Description> {
    let state: State = serde_json::from_slice(content).ok()?;
    let pairs = state.config.labels.iter().filter_map(|pair| pair.split_once('='));
    let annotations =
        pairs.filter(|(key, _)| *key != "bundle").map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut found = of_annotations(annotations.collect());
    found.pid = Some(state.init_process_pid).filter(|pid| *pid != 0);
    Some(found)
}

/// What a runtime notes for itself begins like this.
const NOTES: [&str; 4] = ["io.kubernetes.cri", "io.container.manager", "io.podman.annotations.", "nerdctl/"];

/// The annotations that runtimes give their containers.
fn of_annotations(mut all: Map) -> Description {
    let mut take = |keys: &[&str]| {
        let taken: Vec<_> = keys.iter().filter_map(|key| all.remove(*key)).collect();
        taken.into_iter().find(|value| !value.is_empty()).unwrap_or_default()
    };
    let kind = take(&["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]);
    let name = take(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]);
    let image = take(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]);
    let handler = take(&["io.containerd.cri.runtime-handler", "io.kubernetes.cri-o.RuntimeHandler"]);
    let mut pod = Pod {
        name: take(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: take(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
        uid: take(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
        ip: take(&["io.kubernetes.cri-o.IP.0"]),
        ..Pod::default()
    };
    let role = match kind.as_str() {
        "sandbox" => Some(Role::Sandbox),
        "container" => Some(Role::Workload),
        _ => None,
    };
    let (labels, annotations) =
        (take(&["io.kubernetes.cri-o.Labels"]), take(&["io.kubernetes.cri-o.Annotations"]));
    let [labels, annotations]: [Map; 2] =
        [labels, annotations].map(|text| json(text.as_bytes()).unwrap_or_default());
    all.retain(|key, _| !NOTES.iter().any(|own| key.starts_with(own)));
    all.extend(annotations);
    let mut found = Description { name, role, image, handler, ..Description::default() };
    if role == Some(Role::Sandbox) {
        // What is said of it is said of its pod.
        (pod.labels, pod.annotations) = (labels, all);
        found.name = String::new();
    } else {
        (found.labels, found.annotations) = (labels, all);
    }
    found.pod = (!pod.name.is_empty() || !pod.uid.is_empty()).then_some(pod);
    found
}

/// What of Docker's `config.v2.json` matters.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    #[serde(default)]
    name: String,
    config: DockerConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    #[serde(default)]
    image: String,
    labels: Option<Map>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerHost {
    #[serde(default)]
    network_mode: String,
    #[serde(default)]
    runtime: String,
}

/// From Docker's `config.v2.json` and `hostconfig.json`.
pub(super) fn of_docker(content: &[u8], host: Option<&[u8]>) -> Option<Description> {
    let docker: Docker = json(content)?;
    let host: Option<DockerHost> = host.and_then(json);
    let mut labels = docker.config.labels.unwrap_or_default();
    // As cri-dockerd labels those of Kubernetes.
    let mut take = |key: &str| labels.remove(&format!("io.kubernetes.{key}")).unwrap_or_default();
    let (kind, own) = (take("docker.type"), take("container.name"));
    let pod = Pod {
        uid: take("pod.uid"),
        name: take("pod.name"),
        namespace: take("pod.namespace"),
        ..Pod::default()
    };
    let is_sandbox = kind == "podsandbox";
    let name = if own.is_empty() { docker.name.trim_start_matches('/').to_owned() } else { own };
    Some(Description {
        name: if is_sandbox { String::new() } else { name },
        runtime: Some(Runtime::Docker),
        role: is_sandbox.then_some(Role::Sandbox),
        pod: (!pod.uid.is_empty()).then_some(pod),
        image: docker.config.image,
        labels,
        host_network: host.as_ref().and_then(|host| match host.network_mode.as_str() {
            "host" => Some(true),
            mode if mode.starts_with("container:") => None,
            _ => Some(false),
        }),
        handler: host.map(|host| host.runtime).unwrap_or_default(),
        ..Description::default()
    })
}

/// What a storage has of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) image: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(rename = "image-name", default)]
    image: String,
}

/// From the list of a storage's containers.
pub(super) fn stored(list: &[u8], id: &str) -> Option<Stored> {
    let entries: Vec<Entry> = json(list)?;
    let entry = entries.into_iter().find(|entry| entry.id == id)?;
    let metadata: Metadata = json(entry.metadata.as_bytes()).unwrap_or_default();
    Some(Stored { name: entry.names.into_iter().next().unwrap_or_default(), image: metadata.image })
}

fn json<T: DeserializeOwned>(content: &[u8]) -> Option<T> {
    serde_json::from_slice(content).ok()
}
