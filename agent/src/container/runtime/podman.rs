//! Podman by its own API, which knows pods.
//!
//! Where it runs only for as long as somebody talks to it, it is left to sleep: its events are not followed, and it
//! is asked when a container of its own has come.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    docker::{filter, known, read},
    http::{self, Ask},
    labels,
    place::Place,
    trouble::Trouble,
};
use crate::container::{
    Pod, Role, Runtime,
    source::{Description, Found},
};

/// A podman.
#[derive(Debug)]
pub(super) struct Podman {
    place: Place,
    version: String,
    calls: u64,
}

impl Podman {
    /// One that has said who it is, and which version of its API to use.
    pub(super) const fn new(place: Place, version: String) -> Self {
        Self { place, version, calls: 1 }
    }

    pub(super) const fn calls(&self) -> u64 {
        self.calls
    }

    /// Describes those that it knows, with one call.
    pub(super) async fn describe(&mut self, found: &[Found]) -> Result<Vec<Description>, Trouble> {
        self.calls += 1;
        let question = format!("all=true&pod=true&filters={}", filter(found));
        let target = format!("/v{}/libpod/containers/json?{question}", self.version);
        let answer = http::get(self.place.connect().await?, &Ask::of(&target)).await?;
        // None at all is not an empty list.
        let listed: Option<Vec<Listed>> = read(&answer)?;
        Ok(known(listed.unwrap_or_default().into_iter().map(Listed::describe), found))
    }
}

/// A container in a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Listed {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    labels: Option<BTreeMap<String, String>>,
    is_infra: bool,
    pid: u32,
    pod: String,
    pod_name: String,
}

impl Listed {
    fn describe(self) -> Description {
        let labels = labels::bounded(self.labels.unwrap_or_default());
        let pod = Pod { uid: self.pod, name: labels::name(self.pod_name), ..Pod::default() };
        let name = self.names.and_then(|names| names.into_iter().next());
        Description {
            id: self.id,
            name: labels::name(name.unwrap_or_default()),
            runtime: Some(Runtime::Podman),
            role: Some(if self.is_infra { Role::Sandbox } else { Role::Workload }),
            pod: (!pod.uid.is_empty()).then_some(pod),
            image: labels::name(self.image),
            labels,
            pid: (self.pid != 0).then_some(self.pid),
            ..Description::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(json: &str) -> Description {
        serde_json::from_str::<Listed>(json).expect("a container").describe()
    }

    #[test]
    fn a_container_is_in_a_pod_or_not() {
        let web = described(
            r#"{"Id":"c1","Names":["web"],"Image":"localhost/busybox:1.35","Labels":{"app":"web"},"IsInfra":false,
                "Pid":4711,"Pod":"p1","PodName":"shop","State":"running","StartedAt":1700000000}"#,
        );
        assert_eq!((web.name.as_str(), web.pid, web.role), ("web", Some(4711), Some(Role::Workload)));
        let pod = web.pod.expect("a pod");
        assert_eq!((pod.uid.as_str(), pod.name.as_str(), pod.namespace.as_str()), ("p1", "shop", ""));

        let infra = described(r#"{"Id":"c2","Names":["p1-infra"],"IsInfra":true,"Labels":null,"Pod":"p1"}"#);
        assert_eq!((infra.role, infra.pid), (Some(Role::Sandbox), None));
        let alone = described(r#"{"Id":"c3","Names":["alone"],"Pod":"","PodName":""}"#);
        assert_eq!(alone.pod, None);
    }
}
