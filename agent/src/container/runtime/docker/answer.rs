//! What docker answers, as far as it is of interest.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::container::{
    Role, Runtime,
    runtime::labels::{self, CONTAINER_NAME, DOCKER_SANDBOX, DOCKER_TYPE},
    source::Description,
};

/// Who answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Version {
    #[serde(rename = "Version")]
    pub(super) engine: String,
    #[serde(rename = "ApiVersion")]
    newest: String,
    #[serde(rename = "MinAPIVersion")]
    oldest: String,
    components: Vec<Component>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Component {
    name: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(rename = "MinAPIVersion")]
    oldest: String,
}

impl Version {
    /// What it calls itself.
    pub(super) fn name(&self) -> &str {
        self.components.first().map_or("", |component| &component.name)
    }

    /// The version of podman's own API to use, if it is a podman.
    pub(super) fn podman(&self) -> Option<String> {
        let podman = self.components.iter().find(|component| component.name.starts_with("Podman"))?;
        let oldest = podman.details.oldest.as_str();
        Some(if is_version(oldest) { oldest } else { "4.0.0" }.to_owned())
    }

    /// The version to use: the wanted one, or the closest that it has.
    pub(super) fn api(&self, wanted: &str) -> String {
        let newest = Some(self.newest.as_str()).filter(|version| is_version(version));
        let oldest = Some(self.oldest.as_str()).filter(|version| is_version(version));
        let closest = match (oldest, newest) {
            (Some(oldest), _) if parts(oldest) > parts(wanted) => oldest,
            (_, Some(newest)) if parts(newest) < parts(wanted) => newest,
            _ => wanted,
        };
        closest.to_owned()
    }
}

/// Whether it may stand in a URL as a version.
fn is_version(text: &str) -> bool {
    !text.is_empty() && text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn parts(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// A container in a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Listed {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    labels: Option<BTreeMap<String, String>>,
    host_config: HostConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HostConfig {
    network_mode: String,
    annotations: Option<BTreeMap<String, String>>,
}

impl Listed {
    pub(super) fn describe(self) -> Description {
        let written = self.labels.unwrap_or_default();
        let in_pod = written.get(CONTAINER_NAME).cloned();
        let is_sandbox = written.get(DOCKER_TYPE).is_some_and(|kind| kind == DOCKER_SANDBOX);
        let labels = labels::bounded(written);
        // Of the names, those with a further slash are those that it has in others.
        let own =
            |name: &String| name.strip_prefix('/').filter(|name| !name.contains('/')).map(str::to_owned);
        let name = in_pod.or_else(|| self.names.unwrap_or_default().iter().find_map(own));
        let image = Some(self.image).filter(|image| !image.starts_with("sha256:"));
        Description {
            id: self.id,
            name: labels::name(name.unwrap_or_default()),
            runtime: Some(Runtime::Docker),
            role: Some(if is_sandbox { Role::Sandbox } else { Role::Workload }),
            pod: labels::pod(&labels),
            image: labels::name(image.unwrap_or_default()),
            annotations: labels::bounded(self.host_config.annotations.unwrap_or_default()),
            labels,
            host_network: is_on_host(&self.host_config.network_mode),
            ..Description::default()
        }
    }
}

/// Whether it has the host's network; not known of one that has that of another container.
fn is_on_host(mode: &str) -> Option<bool> {
    match mode {
        "" => None,
        "host" => Some(true),
        mode if mode.starts_with("container:") => None,
        _ => Some(false),
    }
}

/// Takes the whole events off the front of what has come, and returns who has got another name.
pub(super) fn renamed(waiting: &mut Vec<u8>) -> Vec<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Event {
        actor: Actor,
    }
    #[derive(Deserialize)]
    struct Actor {
        #[serde(rename = "ID")]
        id: String,
    }
    let Some(end) = waiting.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
    let lines: Vec<u8> = waiting.drain(..=end).collect();
    let events =
        lines.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Event>(line).ok());
    events.map(|event| event.actor.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(json: &str) -> Version {
        serde_json::from_str(json).expect("a version")
    }

    #[test]
    fn the_version_is_one_that_both_know() {
        let between = |oldest: &str, newest: &str| {
            version(&format!(r#"{{"ApiVersion":"{newest}","MinAPIVersion":"{oldest}"}}"#)).api("1.41")
        };
        assert_eq!(between("1.12", "1.41"), "1.41");
        assert_eq!(between("1.44", "1.52"), "1.44");
        assert_eq!(between("1.12", "1.9"), "1.9", "nine is less than forty");
        assert_eq!(between("", ""), "1.41");
        assert_eq!(between("../x", "1.52"), "1.41");
    }

    #[test]
    fn podman_says_so_in_its_components() {
        let podman = version(
            r#"{"Components":[{"Name":"Podman Engine","Version":"4.3.1","Details":{"APIVersion":"4.3.1",
                "MinAPIVersion":"4.0.0"}},{"Name":"Conmon"}],"Version":"4.3.1","ApiVersion":"1.41"}"#,
        );
        assert_eq!(podman.podman().as_deref(), Some("4.0.0"));
        let docker = version(
            r#"{"Platform":{"Name":""},"Components":[{"Name":"Engine","Details":{"ApiVersion":"1.41",
                "MinAPIVersion":"1.12"}}],"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#,
        );
        assert_eq!((docker.podman(), docker.name()), (None, "Engine"));
    }

    fn described(json: &str) -> Description {
        serde_json::from_str::<Listed>(json).expect("a container").describe()
    }

    #[test]
    fn a_container_has_its_own_name_and_labels() {
        let own = described(
            r#"{"Id":"c1","Names":["/proxy/web","/web"],"Image":"localhost/busybox:1.35","ImageID":"sha256:ab",
                "Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"},"State":"running",
                "HostConfig":{"NetworkMode":"default"},"NetworkSettings":{"Networks":{}}}"#,
        );
        assert_eq!((own.id.as_str(), own.name.as_str()), ("c1", "web"));
        assert_eq!((own.pod, own.host_network), (None, Some(false)));
        assert_eq!(own.labels["com.docker.compose.service"], "web");
        assert_eq!(own.image, "localhost/busybox:1.35");
        let bare = described(r#"{"Id":"c2","Names":null,"Labels":null,"Image":"sha256:ab","HostConfig":{}}"#);
        assert_eq!((bare.name.as_str(), bare.image.as_str(), bare.host_network), ("", "", None));
    }

    #[test]
    fn networks_are_the_hosts_or_not_or_anothers() {
        assert_eq!(is_on_host("host"), Some(true));
        assert_eq!(is_on_host("bridge"), Some(false));
        assert_eq!(is_on_host("container:ab"), None);
    }

    #[test]
    fn pods_of_a_kubelet_keep_their_names() {
        let sandbox = described(
            r#"{"Id":"s1","Names":["/k8s_POD_web_shop_u1_0"],"Labels":{"io.kubernetes.docker.type":"podsandbox",
                "io.kubernetes.container.name":"POD","io.kubernetes.pod.name":"web","io.kubernetes.pod.uid":"u1",
                "io.kubernetes.pod.namespace":"shop"}}"#,
        );
        assert_eq!(sandbox.role, Some(Role::Sandbox));
        let pod = sandbox.pod.expect("a pod");
        assert_eq!((pod.name.as_str(), pod.namespace.as_str()), ("web", "shop"));
    }

    #[test]
    fn events_are_taken_line_by_line() {
        let mut waiting =
            br#"{"Type":"container","Action":"rename","Actor":{"ID":"c1","Attributes":{}}}"#.to_vec();
        assert!(renamed(&mut waiting).is_empty(), "it may go on");
        waiting.extend(b"\nnonsense\n{\"Actor\":{\"ID\":\"c2\"}}\n{\"Actor\":");
        assert_eq!(renamed(&mut waiting), ["c1", "c2"]);
        assert_eq!(waiting, b"{\"Actor\":");
    }

    proptest::proptest! {
        #[test]
        fn however_events_are_cut_they_are_the_same(
            ids in proptest::collection::vec("[a-z0-9]{1,8}", 0..8),
            cut in 1usize..40,
        ) {
            let line = |id: &String| format!("{{\"Type\":\"container\",\"Actor\":{{\"ID\":\"{id}\"}}}}\n");
            let all: String = ids.iter().map(line).collect();
            let mut waiting = Vec::new();
            let mut taken = Vec::new();
            for bytes in all.as_bytes().chunks(cut) {
                waiting.extend_from_slice(bytes);
                taken.extend(renamed(&mut waiting));
            }
            proptest::prop_assert_eq!(taken, ids);
            proptest::prop_assert!(waiting.is_empty());
        }

        #[test]
        fn anything_that_is_no_event_is_passed_over(mut bytes in proptest::collection::vec(0u8.., 0..200)) {
            renamed(&mut bytes);
            proptest::prop_assert!(!bytes.contains(&b'\n'));
        }
    }
}
