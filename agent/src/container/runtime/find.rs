//! Who is to be asked.

use std::path::Path;

use super::{PodsConfig, asked::Asked, kubelet::Kubelet, place::Place};
use crate::{
    container::{Runtime, source::Source},
    source::Roots,
};

/// Where runtimes listen unless they are told otherwise, and what they start. A link among them leads to what it means
/// on the host.
const WELL_KNOWN: [(&str, &[Runtime]); 6] = [
    ("/run/containerd/containerd.sock", &[Runtime::Containerd]),
    ("/run/k3s/containerd/containerd.sock", &[Runtime::Containerd]),
    ("/run/crio/crio.sock", &[Runtime::Crio]),
    // By docker, in groups that may look like containerd's.
    ("/run/cri-dockerd.sock", &[Runtime::Docker, Runtime::Containerd]),
    ("/var/run/docker.sock", &[Runtime::Docker]),
    ("/run/podman/podman.sock", &[Runtime::Podman]),
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
        for (path, runtimes) in WELL_KNOWN {
            sources.push(Box::new(Asked::guessed(Place::new(&roots.rootfs, path), runtimes)));
        }
    }
    if let Some(url) = &config.kubelet {
        sources.push(Box::new(Kubelet::new(url, config)));
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(config: &PodsConfig) -> Vec<String> {
        let roots = Roots::under(Path::new("/host"));
        sources(config, &roots).iter().map(|source| source.name().to_owned()).collect()
    }

    #[test]
    fn the_usual_places_are_those_of_the_host_and_given_ones_are_the_agents() {
        let usual = names(&PodsConfig::default());
        assert_eq!(usual.len(), WELL_KNOWN.len());
        assert!(usual.contains(&"/host/run/crio/crio.sock".to_owned()), "{usual:?}");
        let given = PodsConfig {
            sockets: vec!["unix:///run/a.sock".to_owned(), "/run/b.sock".to_owned()],
            kubelet: Some("https://127.0.0.1".to_owned()),
            ..PodsConfig::default()
        };
        assert_eq!(names(&given), ["/run/a.sock", "/run/b.sock", "kubelet"]);
        assert_eq!(names(&PodsConfig { enabled: false, ..given }), [""; 0]);
    }
}
