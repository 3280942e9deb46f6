//! What the path of a control group says about whose it is. Every runtime has a way of its own to name the groups of
//! its containers, and two of them, one for the plain file system (`cgroupfs`) and one for systemd:
//!
//! ```text
//! kubepods/burstable/pod<uid>/<id>                                          any runtime of Kubernetes
//! kubepods/pod<uid>/crio-<id>                                               CRI-O
//! kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
//! docker/<id>                    system.slice/docker-<id>.scope             Docker
//! libpod_parent/libpod-<id>      machine.slice/libpod-<id>.scope            Podman
//! libpod_parent/<pod>/libpod-<id>     machine.slice/machine-libpod_pod_<pod>.slice/libpod-<id>.scope
//! <unit>.service/libpod-payload-<id>                                        Podman, run by a unit
//! default/<id>                   system.slice/nerdctl-<id>.scope            containerd without Kubernetes
//! ```
//!
//! Only the last names count: what runs nodes of Kubernetes, or Docker, in containers has paths like these below that
//! of a container. Those are containers of this kernel like any other, and the innermost one is whose a group is.
//! Groups that a container makes for itself (`init.scope`, `container`, services of its own systemd) are part of it.

use super::Runtime;

/// What a path says about the container whose group it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    /// Its identity.
    pub(super) id: &'a str,
    /// Who started it; `Unknown` where several name theirs like this.
    pub(super) runtime: Runtime,
    /// The pod whose group is the one above: its UID, or what podman calls it.
    pub(super) pod: Option<String>,
    /// Whether this is a container for sure, or only may be one of containerd that has a name of somebody's choice.
    pub(super) is_sure: bool,
    /// A word for a runtime that does not run processes of this kernel, if the name has one.
    pub(super) handler: &'static str,
}

/// Names before the identity, longest first where one begins another.
const PREFIXES: &[(&str, Runtime)] = &[
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("crio-", Runtime::Crio),
    ("docker-", Runtime::Docker),
    ("libpod-payload-", Runtime::Podman),
    ("libpod-", Runtime::Podman),
];

/// The container whose group a path is. None of those below it, and of all others.
pub(super) fn container(path: &str) -> Option<Origin<'_>> {
    let mut names = path.rsplit('/').filter(|name| !name.is_empty());
    let (name, above) = (names.next()?, names.next());
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (name, handler) = match name.strip_prefix("kata_").or_else(|| name.strip_prefix("kata-")) {
        Some(rest) => (rest, "kata"),
        None => (name, ""),
    };
    let has_top = names.next().is_some();
    let pod = above.and_then(|above| pod_of(above, has_top.then_some(path)));
    let marked = PREFIXES.iter().find_map(|(prefix, runtime)| Some((name.strip_prefix(prefix)?, *runtime)));
    if let Some((id, runtime)) = marked.filter(|(id, _)| is_id(id)) {
        // A pod of podman is a number above those of its containers.
        let pod = pod
            .or_else(|| above.filter(|above| runtime == Runtime::Podman && is_id(above)).map(str::to_owned));
        return Some(Origin { id, runtime, pod, is_sure: true, handler });
    }
    if is_id(name) && !above.is_some_and(holds_pods_of_podman) {
        let runtime = match above {
            Some("docker") => Runtime::Docker,
            Some("default" | "k8s.io" | "buildkit") if !has_top => Runtime::Containerd,
            _ => Runtime::Unknown,
        };
        return Some(Origin { id: name, runtime, pod, is_sure: true, handler });
    }
    let may_be = above.is_some_and(|above| !has_top && is_word(above)) && is_word(name) && !is_unit(name);
    may_be.then_some(Origin { id: name, runtime: Runtime::Containerd, pod: None, is_sure: false, handler })
}

/// The containers, for sure ones, whose groups a path is in, from the outermost to its own.
pub(super) fn containers(path: &str) -> impl Iterator<Item = Origin<'_>> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| container(path.get(..end)?)).filter(|origin| origin.is_sure)
}

/// Whether a path is that of a pod's group, as far as its own name tells.
pub(super) fn is_pod(path: &str) -> bool {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let holder = above.rsplit('/').next().unwrap_or(above);
    pod_of(name, Some(path)).is_some() || (is_id(name) && holds_pods_of_podman(holder))
}

/// The pod that a group is called after. `path` is one in which `kubepods` is looked for, where the group's own name
/// is not enough.
fn pod_of(name: &str, path: Option<&str>) -> Option<String> {
    if let Some(name) = name.strip_suffix(".slice") {
        if let Some((_, id)) = name.rsplit_once("libpod_pod_") {
            return is_id(id).then(|| id.to_owned());
        }
        let (tree, uid) = name.rsplit_once("-pod")?;
        let is_known = tree.split('-').any(|part| part == "kubepods");
        return (is_known && is_uid(uid)).then(|| uid.replace('_', "-"));
    }
    let uid = name.strip_prefix("pod").filter(|uid| is_uid(uid))?;
    path?.split('/').any(|part| part == "kubepods").then(|| uid.to_owned())
}

/// Podman's own group, below which numbers are pods.
fn holds_pods_of_podman(name: &str) -> bool {
    name == "libpod_parent"
}

/// An identity as all runtimes make them: 32 bytes in hexadecimal.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The identity of a pod: usually a UUID, that of a static pod a digest.
fn is_uid(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(is_part)
}

/// A name as containerd allows them for containers and namespaces.
fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=76).contains(&text.len()) && text.bytes().all(is_part)
}

/// What systemd names.
fn is_unit(name: &str) -> bool {
    [".service", ".slice", ".mount", ".socket", ".swap"].iter().any(|kind| name.ends_with(kind))
}

#[cfg(test)]
mod tests;
