//! Who is to be asked.

use std::path::Path;

use super::{PodsConfig, asked::Asked, kubelet::Kubelet, place::Place};
use crate::{container::source::Source, source::Roots};

/// Where runtimes listen unless they are told otherwise. A link among them leads to what it means on the host.
const WELL_KNOWN: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
];

/// Everybody who may know what containers are called, in the order in which they are believed. Nobody is asked
/// anything yet.
pub fn sources(config: &PodsConfig, roots: &Roots) -> Vec<Box<dyn Source>> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if !config.enabled {
        return sources;
    }
    for socket in &config.sockets {
        let path = socket.strip_prefix("unix://").unwrap_or(socket);
        sources.push(Box::new(Asked::given(Place::new(Path::new("/"), path))));
    }
    if config.sockets.is_empty() {
        for path in WELL_KNOWN {
            sources.push(Box::new(Asked::guessed(Place::new(&roots.rootfs, path))));
        }
    }
    if let Some(url) = &config.kubelet {
        sources.push(Box::new(Kubelet::new(url, config)));
    }
    sources
}
