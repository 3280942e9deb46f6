//! Checks over the network as they are, in helpers as they are: with what a helper still may.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use pitot::{
    accumulator::MemoryAccumulator,
    catalogue::{CheckDef, Source},
    input::check::{
        HelperError, PodInput,
        dialcheck::{self, DialCheck, Network},
        httpcheck::{self, HttpCheck},
    },
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use crate::{
    Test,
    crew::{Crew, LONG, processes},
    target::Running,
};

pub(crate) const TESTS: &[Test] = &[
    ("each_target_is_asked_at_its_own_address", each_target_is_asked_at_its_own_address),
    ("names_and_certificates_are_those_of_the_target", names_and_certificates_are_those_of_the_target),
    ("ports_and_sockets_of_a_target_are_dialled", ports_and_sockets_of_a_target_are_dialled),
];

/// The word that makes a target a server.
pub(crate) const SERVES: &str = "serves";
const PLAIN: u16 = 8080;
const SECURE: u16 = 8443;
const ECHO: u16 = 8053;
/// Nobody is there.
const CLOSED: u16 = 8081;

/// Serves in the network of a target, which is its own: everybody can have the same ports.
pub(crate) fn serve(inode: u64) {
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (plain, secure) = (TcpListener::bind(at(PLAIN)).unwrap(), TcpListener::bind(at(SECURE)).unwrap());
    let echo = UdpSocket::bind(at(ECHO)).unwrap();
    thread::spawn(move || {
        for stream in plain.incoming() {
            let mut stream = stream.unwrap();
            answer(&mut stream, inode);
        }
    });
    let config = config();
    thread::spawn(move || {
        for stream in secure.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(&mut StreamOwned::new(connection, stream.unwrap()), inode);
        }
    });
    thread::spawn(move || {
        let mut datagram = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut datagram) {
            let _gone = echo.send_to(&datagram[..length], from);
        }
    });
}

fn config() -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(2040, 1, 1);
    let certificate = CertificateDer::from(params.self_signed(&key).unwrap().der().to_vec());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    Arc::new(config.unwrap())
}

fn answer(stream: &mut (impl Read + Write), inode: u64) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.extend(byte);
    }
    let _gone = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{inode}");
}

/// What a check finds in a target.
fn find(crew: &Crew, target: &Running, check: &mut dyn PodInput) -> Result<MemoryAccumulator, HelperError> {
    let Source::Check(needs) = check.definition().source else { panic!("a check") };
    let needs: &'static CheckDef = needs;
    let request = check.serialize_request().unwrap();
    let response = crew.wait(crew.helpers.execute(&target.target(), needs, &request))?;
    let mut acc = MemoryAccumulator::new();
    check.process_response(&response, &mut acc)?;
    Ok(acc)
}

fn http(url: String) -> httpcheck::Settings {
    httpcheck::Settings { url, timeout: LONG, ..httpcheck::Settings::default() }
}

fn each_target_is_asked_at_its_own_address() {
    let crew = Crew::new();
    let targets = [Running::start(&["net", SERVES]), Running::start(&["net", SERVES])];
    for round in 1..=3_u32 {
        for (target, other) in [(&targets[0], &targets[1]), (&targets[1], &targets[0])] {
            let own = |inode: u64| httpcheck::Settings {
                body_regex: format!("^{inode}$"),
                ..http(format!("http://127.0.0.1:{PLAIN}/"))
            };
            let acc = find(&crew, target, &mut HttpCheck::new(own(target.inode)).unwrap()).unwrap();
            assert_eq!(acc.number("up", &[]), Some(1.0), "{:?}", acc.samples());
            let acc = find(&crew, target, &mut HttpCheck::new(own(other.inode)).unwrap()).unwrap();
            assert_eq!(acc.number("down", &["body"]), Some(1.0), "round {round}");
        }
    }
    assert_eq!(processes().len(), 2, "one helper serves many checks");
}

fn names_and_certificates_are_those_of_the_target() {
    let (crew, target) = (Crew::new(), Running::start(&["net", SERVES]));
    let url = format!("https://localhost:{SECURE}/");
    let trusting = httpcheck::Settings { verify: false, ..http(url.clone()) };
    for _ in 0..2 {
        let acc = find(&crew, &target, &mut HttpCheck::new(trusting.clone()).unwrap()).unwrap();
        assert_eq!(acc.number("up", &[]), Some(1.0), "{:?}", acc.samples());
        assert_eq!(acc.number("tls_verified", &[]), Some(0.0));
        assert_eq!(acc.number("tls_certificate_expiry_timestamp_seconds", &[]), Some(2_208_988_800.0));
        for phase in ["resolve", "connect", "tls", "first_byte", "transfer"] {
            assert!(acc.number("duration_seconds", &[phase]).is_some(), "{phase}");
        }
    }
    let acc = find(&crew, &target, &mut HttpCheck::new(http(url)).unwrap()).unwrap();
    assert_eq!(acc.number("down", &["certificate"]), Some(1.0));
    let brief = httpcheck::Settings {
        timeout: Duration::from_millis(300),
        ..http(format!("http://no-such-name.invalid:{PLAIN}/"))
    };
    let acc = find(&crew, &target, &mut HttpCheck::new(brief).unwrap()).unwrap();
    assert_eq!(acc.number("up", &[]), Some(0.0), "nobody there knows the name: {:?}", acc.samples());
}

fn ports_and_sockets_of_a_target_are_dialled() {
    let (crew, target) = (Crew::new(), Running::start(&["net", SERVES]));
    let dial = |settings: dialcheck::Settings| {
        let settings = dialcheck::Settings { timeout: LONG, ..settings };
        find(&crew, &target, &mut DialCheck::new(settings).unwrap())
    };
    let (open, closed) = (PLAIN.to_string(), CLOSED.to_string());
    let tcp = dialcheck::Settings { ports: vec![PLAIN, CLOSED], times: 3, ..dialcheck::Settings::default() };
    let acc = dial(tcp).unwrap();
    assert_eq!(acc.number("attempts_total", &[&open, "up"]), Some(3.0), "{:?}", acc.samples());
    assert_eq!(acc.number("down", &[&closed, "refused"]), Some(1.0));
    let udp = dialcheck::Settings {
        network: Network::Udp,
        ports: vec![ECHO, CLOSED],
        send: "ping".to_owned(),
        expect: "^ping$".to_owned(),
        ..dialcheck::Settings::default()
    };
    let acc = dial(udp).unwrap();
    assert_eq!(acc.number("up", &[&ECHO.to_string()]), Some(1.0), "{:?}", acc.samples());
    assert_eq!(acc.number("down", &[&closed, "refused"]), Some(1.0));
    // The target sees the files of this test; the helper sees none.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("app.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let unix =
        dialcheck::Settings { network: Network::Unix, path: path.clone(), ..dialcheck::Settings::default() };
    let error = dial(unix.clone()).unwrap_err();
    assert!(error.to_string().contains("may not connect"), "that says nothing about the target: {error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let acc = dial(unix).unwrap();
    assert_eq!(acc.number("up", &[&path]), Some(1.0), "{:?}", acc.samples());
}
