//! Files as runtimes leave them, with what matters in them and some of the rest.

use std::fs;

use proptest::prelude::*;

use super::{super::Role, *};

const ID: &str = "5f2b1c0d9e8a7b6c5f2b1c0d9e8a7b6c5f2b1c0d9e8a7b6c5f2b1c0d9e8a7b6c";

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("proc/1")).unwrap();
    for (path, content) in files {
        let path = dir.path().join(path.replace("ID", ID));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.replace("ID", ID)).unwrap();
    }
    dir
}

fn sought(runtime: Runtime) -> Sought<'static> {
    Sought { id: ID, runtime, above: "default", keeper: None }
}

fn told(files: &[(&str, &str)], sought: &Sought<'_>) -> Option<Description> {
    Files::new(&Roots::under(tree(files).path())).describe(sought)
}

const BUNDLE: &str = r#"{"ociVersion":"1.0.2","process":{"args":["sleep"]},"hostname":"web","annotations":{
    "io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"app",
    "io.kubernetes.cri.image-name":"docker.io/library/nginx:1","io.kubernetes.cri.sandbox-id":"ID",
    "io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"prod",
    "io.kubernetes.cri.sandbox-uid":"u-1","io.kubernetes.container.hash":"77"},
    "linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/proc/7/ns/net"}]}}"#;

#[test]
fn containerd_notes_what_kubernetes_calls_a_container() {
    let at = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
    let found = told(&[(at, BUNDLE)], &sought(Runtime::Unknown)).unwrap();
    assert_eq!((found.id.as_str(), found.name.as_str()), (ID, "app"));
    assert_eq!((found.runtime, found.role), (Some(Runtime::Containerd), Some(Role::Workload)));
    assert_eq!(found.image, "docker.io/library/nginx:1");
    let pod = found.pod.unwrap();
    assert_eq!((&*pod.namespace, &*pod.name, &*pod.uid), ("prod", "web-0", "u-1"));
    assert_eq!(found.host_network, None, "a namespace with a path is somebody else's");
    assert_eq!(found.annotations.into_keys().collect::<Vec<_>>(), ["io.kubernetes.container.hash"]);
}

#[test]
fn a_sandbox_speaks_for_its_pod() {
    let at = "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
    let content = r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-name":"a",
        "example.com/port":"80"},"linux":{"namespaces":[{"type":"pid"}]}}"#;
    let found = told(&[(at, content)], &sought(Runtime::Containerd)).unwrap();
    assert_eq!((found.role, found.host_network), (Some(Role::Sandbox), Some(true)));
    assert_eq!(found.pod.unwrap().annotations.get("example.com/port").map(String::as_str), Some("80"));
}

#[test]
fn runc_knows_when_the_bundle_is_elsewhere() {
    let at = "run/containerd/runc/k8s.io/ID/state.json";
    let content = r#"{"id":"ID","init_process_pid":71,"config":{"labels":["bundle=/x/ID",
        "io.kubernetes.cri.sandbox-uid=u-1","io.kubernetes.cri.container-name=app","no pair"]}}"#;
    let found = told(&[(at, content)], &sought(Runtime::Unknown)).unwrap();
    assert_eq!((found.pid, found.name.as_str()), (Some(71), "app"));
    assert!(found.annotations.is_empty());
}

#[test]
fn folders_are_learnt_from_keepers_and_from_mounts() {
    let bundle = "opt/c/state/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
    assert_eq!(told(&[(bundle, BUNDLE)], &sought(Runtime::Unknown)), None);
    let keeper =
        Keeper { namespace: "k8s.io".into(), address: "/opt/c/containerd.sock".into(), ..Keeper::default() };
    let kept = Sought { keeper: Some((7, &keeper)), ..sought(Runtime::Unknown) };
    assert_eq!(told(&[(bundle, BUNDLE)], &kept).unwrap().name, "app");
    let mounts = "41 30 0:50 / /opt/c/state/io.containerd.runtime.v2.task/k8s.io/x/rootfs rw - overlay overlay rw\n\
                  42 30 0:51 / /srv/docker/overlay2/y/merged rw - overlay overlay rw\n";
    let found = told(&[(bundle, BUNDLE), ("proc/1/mountinfo", mounts)], &sought(Runtime::Unknown));
    assert_eq!(found.unwrap().name, "app");
    let docker = [("srv/docker/containers/ID/config.v2.json", DOCKER), ("proc/7/mountinfo", mounts)];
    assert_eq!(told(&docker, &sought(Runtime::Docker)), None, "a daemon with mounts of its own");
    let kept = Sought { keeper: Some((7, &keeper)), ..sought(Runtime::Docker) };
    assert_eq!(told(&docker, &kept).unwrap().name, "web");
    let storage = "43 30 0:52 / /srv/s/overlay-containers/x/userdata/shm rw - tmpfs shm rw\n";
    let config = ("srv/s/overlay-containers/ID/userdata/config.json", "{}");
    let podman = told(&[config, ("proc/1/mountinfo", storage)], &sought(Runtime::Podman));
    assert_eq!(podman.unwrap().runtime, Some(Runtime::Podman));
}

const DOCKER: &str = r#"{"ID":"ID","Name":"/web","State":{"Running":true,"Pid":71},"Config":{"Image":"nginx","Labels":{"com.docker.compose.project":"shop"}}}"#;

#[test]
fn docker_keeps_a_file_for_each() {
    let files = [
        ("var/lib/docker/containers/ID/config.v2.json", DOCKER),
        ("var/lib/docker/containers/ID/hostconfig.json", r#"{"NetworkMode":"host","Runtime":"runsc"}"#),
    ];
    let found = told(&files, &sought(Runtime::Docker)).unwrap();
    assert_eq!((&*found.name, &*found.image, &*found.handler), ("web", "nginx", "runsc"));
    assert_eq!((found.host_network, found.labels.len()), (Some(true), 1));
    assert_eq!((found.pod, found.role), (None, None));
    let kept = DOCKER.replace(
        r#""com.docker.compose.project":"shop""#,
        r#""io.kubernetes.docker.type":"podsandbox","io.kubernetes.pod.uid":"u","io.kubernetes.pod.name":"p""#,
    );
    let found = told(&[("var/lib/docker/containers/ID/config.v2.json", &kept)], &sought(Runtime::Unknown));
    let found = found.unwrap();
    assert_eq!((found.role, found.pod.unwrap().name.as_str()), (Some(Role::Sandbox), "p"));
}

#[test]
fn conmon_says_where_podman_has_its_files_and_what_the_container_is_called() {
    let keeper = Keeper {
        id: ID.into(),
        name: "web".into(),
        bundle: format!("/srv/storage/overlay-containers/{ID}/userdata"),
        is_conmon: true,
        ..Keeper::default()
    };
    let config = ("srv/storage/overlay-containers/ID/userdata/config.json", r#"{"annotations":{"a":"1"}}"#);
    let kept = Sought { keeper: Some((7, &keeper)), ..sought(Runtime::Podman) };
    let found = told(&[config], &kept).unwrap();
    assert_eq!((&*found.name, &*found.image, found.runtime), ("web", "", Some(Runtime::Podman)));
    let list = (
        "srv/storage/overlay-containers/containers.json",
        r#"[{"id":"x","names":["y"]},{"id":"ID","names":["web"],"metadata":"{\"image-name\":\"nginx\"}"}]"#,
    );
    assert_eq!(told(&[config, list], &kept).unwrap().image, "nginx");
    // Without any file there still is the command line.
    assert_eq!(told(&[], &kept).unwrap().name, "web");
}

#[test]
fn crio_notes_labels_in_its_own_way() {
    let content = r#"{"annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox","io.kubernetes.pod.name":"web-0",
        "io.kubernetes.pod.namespace":"prod","io.kubernetes.pod.uid":"u-1","io.kubernetes.cri-o.IP.0":"10.0.0.3",
        "io.kubernetes.cri-o.Labels":"{\"app\":\"web\"}","io.kubernetes.cri-o.Annotations":"{\"x\":\"y\"}"}}"#;
    let at = "run/containers/storage/overlay-containers/ID/userdata/config.json";
    let found = told(&[(at, content)], &sought(Runtime::Crio)).unwrap();
    let pod = found.pod.unwrap();
    assert_eq!((&*pod.name, &*pod.ip), ("web-0", "10.0.0.3"));
    assert_eq!((pod.labels.len(), pod.annotations.get("x").map(String::as_str)), (1, Some("y")));
    assert_eq!(found.runtime, Some(Runtime::Crio));
    let name = "k8s_app_web-0_prod_u-1_0".to_owned();
    let keeper = Keeper { id: ID.into(), name, is_conmon: true, ..Keeper::default() };
    let found = told(&[], &Sought { keeper: Some((7, &keeper)), ..sought(Runtime::Crio) }).unwrap();
    let pod = found.pod.unwrap();
    assert_eq!((&*found.name, &*pod.name, &*pod.namespace, &*pod.uid), ("app", "web-0", "prod", "u-1"));
}

#[test]
fn a_link_does_not_lead_out_and_what_is_too_long_is_not_read() {
    let outside = tree(&[("secret/io.containerd.runtime.v2.task/k8s.io/ID/config.json", BUNDLE)]);
    let inside = tree(&[("run/x", "")]);
    std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("run/containerd")).unwrap();
    let mut files = Files::new(&Roots::under(inside.path()));
    assert_eq!(files.describe(&sought(Runtime::Unknown)), None);
    let long = format!("{BUNDLE}{}", " ".repeat(1 << 20));
    let at = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
    assert_eq!(told(&[(at, &long)], &sought(Runtime::Unknown)), None);
}

#[test]
fn a_task_of_any_name_is_known_by_its_folder() {
    let dir = tree(&[("run/containerd/io.containerd.runtime.v2.task/default/web-1/config.json", "{}")]);
    let files = Files::new(&Roots::under(dir.path()));
    assert!(files.is_task("default", "web-1"));
    assert!(!files.is_task("default", "web-2"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_content_is_fine(
        content in "(\\{|\\}|\\[|\\]|\"annotations\":|\"linux\":|\"Config\":|\"a\":|\"b\"|,|1|null|\\PC){0,12}",
    ) {
        let _ = (config::of_bundle(content.as_bytes()), config::of_runc(content.as_bytes()));
        let _ = (config::of_docker(content.as_bytes(), Some(content.as_bytes())), config::stored(content.as_bytes(), "a"));
    }
}
