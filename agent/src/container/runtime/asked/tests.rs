use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixListener, task::JoinHandle};

use super::*;
use crate::container::runtime::http::tests::now;

const DOCKER: &str =
    r#"{"Components":[{"Name":"Engine"}],"Version":"20","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;
const PODMAN: &str = r#"{"Components":[{"Name":"Podman Engine","Details":{"MinAPIVersion":"4.0.0"}}]}"#;
const LIST: &str =
    r#"[{"Id":"c1","Names":["/web"],"HostConfig":{}},{"Id":"c2","Names":["/db"],"HostConfig":{}}]"#;

/// What was asked for.
type Asking = Arc<Mutex<Vec<String>>>;

/// Answers as docker or podman would, until it is dropped.
struct Daemon {
    asked: Asking,
    task: JoinHandle<()>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn serve(path: &std::path::Path, version: &'static str, list: &'static str) -> Daemon {
    drop(std::fs::remove_file(path));
    let listener = UnixListener::bind(path).expect("a socket");
    let asked = Asking::default();
    let noted = Arc::clone(&asked);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| {
                let target = request.uri().to_string();
                noted.lock().expect("no panic").push(target.clone());
                async move {
                    let body = if target == "/version" { version } else { list };
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(bytes::Bytes::from(body))))
                }
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        }
    });
    Daemon { asked, task }
}

fn found(id: &str, runtime: Runtime) -> Found {
    Found { id: id.to_owned(), runtime, pod: None, process: None }
}

fn names(described: Result<Vec<Description>, String>) -> Vec<String> {
    described.expect("an answer").into_iter().map(|one| one.name).collect()
}

#[test]
fn a_docker_is_asked_about_its_own_and_once() {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        let daemon = serve(&dir.path().join("d.sock"), DOCKER, LIST);
        let mut source = Asked::given(Place::new(dir.path(), "/d.sock"));
        let batch =
            [found("c1", Runtime::Docker), found("c9", Runtime::Docker), found("c2", Runtime::Podman)];
        assert!(batch.iter().all(|found| source.may_know(found)), "while it is not known who it is");
        assert_eq!(names(source.describe(&batch).await), ["web"]);
        assert!(!source.may_know(&batch[2]));
        assert_eq!(names(source.describe(&batch[2..]).await), [""; 0]);
        assert_eq!(source.calls(), 2, "who it is, and what these are called");
        let asked = daemon.asked.lock().expect("no panic").clone();
        assert_eq!(
            asked,
            [
                "/version",
                "/v1.41/containers/json?all=true&filters=%7B%22id%22%3A%5B%22c1%22%2C%22c9%22%5D%7D"
            ]
        );
    });
}

#[test]
fn a_runtime_that_is_back_is_asked_who_it_is() {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("d.sock");
        let mut source = Asked::guessed(Place::new(dir.path(), "/d.sock"), &[Runtime::Docker]);
        let batch = [found("c1", Runtime::Unknown)];
        assert_eq!(source.describe(&batch).await, Ok(Vec::new()), "many hosts have none");
        assert!(
            source.may_know(&found("c1", Runtime::Docker)) && !source.may_know(&found("c1", Runtime::Podman))
        );

        let daemon = serve(&path, DOCKER, LIST);
        assert_eq!(source.changed().await, ["c1"], "what it was asked before");
        assert_eq!(names(source.describe(&batch).await), ["web"]);

        drop(daemon);
        tokio::task::yield_now().await;
        let error = source.describe(&batch).await.expect_err("nobody listens");
        assert!(error.contains("nobody listens"), "{error}");
        std::fs::remove_file(&path).expect("removed");
        let error = source.describe(&batch).await.expect_err("it was there");
        assert!(error.ends_with("d.sock does not exist"), "{error}");

        let _podman = serve(&path, PODMAN, r#"[{"Id":"c1","Names":["pweb"]}]"#);
        let described = source.describe(&batch).await.expect("an answer");
        assert_eq!((described[0].name.as_str(), described[0].runtime), ("pweb", Some(Runtime::Podman)));
    });
}

#[test]
fn nonsense_is_nobody_and_is_said() {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        let batch = [found("c1", Runtime::Docker)];
        let _daemon = serve(&dir.path().join("d.sock"), "{\"Version\":5}", "nonsense");
        let mut source = Asked::given(Place::new(dir.path(), "/d.sock"));
        assert!(source.describe(&batch).await.is_err());

        let _daemon = serve(&dir.path().join("e.sock"), DOCKER, "nonsense");
        let mut source = Asked::given(Place::new(dir.path(), "/e.sock"));
        let error = source.describe(&batch).await.expect_err("no list");
        assert!(error.starts_with("not what it should be"), "{error}");

        std::fs::write(dir.path().join("f.sock"), "").expect("a file");
        let mut source = Asked::given(Place::new(dir.path(), "/f.sock"));
        let error = source.describe(&batch).await.expect_err("no socket");
        assert!(error.ends_with("is not a socket"), "{error}");
    });
}

#[test]
fn links_stay_in_the_tree_of_the_host() {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("run")).expect("a directory");
        std::fs::create_dir_all(dir.path().join("var")).expect("a directory");
        std::os::unix::fs::symlink("/run", dir.path().join("var/run")).expect("a link");
        let _daemon = serve(&dir.path().join("run/d.sock"), DOCKER, LIST);
        let mut source = Asked::given(Place::new(dir.path(), "/var/run/d.sock"));
        assert_eq!(names(source.describe(&[found("c2", Runtime::Docker)]).await), ["db"]);
    });
}

#[test]
fn who_may_not_write_to_a_socket_is_told() {
    // Whoever overrides permissions is never refused.
    let overrides = caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_DAC_OVERRIDE);
    if overrides.unwrap_or(true)
        && caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_DAC_OVERRIDE).is_err()
    {
        eprintln!("the right to override permissions cannot be given up: nothing was tested");
        return;
    }
    now(async {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("d.sock");
        let _daemon = serve(&path, DOCKER, LIST);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).expect("permissions");
        let mut source = Asked::given(Place::new(dir.path(), "/d.sock"));
        let error = source.describe(&[found("c1", Runtime::Docker)]).await.expect_err("refused");
        assert!(error.contains("must be able to write"), "{error}");
    });
}

#[test]
fn one_that_does_not_answer_is_not_waited_for() {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        // It is connected to, and that is all.
        let _listener = UnixListener::bind(dir.path().join("d.sock")).expect("a socket");
        let mut source = Asked::given(Place::new(dir.path(), "/d.sock"));
        let error = source.describe(&[found("c1", Runtime::Docker)]).await.expect_err("nobody answers");
        assert_eq!(error, "no answer within 2 s");
    });
}
