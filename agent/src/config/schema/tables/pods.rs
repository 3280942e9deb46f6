//! The keys of `[pods]`.

use super::Table;
use crate::config::schema::{Key, Slot, Unset};

pub(super) const TABLE: Table = Table {
    name: "pods",
    about: "Containers and pods of this host. That they run is seen from their control groups; what they are called \
            is read from the runtimes' own files and asked of the runtimes, and one that is down or refuses costs \
            its names only.",
    keys: &[
        Key {
            name: "enabled",
            slot: Slot::Bool(|config| &mut config.pods.enabled),
            help: "Whether containers are looked for; without them, no check has a target but the host.",
            unset: None,
        },
        Key {
            name: "sockets",
            slot: Slot::Lines(|config| &mut config.pods.sockets),
            help: "Paths of the sockets of container runtimes, as the agent sees them, most trusted first: of the \
                   CRI, docker or podman, which each is asked. An empty list means the usual places below `rootfs`. The agent's \
                   user must be able to write to them.",
            unset: None,
        },
        Key {
            name: "kubelet",
            slot: Slot::Text(|config| &mut config.pods.kubelet),
            help: "URL of the kubelet, whose list of pods has labels and annotations as they are now. It is read when \
                   a pod has come, at most once in 10 seconds.",
            unset: Some(Unset { means: "it is not asked", example: "\"https://127.0.0.1:10250\"" }),
        },
        Key {
            name: "kubelet_token_file",
            slot: Slot::OptionalPath(|config| &mut config.pods.kubelet_token_file),
            help: "File with the token that the kubelet wants to see, of an account that may `get` `nodes/proxy` \
                   or `nodes/pods`; it is read each time.",
            unset: Some(Unset {
                means: "it is shown none",
                example: "\"/var/run/secrets/kubernetes.io/serviceaccount/token\"",
            }),
        },
        Key {
            name: "kubelet_ca_file",
            slot: Slot::OptionalPath(|config| &mut config.pods.kubelet_ca_file),
            help: "File with the certificates, as PEM, of which one must have signed that of the kubelet.",
            unset: Some(Unset {
                means: "a URL with https needs `kubelet_insecure`",
                example: "\"/etc/kubernetes/pki/ca.crt\"",
            }),
        },
        Key {
            name: "kubelet_insecure",
            slot: Slot::Bool(|config| &mut config.pods.kubelet_insecure),
            help: "Whether any certificate will do: whoever can answer in the kubelet's place learns the token.",
            unset: None,
        },
        Key {
            name: "owner_labels",
            slot: Slot::Bool(|config| &mut config.pods.owner_labels),
            help: "Whether metrics with a label `cgroup` have the labels `namespace`, `pod` and `container` of its owner.",
            unset: None,
        },
        Key {
            name: "labels",
            slot: Slot::Tags(|config| &mut config.pods.labels),
            help: "Labels that these metrics get besides, up to 8, each from `label:NAME` or `annotation:NAME` of the pod.",
            unset: None,
        },
        Key {
            name: "cadvisor",
            slot: Slot::Bool(|config| &mut config.pods.cadvisor),
            help: "Whether figures of control groups are also published under the names that cAdvisor has for the same \
                   numbers, such as `container_cpu_usage_seconds_total`.",
            unset: None,
        },
    ],
};
