use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::UnixListener, task::JoinSet};

use super::{
    messages::{
        ContainerMetadata, Image, LinuxPodSandboxStatus, Namespace, NamespaceOption, PodSandbox,
        PodSandboxMetadata, PodSandboxNetworkStatus, PodSandboxStatus,
    },
    *,
};
use crate::container::{
    Role,
    runtime::{asked::Asked, http::tests::now},
    source::Source,
};

/// What a runtime has: pods `p0`, `p1` and so on with a sandbox `sN` and a container `cN`.
#[derive(Default)]
struct Fake {
    pods: usize,
    /// Sandboxes that are not listed yet.
    hidden: BTreeSet<String>,
    /// What the image of every container is.
    image: String,
    /// Bytes of the only label.
    padding: usize,
    /// How calls fail.
    status: Option<u32>,
    calls: Vec<String>,
}

type Shared = Arc<Mutex<Fake>>;

impl Fake {
    fn metadata(n: usize) -> PodSandboxMetadata {
        let (name, uid) = (format!("p{n}"), format!("u{n}"));
        PodSandboxMetadata { name, uid, namespace: "shop".to_owned() }
    }

    fn is_there(&self, n: usize) -> bool {
        n < self.pods && !self.hidden.contains(&format!("s{n}"))
    }

    fn sandboxes(&self) -> ListPodSandboxResponse {
        let all = (0..self.pods).filter(|n| self.is_there(*n)).map(|n| PodSandbox {
            id: format!("s{n}"),
            metadata: Some(Self::metadata(n)),
            ..PodSandbox::default()
        });
        ListPodSandboxResponse { items: all.collect() }
    }

    fn status(&self, id: &str) -> Option<PodSandboxStatusResponse> {
        let n: usize = id.strip_prefix('s')?.parse().ok()?;
        let options = Some(NamespaceOption { network: 0 });
        let status = PodSandboxStatus {
            id: id.to_owned(),
            metadata: Some(Self::metadata(n)),
            network: Some(PodSandboxNetworkStatus { ip: format!("10.0.0.{n}") }),
            linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options }) }),
            runtime_handler: "runsc".to_owned(),
            ..PodSandboxStatus::default()
        };
        self.is_there(n).then_some(PodSandboxStatusResponse { status: Some(status) })
    }

    fn containers(&self, filter: Option<Filter>) -> ListContainersResponse {
        let label = ("padding".to_owned(), "x".repeat(self.padding));
        let all = (0..self.pods).map(|n| Container {
            id: format!("c{n}"),
            pod_sandbox_id: format!("s{n}"),
            metadata: Some(ContainerMetadata { name: format!("app{n}") }),
            image: Some(ImageSpec { image: self.image.clone(), ..ImageSpec::default() }),
            labels: [label.clone()].into(),
            ..Container::default()
        });
        let wanted = filter.map(|filter| filter.id);
        let all = all.filter(|one| wanted.as_ref().is_none_or(|id| *id == one.id));
        ListContainersResponse { containers: all.collect() }
    }

    /// The answer to a call, or the number of the failure.
    fn answer(&mut self, method: &str, question: &[u8]) -> Result<Vec<u8>, u32> {
        self.calls.push(method.rsplit('/').next().unwrap_or_default().to_owned());
        if let Some(status) = self.status {
            return Err(status);
        }
        let filter = || ListRequest::decode(question).expect("a filter").filter;
        Ok(match method {
            VERSION => {
                let name = "containerd".to_owned();
                VersionResponse { runtime_name: name, runtime_version: "1".to_owned() }.encode_to_vec()
            }
            LIST_SANDBOXES => self.sandboxes().encode_to_vec(),
            LIST_CONTAINERS => self.containers(filter()).encode_to_vec(),
            SANDBOX_STATUS => {
                let id = PodSandboxStatusRequest::decode(question).expect("an id").pod_sandbox_id;
                // Not found.
                self.status(&id).ok_or(5u32)?.encode_to_vec()
            }
            IMAGE_STATUS => {
                let image = Image { repo_tags: vec!["nginx:1".to_owned()] };
                ImageStatusResponse { image: Some(image) }.encode_to_vec()
            }
            EVENTS => {
                let started = |id: &str| ContainerEventResponse {
                    container_id: id.to_owned(),
                    container_event_type: STARTED,
                };
                self.hidden.clear();
                [started("s7"), started("s0")].iter().flat_map(framed).collect()
            }
            // Unimplemented.
            _ => return Err(12),
        })
    }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("short"));
    message.encode(&mut frame).expect("room");
    frame.to_vec()
}

/// Answers gRPC for as long as what it returns lives.
fn serve(path: &Path, fake: &Shared) -> JoinSet<()> {
    let listener = UnixListener::bind(path).expect("a socket");
    let fake = Arc::clone(fake);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let fake = Arc::clone(&fake);
            let service = service_fn(move |request: Request<Incoming>| {
                let fake = Arc::clone(&fake);
                async move {
                    let method = request.uri().path().to_owned();
                    let question = request.into_body().collect().await.expect("a question").to_bytes();
                    let answer = fake.lock().expect("no panic").answer(&method, &question[5..]);
                    let (body, status) = match answer {
                        // Events are several, and have their frames.
                        Ok(events) if method == EVENTS => (events, 0),
                        Ok(message) => {
                            let mut frame = BytesMut::new();
                            frame.put_u8(0);
                            frame.put_u32(u32::try_from(message.len()).expect("short"));
                            frame.put_slice(&message);
                            (frame.to_vec(), 0)
                        }
                        Err(status) => (Vec::new(), status),
                    };
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", status.into());
                    let body = Full::new(Bytes::from(body)).with_trailers(async move { Some(Ok(trailers)) });
                    Response::builder().header("content-type", "application/grpc").body(body)
                }
            });
            connections.spawn(async move {
                let builder = http2::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    tasks
}

/// A client of such a runtime, which has been asked who it is.
fn with(fake: Fake, test: impl AsyncFnOnce(Cri, Shared, &Path)) {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        let fake = Arc::new(Mutex::new(fake));
        let _server = serve(&dir.path().join("cri.sock"), &fake);
        let cri = Cri::meet(Place::new(dir.path(), "/cri.sock")).await.expect("a runtime");
        test(cri, fake, dir.path()).await;
    });
}

fn found(id: &str) -> Found {
    let pod = Some(id.replace(['s', 'c'], "u"));
    Found { id: id.to_owned(), runtime: Runtime::Containerd, pod, process: None }
}

fn calls(fake: &Shared) -> Vec<String> {
    std::mem::take(&mut fake.lock().expect("no panic").calls)
}

#[test]
fn a_new_pod_takes_a_call_for_its_sandbox_and_one_for_each_container() {
    with(Fake { pods: 3, image: "nginx:1".to_owned(), ..Fake::default() }, async |mut cri, fake, _| {
        assert_eq!(calls(&fake), ["Version"]);
        let sandbox = cri.describe(&[found("s1")]).await.expect("an answer");
        assert_eq!(calls(&fake), ["PodSandboxStatus"]);
        assert_eq!((sandbox[0].role, sandbox[0].handler.as_str()), (Some(Role::Sandbox), "runsc"));

        let container = cri.describe(&[found("c1")]).await.expect("an answer");
        assert_eq!(calls(&fake), ["ListContainers"]);
        let pod = container[0].pod.clone().expect("a pod");
        assert_eq!((container[0].name.as_str(), container[0].image.as_str()), ("app1", "nginx:1"));
        assert_eq!((pod.name.as_str(), pod.ip.as_str()), ("p1", "10.0.0.1"));
        assert_eq!(cri.calls(), 3);
    });
}

#[test]
fn many_are_read_from_lists() {
    with(Fake { pods: 50, ..Fake::default() }, async |mut cri, fake, _| {
        calls(&fake);
        let batch: Vec<Found> =
            (0..40).flat_map(|n| [found(&format!("s{n}")), found(&format!("c{n}"))]).collect();
        let described = cri.describe(&batch).await.expect("an answer");
        assert_eq!(described.len(), batch.len());
        let container = described.iter().find(|one| one.id == "c7").expect("described");
        assert_eq!(container.pod.as_ref().map(|pod| pod.ip.as_str()), Some("10.0.0.7"));
        // The address of a pod is not in the list.
        assert_eq!(calls(&fake).len(), 2 + 40);
        cri.describe(&batch).await.expect("an answer");
        assert_eq!(calls(&fake), ["ListPodSandbox", "ListContainers"], "what is known is not asked again");
    });
}

#[test]
fn a_sandbox_that_comes_late_is_described_after_its_event() {
    let hidden = BTreeSet::from(["s0".to_owned()]);
    with(Fake { pods: 1, hidden, ..Fake::default() }, async |mut cri, _, _| {
        assert_eq!(cri.describe(&[found("s0")]).await, Ok(Vec::new()));
        // Of the two that have been started, one was not asked for.
        assert_eq!(cri.changed().await, ["s0"]);
        let described = cri.describe(&[found("s0")]).await.expect("an answer");
        assert_eq!(described[0].id, "s0");
    });
}

#[test]
fn a_digest_is_named_once() {
    let image = format!("sha256:{}", "ab".repeat(32));
    with(Fake { pods: 5, image, ..Fake::default() }, async |mut cri, fake, _| {
        let batch: Vec<Found> = (0..5).map(|n| found(&format!("c{n}"))).collect();
        let described = cri.describe(&batch).await.expect("an answer");
        assert!(described.iter().all(|one| one.image == "nginx:1"), "{described:?}");
        assert_eq!(calls(&fake).iter().filter(|call| *call == "ImageStatus").count(), 1);
    });
}

#[test]
fn failures_are_told_from_answers() {
    with(Fake { pods: 1, ..Fake::default() }, async |mut cri, fake, dir| {
        let batch = [found("c0")];
        assert_eq!(cri.describe(&[found("c5")]).await, Ok(Vec::new()), "nobody has it");
        let failing = |status| fake.lock().expect("no panic").status = Some(status);
        failing(14);
        assert!(cri.describe(&batch).await.expect_err("unavailable").ends_talk());
        failing(7);
        let refused = cri.describe(&batch).await.expect_err("permission denied");
        assert!(!refused.ends_talk(), "{refused}");
        failing(12);
        let trouble = Cri::meet(Place::new(dir, "/cri.sock")).await.expect_err("no such service");
        assert!(trouble.to_string().contains("not the CRI of version v1"), "{trouble}");

        fake.lock().expect("no panic").status = None;
        fake.lock().expect("no panic").padding = 9 << 20;
        assert_eq!(cri.describe(&batch).await, Err(Trouble::Long));
        fake.lock().expect("no panic").padding = 0;
        assert_eq!(cri.describe(&batch).await.map(|all| all.len()), Ok(1), "the same connection goes on");
    });
}

#[test]
fn a_runtime_that_is_gone_is_found_again() {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cri.sock");
        let fake = Arc::new(Mutex::new(Fake { pods: 1, ..Fake::default() }));
        let server = serve(&path, &fake);
        let mut cri = Cri::meet(Place::new(dir.path(), "/cri.sock")).await.expect("a runtime");
        drop(server);
        std::fs::remove_file(&path).expect("removed");
        let gone = cri.describe(&[found("c0")]).await.expect_err("nobody");
        assert!(gone.ends_talk(), "{gone}");
        assert_eq!(cri.describe(&[found("c0")]).await.map_err(|it| it.ends_talk()), Err(true));
        let _server = serve(&path, &fake);
        assert_eq!(cri.describe(&[found("c0")]).await.map(|all| all.len()), Ok(1));
    });
}

#[test]
fn a_containerd_without_a_cri_is_left_alone_where_nobody_named_it() {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        let fake = Arc::new(Mutex::new(Fake { status: Some(12), ..Fake::default() }));
        let _server = serve(&dir.path().join("cri.sock"), &fake);
        let place = Place::new(dir.path(), "/cri.sock");
        let mut guessed = Asked::guessed(place.clone(), &[Runtime::Containerd]);
        for _ in 0..3 {
            assert_eq!(guessed.describe(&[found("c0")]).await, Ok(Vec::new()));
        }
        assert_eq!(calls(&fake), ["Version"]);
        let error = Asked::given(place).describe(&[found("c0")]).await.expect_err("somebody wants it");
        assert!(error.contains("not the CRI of version v1"), "{error}");
    });
}
