//! Against runtimes that run on this host, where the environment names their sockets.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{PodsConfig, asked::Asked, http::tests::now, place::Place, sources};
use crate::{
    container::{
        Directory, Role, Runtime,
        discovery::{self, Limits},
        source::{Description, Found, Source},
    },
    source::Roots,
};

/// The socket that a variable names; without it, nothing is tested, and that is said.
fn socket(variable: &str) -> Option<Place> {
    #[expect(clippy::disallowed_methods, reason = "which runtimes there are is not for the tests to say")]
    let socket = std::env::var(variable).ok();
    if socket.is_none() {
        eprintln!("{variable} names no socket: nothing was asked");
    }
    socket.map(|path| Place::new(Path::new("/"), &path))
}

fn found(id: &str, runtime: Runtime) -> Found {
    Found { id: id.to_owned(), runtime, pod: None, process: None }
}

/// What is found under these control groups, by path.
fn in_cgroups(below: &str, prefix: &str) -> Vec<Found> {
    let mut all = Vec::new();
    let mut open = vec![Path::new("/sys/fs/cgroup/unified").join(below)];
    while let Some(dir) = open.pop() {
        for entry in
            std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir())
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(id) = name.strip_prefix(prefix).filter(|id| id.len() == 64) {
                let above = entry
                    .path()
                    .parent()
                    .and_then(Path::file_name)
                    .map(|it| it.to_string_lossy().into_owned());
                let pod = above.as_deref().and_then(|above| above.strip_prefix("pod")).map(str::to_owned);
                all.push(Found { pod, ..found(id, Runtime::Unknown) });
            }
            open.push(entry.path());
        }
    }
    all
}

fn by_id(all: Vec<Description>) -> BTreeMap<String, Description> {
    all.into_iter().map(|one| (one.id.clone(), one)).collect()
}

/// What is asked one by one is what is asked at once.
fn describe_both_ways(place: Place, found: &[Found]) -> BTreeMap<String, Description> {
    now(async {
        let mut single = Asked::given(place.clone());
        let mut one_by_one = BTreeMap::new();
        for found in found {
            let before = single.calls();
            let described = single.describe(std::slice::from_ref(found)).await.expect("an answer");
            if !one_by_one.is_empty() {
                assert!(single.calls() - before <= 3, "{} calls", single.calls() - before);
            }
            one_by_one.extend(by_id(described));
        }
        let mut whole = Asked::given(place);
        let at_once = by_id(whole.describe(found).await.expect("an answer"));
        eprintln!("{} calls one by one, {} at once", single.calls(), whole.calls());
        assert_eq!(one_by_one, at_once);
        let nobody = [found_nobody()];
        assert_eq!(whole.describe(&nobody).await, Ok(Vec::new()), "an id that nobody has");
        at_once
    })
}

fn found_nobody() -> Found {
    found(&"0".repeat(64), Runtime::Unknown)
}

#[test]
fn containers_of_a_cri_are_named() {
    let Some(place) = socket("PITOT_CRI") else { return };
    let found = in_cgroups("kubepods", "");
    assert!(!found.is_empty(), "no pod runs");
    let described = describe_both_ways(place, &found);
    for description in described.values() {
        eprintln!("{description:?}");
        let pod = description.pod.as_ref().expect("a pod");
        assert!(!pod.name.is_empty() && !pod.namespace.is_empty() && !pod.labels.is_empty(), "{pod:?}");
        assert_eq!(pod.ip.is_empty(), description.host_network == Some(true), "{description:?}");
        assert_eq!(description.runtime, Some(Runtime::Containerd));
        let is_sandbox = description.role == Some(Role::Sandbox);
        assert_eq!(description.name.is_empty(), is_sandbox, "{description:?}");
        assert_eq!(description.image.is_empty(), is_sandbox, "{description:?}");
    }
    assert!(described.values().any(|one| one.role == Some(Role::Sandbox)));
    let all = found.iter().filter(|found| described.contains_key(&found.id)).count();
    assert!(all > 0, "none of {found:?}");
}

#[test]
fn containers_of_docker_are_named() {
    let Some(place) = socket("PITOT_DOCKER") else { return };
    let found = in_cgroups("docker", "");
    assert!(!found.is_empty(), "nothing runs");
    let described = describe_both_ways(place, &found);
    assert_eq!(described.len(), found.len());
    for description in described.values() {
        eprintln!("{description:?}");
        assert!(!description.name.is_empty() && !description.image.is_empty(), "{description:?}");
        assert_eq!(description.runtime, Some(Runtime::Docker));
    }
}

#[test]
fn containers_of_podman_are_named() {
    let Some(place) = socket("PITOT_PODMAN") else { return };
    let found = in_cgroups("libpod_parent", "libpod-");
    assert!(!found.is_empty(), "nothing runs");
    let described = describe_both_ways(place, &found);
    assert_eq!(described.len(), found.len());
    for description in described.values() {
        eprintln!("{description:?}");
        assert!(!description.name.is_empty() && description.pid.is_some(), "{description:?}");
        assert_eq!(description.runtime, Some(Runtime::Podman));
    }
}

#[test]
fn discovery_puts_all_of_them_together() {
    let sockets = ["PITOT_CRI", "PITOT_DOCKER", "PITOT_PODMAN"].into_iter().filter_map(socket);
    let sockets: Vec<String> = sockets.map(|place| place.name().to_owned()).collect();
    if sockets.is_empty() {
        return;
    }
    let all = [("kubepods", ""), ("docker", ""), ("libpod_parent", "libpod-")];
    let found: Vec<Found> = all.iter().flat_map(|(below, prefix)| in_cgroups(below, prefix)).collect();
    now(async {
        let config = PodsConfig { sockets, ..PodsConfig::default() };
        let roots = Roots::default();
        let (publisher, mut directory) = Directory::new();
        let running = discovery::run(Limits::default(), roots.clone(), sources(&config, &roots), publisher);
        let named = async {
            while directory.changed().await {
                let snapshot = directory.now();
                let is_named = |found: &Found| {
                    snapshot
                        .containers
                        .iter()
                        .any(|one| one.id == found.id && (one.role == Role::Sandbox || !one.name.is_empty()))
                };
                eprintln!(
                    "{}: {} of {}",
                    snapshot.generation,
                    found.iter().filter(|it| is_named(it)).count(),
                    found.len()
                );
                if found.iter().all(is_named) {
                    return true;
                }
            }
            false
        };
        let named = tokio::time::timeout(Duration::from_secs(10), named);
        let is_named = tokio::select! {
            () = running => false,
            named = named => named.unwrap_or(false),
        };
        assert!(is_named, "{:?}", directory.now().containers);
    });
}
