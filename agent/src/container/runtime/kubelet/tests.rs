use std::sync::{Arc, Mutex};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::container::{Runtime, runtime::http::tests::now};

/// Who signs certificates here, and one for 127.0.0.1 with its key, for these tests only.
const CA: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBeDCCAR2gAwIBAgIUWHi12uyA89nsl8HIYifTb8+1rjEwCgYIKoZIzj0EAwIw\n\
EDEOMAwGA1UEAwwFbm9kZXMwIBcNMjYxMTI4MDAzOTEwWhgPMjEyNjExMDQwMDM5\n\
MTBaMBAxDjAMBgNVBAMMBW5vZGVzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n\
ivtGgvucNka1NlbpkFLecKNSDwL8p9RHJdwkgOLsoCKN2UlU6GcvHu5LFisK3CAB\n\
UUtapjxq+CMJRQyr7efne6NTMFEwHQYDVR0OBBYEFCVmaQKZTuLT7o3Goh/zqj3K\n\
SEaJMB8GA1UdIwQYMBaAFCVmaQKZTuLT7o3Goh/zqj3KSEaJMA8GA1UdEwEB/wQF\n\
MAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAJKt67h+4j2YmgiKbuVK2CaxQAqIXVBu\n\
c3k0AiBiH0XNAiEA6Z9dIfLMLQdp3INlpq5sUtvPPfo0m1mD8yRAadTXr24=\n\
-----END CERTIFICATE-----";
const NODE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBgTCCASegAwIBAgIUfgV6M2xsDlZl9yz6Sji170khv/cwCgYIKoZIzj0EAwIw\n\
EDEOMAwGA1UEAwwFbm9kZXMwIBcNMjYxMTI4MDAzOTEwWhgPMjEyNjExMDQwMDM5\n\
MTBaMA8xDTALBgNVBAMMBG5vZGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATp\n\
XA1ZkR3tsQDNQ4rRWYgmaWWgJx98pAGNizCvNc2bS8HqGUTIFY8aYnBqDyyAIw2P\n\
X2nMxgD4JZWf8odeuEAYo14wXDAPBgNVHREECDAGhwR/AAABMAkGA1UdEwQCMAAw\n\
HQYDVR0OBBYEFBXQ7sI8+aXNKB3czT9mf6ui6YS3MB8GA1UdIwQYMBaAFCVmaQKZ\n\
TuLT7o3Goh/zqj3KSEaJMAoGCCqGSM49BAMCA0gAMEUCIQCS35sean+r/ovi6cwf\n\
LCIc27XU6fXOBbwg2xUhwsGFNQIgazdnq3Z7h4GNHQPGeMsblxED6bOXgQ9u2icp\n\
DTdTrJM=\n\
-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBp+GsnOSfQ8OsQ5p\n\
IMptGgydEkvDxEZjH8feH6z+UAKhRANCAATpXA1ZkR3tsQDNQ4rRWYgmaWWgJx98\n\
pAGNizCvNc2bS8HqGUTIFY8aYnBqDyyAIw2PX2nMxgD4JZWf8odeuEAY\n\
-----END PRIVATE KEY-----";

const PODS: &str =
    r#"{"items":[{"metadata":{"name":"web","namespace":"shop","uid":"u1","labels":{"app":"web"}}}]}"#;

type Asked = Arc<Mutex<Vec<String>>>;

/// A kubelet that answers every request with the pods; with TLS if asked to.
async fn serve(tls: bool, answer: String) -> (u16, Asked, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let node = CertificateDer::from_pem_slice(NODE.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![node], key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if tls {
                // Whoever does not trust it hangs up.
                if let Ok(stream) = acceptor.accept(stream).await {
                    talk(stream, &noted, &answer).await;
                }
            } else {
                talk(stream, &noted, &answer).await;
            }
        }
    });
    (port, asked, tasks)
}

async fn talk(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, noted: &Asked, answer: &str) {
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).await.unwrap_or(0);
    noted.lock().expect("no panic").push(String::from_utf8_lossy(&request[..length]).to_lowercase());
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn found(id: &str, pod: &str) -> Found {
    Found { id: id.to_owned(), runtime: Runtime::Unknown, pod: Some(pod.to_owned()), process: None }
}

#[test]
fn it_shows_its_token_to_whom_it_trusts() {
    now(async {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            Some(path)
        };
        let (port, asked, _server) = serve(true, ok(PODS)).await;
        let url = format!("https://127.0.0.1:{port}");
        let config = PodsConfig {
            kubelet_token_file: write("token", "secret\n"),
            kubelet_ca_file: write("ca", CA),
            ..PodsConfig::default()
        };
        let mut kubelet = Kubelet::new(&url, &config);
        assert!(!kubelet.may_know(&Found { pod: None, ..found("c1", "") }));
        let described = kubelet.describe(&[found("c1", "u1"), found("c2", "u2")]).await.expect("an answer");
        assert_eq!(described.len(), 1);
        assert_eq!(described[0].pod.as_ref().map(|pod| pod.labels["app"].as_str()), Some("web"));
        let request = asked.lock().expect("no panic").remove(0);
        assert!(request.starts_with("get /pods http/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: bearer secret\r\n"), "{request}");

        let insecure = PodsConfig { kubelet_insecure: true, kubelet_ca_file: None, ..config.clone() };
        assert!(Kubelet::new(&url, &insecure).describe(&[found("c1", "u1")]).await.is_ok());

        let somebody = NODE;
        asked.lock().expect("no panic").clear();
        let other = PodsConfig { kubelet_ca_file: write("other", somebody), ..config.clone() };
        let error = Kubelet::new(&url, &other).describe(&[found("c1", "u1")]).await.expect_err("a stranger");
        assert!(error.contains("certificate"), "{error}");
        let nobody = PodsConfig { kubelet_ca_file: None, ..config.clone() };
        assert!(Kubelet::new(&url, &nobody).describe(&[found("c1", "u1")]).await.is_err());
        let none = PodsConfig { kubelet_token_file: Some(dir.path().join("none")), ..config };
        assert!(Kubelet::new(&url, &none).describe(&[found("c1", "u1")]).await.is_err());
        assert_eq!(asked.lock().expect("no panic").len(), 0, "no stranger has seen the token");
    });
}

#[test]
fn it_is_not_asked_for_every_pod_that_comes() {
    now(async {
        let (port, asked, _server) = serve(false, ok(PODS)).await;
        let mut kubelet = Kubelet::new(&format!("http://127.0.0.1:{port}/"), &PodsConfig::default());
        for _ in 0..3 {
            assert_eq!(kubelet.describe(&[found("c1", "u1")]).await.map(|all| all.len()), Ok(1));
            assert_eq!(kubelet.describe(&[found("c9", "u9")]).await, Ok(Vec::new()));
        }
        assert_eq!((kubelet.calls(), asked.lock().expect("no panic").len()), (1, 1));
        kubelet.next = Instant::now();
        assert_eq!(kubelet.changed().await, ["c9"], "now it can be asked");
        assert_eq!(kubelet.describe(&[found("c9", "u9")]).await, Ok(Vec::new()));
        assert_eq!(kubelet.calls(), 2);
    });
}

#[test]
fn a_failure_stays_one_until_it_is_asked_again() {
    now(async {
        let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nForbidden".to_owned();
        let (port, _, _server) = serve(false, refusal).await;
        let mut kubelet = Kubelet::new(&format!("http://127.0.0.1:{port}"), &PodsConfig::default());
        for _ in 0..2 {
            let error = kubelet.describe(&[found("c1", "u1")]).await.expect_err("refused");
            assert_eq!(error, "403 Forbidden: Forbidden");
        }
        assert_eq!(kubelet.calls(), 1);
        let mut nonsense = Kubelet::new("nonsense", &PodsConfig::default());
        assert!(nonsense.describe(&[found("c1", "u1")]).await.is_err());
    });
}
