//! From what the CRI says to what discovery wants to know.

use std::collections::{BTreeMap, HashMap};

use super::messages::{
    Container, ImageSpec, LinuxPodSandboxStatus, NODE, PodSandbox, PodSandboxMetadata, PodSandboxStatus,
};
use crate::container::{Pod, Role, Runtime, runtime::labels, source::Description};

/// What is known of a sandbox, which holds for all containers of its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sandbox {
    pub(super) pod: Pod,
    /// Whether that is all there is to know.
    pub(super) is_complete: bool,
    handler: String,
    host_network: Option<bool>,
}

impl Sandbox {
    /// From a list, which does not say all.
    pub(super) fn listed(sandbox: PodSandbox) -> Self {
        let pod = pod(sandbox.metadata, sandbox.labels, sandbox.annotations);
        Self { pod, is_complete: false, handler: labels::name(sandbox.runtime_handler), host_network: None }
    }

    /// From its status.
    pub(super) fn of(status: PodSandboxStatus) -> Self {
        let mut pod = pod(status.metadata, status.labels, status.annotations);
        let host_network = is_on_host(status.linux);
        if host_network != Some(true) {
            pod.ip = labels::name(status.network.unwrap_or_default().ip);
        }
        Self { pod, is_complete: true, handler: labels::name(status.runtime_handler), host_network }
    }

    pub(super) fn describe(&self, id: &str, runtime: Runtime) -> Description {
        Description {
            id: id.to_owned(),
            runtime: said(runtime),
            role: Some(Role::Sandbox),
            pod: Some(self.pod.clone()),
            handler: self.handler.clone(),
            host_network: self.host_network,
            ..Description::default()
        }
    }
}

fn pod(
    metadata: Option<PodSandboxMetadata>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> Pod {
    let PodSandboxMetadata { name, uid, namespace } = metadata.unwrap_or_default();
    Pod {
        uid: labels::name(uid),
        name: labels::name(name),
        namespace: labels::name(namespace),
        labels: labels::bounded(labels),
        annotations: labels::bounded(annotations),
        ip: String::new(),
    }
}

fn is_on_host(linux: Option<LinuxPodSandboxStatus>) -> Option<bool> {
    Some(linux?.namespaces?.options?.network == NODE)
}

/// What a container is.
pub(super) fn container(
    container: Container,
    sandbox: Option<&Sandbox>,
    images: &HashMap<String, String>,
    runtime: Runtime,
) -> Description {
    let image = container.image.unwrap_or_default();
    let image = match image_name(&image) {
        Some(name) => name.to_owned(),
        None => images.get(&image.image).cloned().unwrap_or_default(),
    };
    let labels = labels::bounded(container.labels);
    Description {
        id: container.id,
        name: labels::name(container.metadata.unwrap_or_default().name),
        runtime: said(runtime),
        role: Some(Role::Workload),
        pod: sandbox.map(|sandbox| sandbox.pod.clone()).or_else(|| labels::pod(&labels)),
        image: labels::name(image),
        labels,
        annotations: labels::bounded(container.annotations),
        handler: sandbox.map(|sandbox| sandbox.handler.clone()).unwrap_or_default(),
        host_network: sandbox.and_then(|sandbox| sandbox.host_network),
        ..Description::default()
    }
}

/// One that has another name than those that are known does not know better than the control group.
fn said(runtime: Runtime) -> Option<Runtime> {
    (runtime != Runtime::Unknown).then_some(runtime)
}

/// The name of an image, unless only its digest is known: kubelets ask for what they have pulled, by digest.
pub(super) fn image_name(image: &ImageSpec) -> Option<&str> {
    if !image.user_specified_image.is_empty() {
        return Some(&image.user_specified_image);
    }
    let name = image.image.as_str();
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!name.is_empty() && !is_digest).then_some(name)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn an_image_is_what_it_was_asked_for_as() {
        let spec = |image: &str, user: &str| ImageSpec {
            image: image.to_owned(),
            user_specified_image: user.to_owned(),
        };
        let digest = format!("sha256:{}", "a1".repeat(32));
        assert_eq!(image_name(&spec(&digest, "nginx:1")), Some("nginx:1"));
        assert_eq!(image_name(&spec("localhost/busybox:1.35", "")), Some("localhost/busybox:1.35"));
        assert_eq!(image_name(&spec(&digest, "")), None);
        assert_eq!(image_name(&spec(&"a1".repeat(32), "")), None);
        assert_eq!(image_name(&spec("", "")), None);
        let by_digest = format!("web@{digest}");
        assert_eq!(image_name(&spec(&by_digest, "")), Some(by_digest.as_str()), "a name with a digest");
    }

    /// A sandbox as it is on the wire: metadata, a state, a network, namespaces of the node, a label, a handler.
    fn recorded() -> Vec<u8> {
        let mut bytes = vec![0x0a, 2, b's', b'1', 0x12, 15, 0x0a, 3];
        bytes.extend(b"web\x12\x02u1\x1a\x04shop");
        bytes.extend([0x18, 1, 0x20, 9]);
        bytes.extend([0x2a, 10, 0x0a, 8]);
        bytes.extend(b"10.1.2.3");
        bytes.extend([0x32, 6, 0x0a, 4, 0x12, 2, 0x08, 2]);
        bytes.extend([0x3a, 10, 0x0a, 3]);
        bytes.extend(b"app\x12\x03web");
        bytes.extend([0x4a, 5]);
        bytes.extend(b"runsc");
        bytes
    }

    #[test]
    fn a_sandbox_is_read_from_its_status() {
        let mut bytes = recorded();
        let status = PodSandboxStatus::decode(&bytes[..]).expect("a status");
        let sandbox = Sandbox::of(status);
        let said = sandbox.describe("s1", Runtime::Containerd);
        let pod = said.pod.expect("a pod");
        assert_eq!((pod.uid.as_str(), pod.name.as_str(), pod.namespace.as_str()), ("u1", "web", "shop"));
        assert_eq!(pod.labels["app"], "web");
        assert_eq!(pod.ip, "", "an address of the host is not one of its own");
        assert_eq!((said.handler.as_str(), said.host_network), ("runsc", Some(true)));
        assert_eq!(said.role, Some(Role::Sandbox));

        // The same with a network of its own.
        let node = bytes.windows(2).position(|pair| pair == [0x08, 2]).expect("the option");
        bytes[node + 1] = 0;
        let sandbox = Sandbox::of(PodSandboxStatus::decode(&bytes[..]).expect("a status"));
        assert_eq!((sandbox.pod.ip.as_str(), sandbox.host_network), ("10.1.2.3", Some(false)));
    }

    #[test]
    fn a_container_belongs_to_the_pod_of_its_sandbox_or_of_its_labels() {
        let labels = [("io.kubernetes.pod.name", "web"), ("io.kubernetes.pod.uid", "u1")];
        let listed = Container {
            id: "c1".to_owned(),
            pod_sandbox_id: "s1".to_owned(),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            image: Some(ImageSpec { image: "ab".repeat(32), ..ImageSpec::default() }),
            ..Container::default()
        };
        let images = HashMap::from([("ab".repeat(32), "busybox:1".to_owned())]);
        let alone = container(listed.clone(), None, &images, Runtime::Unknown);
        assert_eq!(alone.pod.map(|pod| pod.name), Some("web".to_owned()));
        assert_eq!((alone.image.as_str(), alone.host_network), ("busybox:1", None));

        let sandbox = Sandbox::of(PodSandboxStatus::decode(&recorded()[..]).expect("a status"));
        let both = container(listed, Some(&sandbox), &images, Runtime::Crio);
        assert_eq!(both.pod, Some(sandbox.pod));
        assert_eq!((both.handler.as_str(), both.role), ("runsc", Some(Role::Workload)));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_a_sandbox_or_nothing(bytes in proptest::collection::vec(0u8.., 0..100), cut in 0usize..90) {
            let mut damaged = recorded();
            damaged.truncate(cut);
            damaged.extend(bytes);
            if let Ok(status) = PodSandboxStatus::decode(&damaged[..]) {
                let said = Sandbox::of(status).describe("s1", Runtime::Containerd);
                proptest::prop_assert_eq!(said.role, Some(Role::Sandbox));
            }
        }
    }
}
