//! Hosts of every style, as trees of plain files that change, with runtimes that answer, fail and hang.

mod host;
mod real;

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::task::JoinHandle;

use self::host::{Fake, Host, id};
use super::{
    super::{Container, Directory, Role, Runtime, source::Description},
    *,
};

/// Discovery of a host, and where it shows.
struct Followed {
    directory: Directory,
    task: JoinHandle<()>,
}

impl Followed {
    fn of(roots: Roots, limits: Limits, sources: Vec<Box<dyn Source>>) -> Self {
        let (publisher, directory) = Directory::new();
        Self { directory, task: tokio::spawn(run(limits, roots, sources, publisher)) }
    }

    fn of_host(host: &Host, sources: Vec<Box<dyn Source>>) -> Self {
        Self::of(host.roots(), Limits::default(), sources)
    }

    /// The first snapshot that is like this.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let wait = async {
            loop {
                let now = self.directory.now();
                if is_it(&now) {
                    return now;
                }
                assert!(self.directory.changed().await, "discovery has ended");
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
        waited.unwrap_or_else(|_| panic!("{what}: {:#?}", self.directory.now()))
    }

    async fn of_id(&mut self, id: &str) -> Arc<Container> {
        let now = self.until(id, |now| one(now, id).is_some()).await;
        Arc::clone(one(&now, id).unwrap())
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn one<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a Arc<Container>> {
    snapshot.containers.iter().find(|container| container.id == id)
}

#[tokio::test]
async fn every_style_is_found_without_any_runtime() {
    let host = Host::unified();
    let uid = "6f2f1c6e-12ab-4c1d-9d8e-0a1b2c3d4e5f";
    let flat = uid.replace('-', "_");
    let slice = format!("kubepods.slice/kubepods-pod{flat}.slice");
    let pod = Some(uid);
    let all = [
        (format!("kubepods/burstable/pod{uid}/{}", id(1)), Runtime::Unknown, pod),
        (format!("{slice}/cri-containerd-{}.scope", id(2)), Runtime::Containerd, pod),
        (format!("{slice}/crio-{}.scope", id(3)), Runtime::Crio, pod),
        (format!("docker/{}", id(4)), Runtime::Docker, None),
        (format!("system.slice/docker-{}.scope", id(5)), Runtime::Docker, None),
        (format!("machine.slice/libpod-{}.scope", id(6)), Runtime::Podman, None),
        (format!("docker/{}/kubepods/podinner/{}", id(4), id(7)), Runtime::Unknown, Some("inner")),
    ];
    for (at, (path, ..)) in (1..).zip(&all) {
        host.start(path, 100 + at);
    }
    host.start("system.slice/ssh.service", 99);
    let mut followed = Followed::of_host(&host, Vec::new());
    let now = followed.until("all", |now| now.containers.len() == all.len()).await;
    for (at, (path, runtime, pod)) in (1..).zip(&all) {
        let found = one(&now, &id(at)).unwrap();
        assert_eq!((&found.cgroup, found.runtime), (path, *runtime));
        assert_eq!(found.pod.as_deref().map(|pod| pod.uid.as_str()), *pod, "{path}");
        assert_eq!(found.process.map(|process| process.pid), Some(100 + at), "{path}");
        assert!(found.cgroup_id.is_some() && found.started.is_some() && found.sandboxed.is_none());
    }
    let owner = now.owner(&format!("/docker/{}/init.scope", id(4)));
    assert!(matches!(owner, Some(super::super::Owner::Container(one)) if one.id == id(4)));
}

#[tokio::test]
async fn starts_and_stops_are_seen_and_nothing_else_makes_a_snapshot() {
    let host = Host::unified();
    let mut followed = Followed::of_host(&host, Vec::new());
    host.start(&format!("docker/{}", id(1)), 101);
    let first = followed.until("a start", |now| now.containers.len() == 1).await;
    host.start("system.slice/cron.service", 7);
    host.start(&format!("docker/{}/own.scope", id(1)), 102);
    host.start(&format!("docker/{}", id(2)), 103);
    let second = followed.until("another", |now| now.containers.len() == 2).await;
    assert_eq!(second.generation, first.generation + 1);
    let same = |now: &Snapshot| Arc::clone(one(now, &id(1)).unwrap());
    assert!(Arc::ptr_eq(&same(&first), &same(&second)), "what did not change is not made again");
    host.stop(&format!("docker/{}", id(1)));
    followed.until("a stop", |now| now.containers.len() == 1).await;
}

#[tokio::test]
async fn one_that_is_started_again_is_another_process() {
    let host = Host::unified();
    let path = format!("docker/{}", id(1));
    host.start(&path, 101);
    let mut followed = Followed::of_host(&host, Vec::new());
    followed.of_id(&id(1)).await;
    host.stop(&path);
    host.start(&path, 202);
    let is_new =
        |now: &Snapshot| one(now, &id(1)).is_some_and(|one| one.process.is_some_and(|p| p.pid == 202));
    followed.until("the new process", is_new).await;
}

#[tokio::test]
async fn a_group_without_a_process_is_no_container_yet() {
    let host = Host::unified();
    let path = format!("docker/{}", id(1));
    host.group(&path);
    host.start(&format!("docker/{}", id(2)), 102);
    host.process(101, 1, "runc:[2:INIT]", &[]);
    let mut followed = Followed::of_host(&host, Vec::new());
    let now = followed.until("the other", |now| !now.containers.is_empty()).await;
    assert!(one(&now, &id(1)).is_none());
    host.process(101, 1, "sleep", &["sleep"]);
    host.members(&path, &[101]);
    // The first version has nobody tell; a patrol comes by.
    followed.of_id(&id(1)).await;
}

#[tokio::test]
async fn with_version_1_or_both_each_is_found_once() {
    for host in [Host::first_version(), Host::hybrid()] {
        let (both, early) = (format!("docker/{}", id(1)), format!("docker/{}", id(2)));
        host.start(&both, 101);
        host.start_in("memory", &early, 102);
        let mut followed = Followed::of_host(&host, Vec::new());
        let now = followed.until("both", |now| now.containers.len() == 2).await;
        assert_eq!(one(&now, &id(1)).unwrap().cgroup_id.is_some(), host.is_unified());
        assert_eq!(one(&now, &id(2)).unwrap().cgroup_id, None);
        host.stop(&both);
        followed.until("a stop", |now| now.containers.len() == 1).await;
    }
}

#[tokio::test]
async fn runtimes_are_asked_once_about_all_that_is_new() {
    let host = Host::unified();
    for at in 1..=3 {
        host.start(&format!("docker/{}", id(at)), 100 + at);
    }
    let fake = Fake::new("docker");
    for at in 1..=5 {
        fake.knows(Description { id: id(at), name: format!("c{at}"), ..Description::default() });
    }
    let mut followed = Followed::of_host(&host, vec![Box::new(fake.clone())]);
    let named =
        |count| move |now: &Snapshot| now.containers.iter().filter(|c| !c.name.is_empty()).count() == count;
    followed.until("three names", named(3)).await;
    assert_eq!(fake.questions(), [vec![id(1), id(2), id(3)]]);
    host.start(&format!("docker/{}", id(4)), 104);
    followed.until("four names", named(4)).await;
    assert_eq!(fake.questions()[1..], [vec![id(4)]]);
    // It is called something else.
    fake.knows(Description { id: id(4), name: "renamed".into(), ..Description::default() });
    fake.tell_changed(vec![id(4), id(77)]);
    followed.until("another name", |now| one(now, &id(4)).is_some_and(|one| one.name == "renamed")).await;
    assert_eq!(fake.questions()[2..], [vec![id(4)]]);
}

#[tokio::test]
async fn a_runtime_that_fails_or_hangs_takes_nothing_away() {
    let host = Host::unified();
    let (down, up) = (Fake::new("down"), Fake::new("up"));
    for fake in [&down, &up] {
        let labels = BTreeMap::from([("by".to_owned(), fake.name().to_owned())]);
        fake.knows(Description { id: id(1), name: "web".into(), labels, ..Description::default() });
        fake.knows(Description { id: id(2), name: "api".into(), ..Description::default() });
    }
    host.start(&format!("docker/{}", id(1)), 101);
    let sources: Vec<Box<dyn Source>> = vec![Box::new(down.clone()), Box::new(up.clone())];
    let mut followed = Followed::of_host(&host, sources);
    let by = |by: &'static str| {
        move |now: &Snapshot| {
            one(now, &id(1)).is_some_and(|one| one.labels.get("by").is_some_and(|is| is == by))
        }
    };
    followed.until("the first is believed", by("down")).await;
    down.set_down(true);
    up.set_hanging(true);
    host.start(&format!("docker/{}", id(2)), 102);
    let now = followed.until("one without a name", |now| one(now, &id(2)).is_some()).await;
    assert_eq!((one(&now, &id(2)).unwrap().name.as_str(), by("down")(&now)), ("", true));
    down.set_down(false);
    followed.until("its name", |now| one(now, &id(2)).is_some_and(|one| one.name == "api")).await;
}

#[tokio::test]
async fn pods_are_one_for_all_their_containers() {
    let host = Host::unified();
    let group = "kubepods/pod6f2f1c6e";
    host.process(
        50,
        1,
        "containerd-shim",
        &["/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "x"],
    );
    for (at, comm) in [(1, "pause"), (2, "nginx")] {
        host.process(100 + at, 50, comm, &[comm]);
        host.group(&format!("{group}/{}", id(at)));
        host.members(&format!("{group}/{}", id(at)), &[100 + at]);
    }
    let fake = Fake::new("cri");
    let pod = super::super::Pod {
        uid: "6f2f1c6e".into(),
        name: "web-0".into(),
        namespace: "prod".into(),
        ..Default::default()
    };
    fake.knows(Description { id: id(1), pod: Some(pod), host_network: Some(true), ..Description::default() });
    fake.knows(Description { id: id(2), name: "app".into(), ..Description::default() });
    let mut followed = Followed::of_host(&host, vec![Box::new(fake)]);
    let now = followed.until("both", |now| one(now, &id(2)).is_some_and(|one| one.name == "app")).await;
    let (pause, app) = (one(&now, &id(1)).unwrap(), one(&now, &id(2)).unwrap());
    assert_eq!((pause.role, app.role), (Role::Sandbox, Role::Workload));
    assert_eq!((pause.runtime, app.runtime), (Runtime::Containerd, Runtime::Containerd));
    assert_eq!(app.pod.as_ref().unwrap().name, "web-0");
    assert!(Arc::ptr_eq(app.pod.as_ref().unwrap(), pause.pod.as_ref().unwrap()));
    assert_eq!(app.host_network, Some(true));
    assert!(matches!(now.owner(&format!("/{group}")), Some(super::super::Owner::Pod(_))));
}

#[tokio::test]
async fn runtimes_with_a_kernel_of_their_own_are_told() {
    let host = Host::unified();
    let shim =
        |kind: &str| vec![format!("/opt/containerd-shim-{kind}-v2"), "-namespace".into(), "k8s.io".into()];
    for (at, kind, own) in [
        (1, "runc", "nginx"),
        (2, "kata-qemu", "/usr/bin/qemu-system-x86_64"),
        (3, "runsc", "runsc-sandbox"),
        (4, "", "/usr/bin/runsc-sandbox"),
        (5, "runc", "qemu-system-x86_64"),
    ] {
        let keeper = if kind.is_empty() { vec!["init".to_owned()] } else { shim(kind) };
        host.process(50 + at, 1, "containerd-shim", &keeper.iter().map(String::as_str).collect::<Vec<_>>());
        host.process(100 + at, 50 + at, "exe", &[own]);
        let path = format!("kubepods/podu{at}/{}", id(at));
        host.group(&path);
        host.members(&path, &[100 + at]);
    }
    // A container of the third's pod has no process that this kernel knows.
    host.group(&format!("kubepods/podu3/{}", id(6)));
    let mut followed = Followed::of_host(&host, Vec::new());
    let now = followed.until("all", |now| now.containers.len() == 6).await;
    let sandboxed = |at| one(&now, &id(at)).unwrap().sandboxed.is_some();
    assert_eq!([1, 2, 3, 4, 5, 6].map(sandboxed), [false, true, true, true, false, true]);
    let path = format!("kubepods/podu1/{}", id(1));
    host.stop(&path);
    followed.until("a stop", |now| now.containers.len() == 5).await;
}

#[tokio::test]
async fn what_a_container_calls_itself_says_nothing() {
    let host = Host::unified();
    let conmon =
        ["/evil/conmon", "-n", "k8s_server_web-a_default_deadbeef_0", "-b", "/x/overlay-containers/y"];
    let shim = ["/evil/containerd-shim-kata-v2", "-namespace", "moby"];
    host.process(50, 1, "containerd-shim", &["/bin/containerd-shim-runc-v2", "-namespace", "k8s.io"]);
    for (at, parent, words) in [(1, 1, &conmon[..]), (2, 50, &conmon[..]), (3, 1, &shim[..])] {
        host.process(100 + at, parent, "evil", words);
        let path = format!("kubepods/podu{at}/{}", id(at));
        host.group(&path);
        host.members(&path, &[100 + at]);
    }
    let mut followed = Followed::of_host(&host, Vec::new());
    let now = followed.until("all", |now| now.containers.len() == 3).await;
    for (at, runtime) in [(1, Runtime::Unknown), (2, Runtime::Containerd), (3, Runtime::Unknown)] {
        let container = one(&now, &id(at)).unwrap();
        assert_eq!((container.runtime, &container.sandboxed), (runtime, &None), "{container:?}");
        let pod = container.pod.as_deref().unwrap();
        assert_eq!((pod.uid.clone(), pod.name.as_str(), &*container.name), (format!("u{at}"), "", ""));
    }
}

#[tokio::test]
async fn a_group_in_a_container_cannot_be_another_container_or_in_another_pod() {
    let host = Host::unified();
    let fake = Fake::new("cri");
    fake.knows(Description { id: id(1), name: "server".to_owned(), ..Description::default() });
    let (own, attacker) = (format!("kubepods/podv/{}", id(1)), format!("kubepods/poda/{}", id(2)));
    host.start(&own, 101);
    host.start(&attacker, 102);
    let mut followed = Followed::of_host(&host, vec![Box::new(fake)]);
    followed.until("both", |now| now.containers.len() == 2).await;
    host.start(&format!("{attacker}/x/{}", id(1)), 103);
    host.start(&format!("{attacker}/podv/{}", id(3)), 104);
    // What is in a container of one that is in one is as good as any.
    host.start(&format!("{attacker}/kubepods/podw/{}", id(4)), 105);
    let now = followed.until("the nested one", |now| one(now, &id(4)).is_some()).await;
    let pids = |now: &Snapshot| -> Vec<u32> {
        now.containers.iter().map(|container| container.process.unwrap().pid).collect()
    };
    assert_eq!(pids(&now), [101, 102, 105]);
    assert_eq!(one(&now, &id(1)).unwrap().name, "server");
    host.stop(&own);
    let now = followed.until("the end", |now| now.containers.len() == 2).await;
    assert_eq!(pids(&now), [102, 105]);
    host.start(&format!("docker/{}", id(9)), 109);
    let now = followed.until("another", |now| now.containers.len() == 3).await;
    assert_eq!(pids(&now), [102, 105, 109]);
}

#[tokio::test]
async fn past_the_limit_containers_are_left_out_until_there_is_room() {
    let host = Host::unified();
    for at in 1..=3 {
        host.start(&format!("docker/{}", id(at)), 100 + at);
    }
    let limits = Limits { containers: 2, ..Limits::default() };
    let mut followed = Followed::of(host.roots(), limits, Vec::new());
    let now = followed.until("two", |now| now.containers.len() == 2).await;
    host.stop(&format!("docker/{}", now.containers[0].id));
    let gone = now.containers[0].id.clone();
    let is_other = |now: &Snapshot| now.containers.len() == 2 && one(now, &gone).is_none();
    followed.until("the other", is_other).await;
}

#[tokio::test]
async fn a_name_of_somebodys_choice_needs_containerd_to_say_so() {
    let host = Host::unified();
    let shim =
        ["/bin/containerd-shim-runc-v2", "-namespace", "default", "-id", "web-1", "-address", "/x/c.sock"];
    host.process(50, 1, "containerd-shim", &shim);
    host.process(101, 50, "sleep", &["sleep"]);
    host.group("default/web-1");
    host.members("default/web-1", &[101]);
    host.start("default/web-2", 102);
    let mut followed = Followed::of_host(&host, Vec::new());
    let found = followed.of_id("web-1").await;
    assert_eq!((found.runtime, &*found.cgroup), (Runtime::Containerd, "default/web-1"));
    assert_eq!(followed.directory.now().containers.len(), 1);
}

#[tokio::test]
async fn without_hierarchies_there_is_nothing_and_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut followed = Followed::of(Roots::under(dir.path()), Limits::default(), Vec::new());
    let now = followed.until("that there is nothing", |now| now.generation == 1).await;
    assert!(now.containers.is_empty() && !followed.task.is_finished());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Starts and stops in any order and at any pace end as what there is.
    #[test]
    fn what_is_known_follows_what_there_is(steps in prop::collection::vec((1u32..6, any::<bool>(), 0u64..60), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let host = Host::unified();
            let mut followed = Followed::of_host(&host, Vec::new());
            let mut model = BTreeMap::new();
            for (at, (which, rests, millis)) in (200..).zip(steps) {
                let path = format!("docker/{}", id(which));
                if model.remove(&id(which)).is_some() {
                    host.stop(&path);
                } else {
                    host.start(&path, at);
                    model.insert(id(which), at);
                }
                if rests {
                    sleep(Duration::from_millis(millis)).await;
                }
            }
            let is_it = |now: &Snapshot| {
                let process = |one: &Arc<Container>| Some((one.id.clone(), one.process?.pid));
                now.containers.iter().filter_map(process).collect::<BTreeMap<_, _>>() == model
            };
            followed.until("what there is", is_it).await;
        });
    }
}
