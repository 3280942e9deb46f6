//! Paths as they are found on nodes of every style.

use proptest::prelude::*;

use super::*;

const ID: &str = "5f2b1c0d9e8a7b6c5f2b1c0d9e8a7b6c5f2b1c0d9e8a7b6c5f2b1c0d9e8a7b6c";
const POD: &str = "aaaabbbbccccddddaaaabbbbccccddddaaaabbbbccccddddaaaabbbbccccdddd";
const UID: &str = "6f2f1c6e-12ab-4c1d-9d8e-0a1b2c3d4e5f";
const STATIC: &str = "0123456789abcdef0123456789abcdef";

/// What a path with `ID`, `POD`, `UID` and `U_D` in it says: runtime and pod.
fn says(path: &str) -> Option<(Runtime, Option<&'static str>)> {
    let path = path.replace("ID", ID).replace("POD", POD);
    let path = path.replace("UU", UID).replace("U_", &UID.replace('-', "_")).replace("STATIC", STATIC);
    let origin = container(&path).filter(|origin| origin.is_sure)?;
    assert_eq!(origin.id, ID, "{path}");
    let pod = origin.pod.map(|pod| *[UID, POD, STATIC].iter().find(|known| **known == pod).unwrap());
    Some((origin.runtime, pod))
}

#[test]
fn pods_of_kubernetes() {
    let any = Some((Runtime::Unknown, Some(UID)));
    assert_eq!(says("/kubepods/besteffort/podUU/ID"), any);
    assert_eq!(says("kubepods/podUU/ID"), any);
    assert_eq!(says("/kubelet/kubepods/burstable/podUU/ID"), any);
    assert_eq!(says("/kubepods/podSTATIC/ID"), Some((Runtime::Unknown, Some(STATIC))));
    let slice = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_.slice";
    for (scope, runtime) in
        [("cri-containerd", Runtime::Containerd), ("crio", Runtime::Crio), ("docker", Runtime::Docker)]
    {
        assert_eq!(says(&format!("/{slice}/{scope}-ID.scope")), Some((runtime, Some(UID))), "{scope}");
    }
    assert_eq!(says("/kubepods.slice/kubepods-podU_.slice/crio-ID.scope"), Some((Runtime::Crio, Some(UID))));
    let kubelet = "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_.slice";
    assert_eq!(says(&format!("{kubelet}/cri-containerd-ID.scope")), Some((Runtime::Containerd, Some(UID))));
    assert_eq!(says("/kubepods/besteffort/podUU/crio-ID"), Some((Runtime::Crio, Some(UID))));
    assert_eq!(says("/kubepods/besteffort/podUU/crio-conmon-ID"), None);
    assert_eq!(says(&format!("{slice}/crio-conmon-ID.scope")), None);
}

#[test]
fn runtimes_without_kubernetes() {
    let of = |runtime| Some((runtime, None));
    assert_eq!(says("/docker/ID"), of(Runtime::Docker));
    assert_eq!(says("/system.slice/docker-ID.scope"), of(Runtime::Docker));
    assert_eq!(says("/a/b/ID"), of(Runtime::Unknown));
    assert_eq!(says("/default/ID"), of(Runtime::Containerd));
    assert_eq!(says("/system.slice/nerdctl-ID.scope"), of(Runtime::Containerd));
    assert_eq!(says("/libpod_parent/libpod-ID"), of(Runtime::Podman));
    assert_eq!(says("/machine.slice/libpod-ID.scope"), of(Runtime::Podman));
    assert_eq!(says("/machine.slice/libpod-conmon-ID.scope"), None);
    assert_eq!(says("/libpod_parent/conmon"), None);
    let rootless = "/user.slice/user-1000.slice/user@1000.service/user.slice";
    assert_eq!(says(&format!("{rootless}/libpod-ID.scope")), of(Runtime::Podman));
    assert_eq!(says("/system.slice/web.service/libpod-payload-ID"), of(Runtime::Podman));
    let pod = Some((Runtime::Podman, Some(POD)));
    assert_eq!(says("/libpod_parent/POD/libpod-ID"), pod);
    assert_eq!(says("/machine.slice/machine-libpod_pod_POD.slice/libpod-ID.scope"), pod);
}

#[test]
fn a_name_of_somebodys_choice_is_not_sure() {
    let unsure = |path| container(path).map(|origin| (origin.id, origin.is_sure));
    assert_eq!(unsure("/default/web-1"), Some(("web-1", false)));
    for other in ["/system.slice/ssh.service", "/a", "/a/b/c", "/user.slice/user-0.slice", "", "/"] {
        assert_eq!(unsure(other), None, "{other}");
    }
}

#[test]
fn what_is_below_a_container_is_one_only_by_its_own_name() {
    assert_eq!(says("/docker/ID/init.scope"), None);
    assert_eq!(says("/machine.slice/libpod-ID.scope/container"), None);
    assert_eq!(says("/docker/ID/system.slice/ssh.service"), None);
    let inner = "/docker/POD/kubelet/kubepods/besteffort/podUU/ID";
    assert_eq!(says(inner), Some((Runtime::Unknown, Some(UID))));
    assert_eq!(says("/docker/POD/docker/ID"), Some((Runtime::Docker, None)));
}

#[test]
fn groups_of_pods() {
    let with = |path: &str| path.replace("UU", UID).replace("U_", &UID.replace('-', "_")).replace("POD", POD);
    for pod in [
        "kubepods/besteffort/podUU",
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_.slice",
        "libpod_parent/POD",
        "machine.slice/machine-libpod_pod_POD.slice",
    ] {
        assert!(is_pod(&with(pod)), "{pod}");
        assert!(container(&with(pod)).is_none_or(|origin| !origin.is_sure), "{pod}");
    }
    for none in
        ["kubepods", "kubepods/besteffort", "kubepods.slice/kubepods-burstable.slice", "docker", "podUU"]
    {
        assert!(!is_pod(&with(none)), "{none}");
    }
}

#[test]
fn kata_names_its_groups() {
    let path = format!("/kubepods/besteffort/pod{UID}/kata_{ID}");
    assert_eq!(container(&path).map(|origin| origin.handler), Some("kata"));
}

proptest! {
    #[test]
    fn any_path_has_an_answer(
        names in prop::collection::vec(
            prop_oneof![
                "[a-f0-9]{64}", "pod[a-z0-9_-]{0,40}", "kubepods", "(kubepods-)?[a-z-]{0,12}-pod[a-z0-9_]{0,40}\\.slice",
                "(cri-containerd|crio|docker|libpod|kata_)-[a-f0-9]{63,65}(\\.scope)?", "\\PC{0,12}",
            ],
            0..6,
        ),
    ) {
        let path = names.join("/");
        let _ = is_pod(&path);
        if let Some(origin) = container(&path) {
            prop_assert!(path.contains(origin.id) && !origin.id.is_empty() && !origin.id.contains('/'));
            prop_assert!(origin.is_sure || path.split('/').filter(|name| !name.is_empty()).count() == 2);
            prop_assert!(origin.pod.is_none_or(|pod| !pod.is_empty() && pod.len() <= 64));
        }
    }

    #[test]
    fn an_identity_comes_back(id in "[a-f0-9]{64}", uid in "[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}") {
        let cgroupfs = format!("/kubepods/burstable/pod{uid}/{id}");
        let flat = uid.replace('-', "_");
        let systemd = format!("/kubepods.slice/kubepods-pod{flat}.slice/cri-containerd-{id}.scope");
        for path in [cgroupfs, systemd] {
            let origin = container(&path).unwrap();
            prop_assert_eq!((origin.id, origin.pod.as_deref()), (&*id, Some(&*uid)));
            prop_assert!(is_pod(path.rsplit_once('/').unwrap().0));
        }
    }
}
