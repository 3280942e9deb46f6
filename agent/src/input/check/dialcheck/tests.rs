//! Tries on real sockets.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    sync::mpsc::channel,
    thread,
};

use super::*;
use crate::{
    accumulator::{MemoryAccumulator, OwnedValue},
    input::check::Dir,
};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

fn settings(ports: &[u16]) -> Settings {
    Settings { ports: ports.to_vec(), timeout: LONG, ..Settings::default() }
}

fn udp(port: u16) -> Settings {
    Settings { network: Network::Udp, ..settings(&[port]) }
}

fn collect(check: &mut DialCheck) -> Result<MemoryAccumulator, InputError> {
    let mut acc = MemoryAccumulator::new();
    check.collect(&CollectContext::new(Duration::from_secs(60)), &mut acc)?;
    assert_eq!(acc.number("executed", &[]), Some(1.0), "whatever it found");
    Ok(acc)
}

fn check(settings: Settings) -> MemoryAccumulator {
    collect(&mut DialCheck::new(settings).unwrap()).unwrap()
}

/// The reason why a port is down, that it is up, or that nothing is known.
fn verdict(acc: &MemoryAccumulator, port: &str) -> String {
    let of = |sample: &&crate::accumulator::OwnedSample| sample.name == "down" && sample.labels[0].1 == port;
    let reasons: Vec<_> = acc.samples().iter().filter(of).collect();
    match (acc.number("up", &[port]), &reasons[..]) {
        (Some(1.0), []) => "up".to_owned(),
        (Some(0.0), [reason]) => reason.labels[1].1.clone(),
        (None, []) => "unknown".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn outcome(settings: Settings) -> String {
    let label = settings.labels().remove(0);
    verdict(&check(settings), &label)
}

fn observed(acc: &MemoryAccumulator, port: &str) -> u64 {
    let of =
        |sample: &&crate::accumulator::OwnedSample| sample.name == "seconds" && sample.labels[0].1 == port;
    match &acc.samples().iter().find(of).unwrap().value {
        OwnedValue::Histogram(seconds) => seconds.count(),
        OwnedValue::Number(_) => panic!("a histogram"),
    }
}

/// A listener, and a port where nobody listens, for as long as their sockets are kept.
fn ports() -> ([socket2::Socket; 2], u16, u16) {
    let bound = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        (socket, port)
    };
    let ((open, open_port), (closed, closed_port)) = (bound(), bound());
    open.listen(100).unwrap();
    ([open, closed], open_port, closed_port)
}

#[test]
fn each_port_is_told_for_itself() {
    let (_sockets, open, closed) = ports();
    let mut check = DialCheck::new(Settings { times: 3, ..settings(&[open, closed]) }).unwrap();
    for round in 1..=2_u32 {
        let acc = collect(&mut check).unwrap();
        let (open, closed) = (open.to_string(), closed.to_string());
        let (open, closed) = (open.as_str(), closed.as_str());
        assert_eq!((verdict(&acc, open).as_str(), verdict(&acc, closed).as_str()), ("up", "refused"));
        assert_eq!(acc.number("success_ratio", &[open]), Some(1.0));
        assert_eq!(acc.number("success_ratio", &[closed]), Some(0.0));
        assert!(acc.number("connect_seconds", &[open]) > Some(0.0));
        assert_eq!(acc.number("connect_seconds", &[closed]), None);
        assert_eq!(acc.number("answer_seconds", &[open]), None);
        let tries = 3 * round;
        assert_eq!(acc.number("attempts_total", &[open, "up"]), Some(tries.into()));
        assert_eq!(acc.number("attempts_total", &[closed, "refused"]), Some(tries.into()));
        assert_eq!(acc.number("attempts_total", &[closed, "up"]), Some(0.0));
        assert_eq!((observed(&acc, open), observed(&acc, closed)), (u64::from(tries), 0));
        let names = |name: &str| acc.samples().iter().filter(|sample| sample.name == name).count();
        assert_eq!(names("connect_seconds"), 1, "one series has one sample");
    }
}

#[test]
fn a_name_of_several_addresses_is_up_where_one_is() {
    let (_sockets, open, closed) = ports();
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let nowhere: SocketAddr = "[100::1]:80".parse().unwrap();
    let patience = Patience::new(LONG, &Inside::host(2 * LONG).unwrap());
    let connect = |addresses: &[SocketAddr]| {
        reach::run(reach::connect(addresses, patience)).unwrap().map(|stream| stream.peer_addr().unwrap())
    };
    assert_eq!(connect(&[address(closed), address(open)]), Ok(address(open)));
    assert_eq!(connect(&[address(closed)]), Err(Failure::Down(Reason::Refused)));
    assert_eq!(connect(&[address(closed), nowhere]), Err(Failure::Down(Reason::Refused)));
    assert_eq!(connect(&[]), Err(Failure::Down(Reason::Resolve)));
}

#[test]
fn counters_outlive_a_change_of_configuration() {
    let (_sockets, open, closed) = ports();
    let mut check = DialCheck::new(settings(&[open])).unwrap();
    collect(&mut check).unwrap();
    let mut next = DialCheck::new(settings(&[closed, open])).unwrap();
    next.update_from(&mut check);
    let acc = collect(&mut next).unwrap();
    assert_eq!(acc.number("attempts_total", &[&open.to_string(), "up"]), Some(2.0));
}

#[test]
fn an_address_of_ipv6_is_dialled() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return eprintln!("no IPv6 here") };
    let port = listener.local_addr().unwrap().port();
    assert_eq!(outcome(Settings { host: "::1".to_owned(), ..settings(&[port]) }), "up");
    // Nobody is there under the other address.
    assert_eq!(outcome(settings(&[port])), "refused");
}

#[test]
fn a_greeting_may_be_expected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"220 ready\r\n").unwrap();
            let mut line = [0; 6];
            if stream.read_exact(&mut line).is_ok() {
                assert_eq!(&line, b"EHLO\r\n");
                stream.write_all(b"250 hello\r\n").unwrap();
            }
        }
    });
    let with = |send: &str, expect: &str| Settings {
        send: send.to_owned(),
        expect: expect.to_owned(),
        ..settings(&[port])
    };
    let acc = check(with("", "^220 "));
    assert_eq!(verdict(&acc, &port.to_string()), "up");
    assert!(
        acc.number("answer_seconds", &[&port.to_string()])
            > acc.number("connect_seconds", &[&port.to_string()])
    );
    assert_eq!(outcome(with("EHLO\r\n", "^220 ready\r\n250 hello")), "up");
    let silent = check(Settings { timeout: SHORT, ..with("", "^250") });
    assert_eq!(verdict(&silent, &port.to_string()), "timeout");
    assert!(silent.number("connect_seconds", &[&port.to_string()]).is_some(), "that was measured");
    assert_eq!(observed(&silent, &port.to_string()), 0);
}

#[test]
fn an_answer_that_never_fits_is_not_read_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut streams = listener.incoming();
        while streams.next().unwrap().unwrap().write_all(&vec![b'x'; 1 << 20]).is_err() {}
        // The next one says nothing and leaves.
        drop(streams.next());
    });
    let expecting = || Settings { expect: "ready".to_owned(), ..settings(&[port]) };
    assert_eq!(outcome(expecting()), "answer");
}

#[test]
fn who_leaves_without_the_answer_has_not_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || drop(listener.accept()));
    assert_eq!(outcome(Settings { expect: "ready".to_owned(), ..settings(&[port]) }), "answer");
}

#[test]
fn a_listener_without_room_is_waited_for_no_longer_than_allowed() {
    // The kernel drops what comes to a full queue: nobody refuses, and nobody accepts.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let held: Vec<_> =
        (0..2).map(|_| std::net::TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), SHORT)).collect();
    let acc = check(Settings { times: 2, timeout: 2 * SHORT, ..settings(&[port]) });
    assert_eq!(verdict(&acc, &port.to_string()), "timeout");
    assert_eq!(acc.number("attempts_total", &[&port.to_string(), "timeout"]), Some(2.0));
    drop(held);
}

#[test]
fn udp_tells_an_answer_from_a_refusal_and_from_silence() {
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = echo.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut datagram = [0; 64];
        loop {
            let (length, from) = echo.recv_from(&mut datagram).unwrap();
            echo.send_to(&datagram[..length], from).unwrap();
        }
    });
    let with =
        |send: &str, expect: &str| Settings { send: send.to_owned(), expect: expect.to_owned(), ..udp(port) };
    let acc = check(with("ping", "^ping$"));
    assert_eq!((verdict(&acc, &port.to_string()).as_str(), observed(&acc, &port.to_string())), ("up", 1));
    assert!(acc.number("answer_seconds", &[&port.to_string()]) > Some(0.0));
    assert_eq!(acc.number("connect_seconds", &[&port.to_string()]), None);
    assert_eq!(outcome(with("", "")), "up", "any answer will do, also to nothing");
    assert_eq!(outcome(with("ping", "^pong$")), "answer");

    let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    // Only for somebody else: to all others it is as if nobody were there.
    closed.connect("127.0.0.1:9").unwrap();
    assert_eq!(outcome(udp(port)), "refused");

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let acc = check(Settings { timeout: SHORT, times: 2, ..udp(port) });
    assert_eq!(verdict(&acc, &port.to_string()), "unknown", "it may well be there");
    assert_eq!(acc.number("attempts_total", &[&port.to_string(), "silent"]), Some(2.0));
    assert_eq!(acc.number("success_ratio", &[&port.to_string()]), None);
    let expecting = Settings { timeout: SHORT, expect: "x".to_owned(), ..udp(port) };
    assert_eq!(outcome(expecting), "timeout");
}

#[test]
fn nobody_is_down_because_the_caller_has_no_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut check = DialCheck::new(udp(silent.local_addr().unwrap().port())).unwrap();
    let error = check.collect(&CollectContext::new(SHORT), &mut MemoryAccumulator::new()).unwrap_err();
    assert!(error.to_string().contains("`deadline`"));
}

#[test]
fn a_response_that_lies_changes_nothing_but_its_own_samples() {
    let mut agent = DialCheck::new(settings(&[80])).unwrap();
    let mut response = wire::Response::new();
    response.put(&DEF, &UP, &[b"81"], 1.0).unwrap();
    response.put(&DEF, &DOWN, &[b"80", b"no such reason"], 1.0).unwrap();
    response.put(&DEF, &CONNECT, &[b"80"], f64::INFINITY).unwrap();
    response.put(&DEF, &ATTEMPTS, &[b"80", b"up"], 1e9).unwrap();
    response.put(&DEF, &ATTEMPTS, &[b"80", b"reset"], -7.0).unwrap();
    response.put(&DEF, &EXECUTED, &[], 0.0).unwrap();
    let mut acc = MemoryAccumulator::new();
    agent.process_response(&response.into_bytes().unwrap(), &mut acc).unwrap();
    assert_eq!((acc.number("executed", &[]), acc.number("up", &["81"])), (Some(1.0), None));
    assert_eq!(acc.number("attempts_total", &["80", "up"]), Some(1.0), "as many as there were");
    assert_eq!((verdict(&acc, "80").as_str(), acc.number("connect_seconds", &["80"])), ("unknown", None));
}

fn unix(path: &str) -> Settings {
    Settings { network: Network::Unix, path: path.to_owned(), timeout: LONG, ..Settings::default() }
}

#[test]
fn a_socket_of_this_host_is_dialled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    let acc = check(unix(path));
    assert_eq!(verdict(&acc, path), "up");
    assert!(acc.number("connect_seconds", &[path]) > Some(0.0));
    drop(listener);
    assert_eq!(outcome(unix(path)), "refused", "it is still there, and nobody listens");
    assert_eq!(outcome(unix(&format!("{path}2"))), "missing");
    assert_eq!(outcome(unix(&format!("{path}/below"))), "missing");
    let datagrams = dir.path().join("datagrams.sock");
    let _bound = std::os::unix::net::UnixDatagram::bind(&datagrams).unwrap();
    assert_eq!(outcome(unix(datagrams.to_str().unwrap())), "protocol");
}

/// Executes a check as a helper does, with nothing but descriptors: in a thread that sees an empty directory as `/`.
fn execute_without_files(root: &Path, paths: &[&str]) -> Option<Vec<String>> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root may see an empty directory as /");
        return None;
    }
    let mut inside = Inside::host(LONG).unwrap();
    inside.root = Dir::open(root).unwrap();
    let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
    let empty = tempfile::tempdir().unwrap();
    let alone = empty.path().to_owned();
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        // Only for this thread.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        nix::unistd::chroot(&alone).unwrap();
        rustix::process::chdir("/").unwrap();
        let mut helper = DialCheck::default();
        for path in paths {
            let mut agent = DialCheck::new(unix(&path)).unwrap();
            let request = agent.serialize_request().unwrap();
            let mut response = wire::Response::new();
            let verdict = match helper.execute_request(&request.body, &inside, &mut response) {
                Ok(()) => {
                    let mut acc = MemoryAccumulator::new();
                    agent.process_response(&response.into_bytes().unwrap(), &mut acc).unwrap();
                    verdict(&acc, &path)
                }
                Err(error) => error.to_string(),
            };
            sender.send(verdict).unwrap();
            assert_eq!(rustix::process::getcwd(Vec::new()).unwrap().to_str(), Ok("/"), "nothing is held");
        }
    });
    thread.join().unwrap();
    Some(receiver.iter().collect())
}

#[test]
fn a_socket_of_a_target_is_dialled_without_seeing_its_files() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("run/app")).unwrap();
    let _listener = UnixListener::bind(root.path().join("run/app/app.sock")).unwrap();
    // Where the links lead is said by the target's own root.
    symlink("/run/app/app.sock", root.path().join("absolute")).unwrap();
    symlink("../../../run/./app/app.sock", root.path().join("run/relative")).unwrap();
    symlink("/run", root.path().join("var")).unwrap();
    symlink("loop", root.path().join("loop")).unwrap();
    symlink("/proc/self/root", root.path().join("run/gone")).unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    // A socket outside, which nothing inside may lead to.
    let outside = tempfile::tempdir().unwrap();
    let _other = UnixListener::bind(outside.path().join("host.sock")).unwrap();
    let host = outside.path().join("host.sock");
    let host = host.to_str().unwrap();
    symlink(host, root.path().join("escape")).unwrap();
    symlink(format!("../../../../../..{host}"), root.path().join("run/climb")).unwrap();
    let expected = [
        ("/run/app/app.sock", "up"),
        ("/absolute", "up"),
        ("/run/relative", "up"),
        ("/var/app/app.sock", "up"),
        ("/run/app/../app/app.sock", "up"),
        ("/../run/app/app.sock", "up"),
        ("/run/app/none.sock", "missing"),
        ("/none/app.sock", "missing"),
        ("/loop", "missing"),
        ("/file", "refused"),
        ("/run/gone/x.sock", "missing"),
        (host, "missing"),
        ("/escape", "missing"),
        ("/run/climb", "missing"),
    ];
    let paths: Vec<_> = expected.iter().map(|(path, _)| *path).collect();
    let Some(verdicts) = execute_without_files(root.path(), &paths) else { return };
    for ((path, expected), verdict) in expected.iter().zip(&verdicts) {
        assert_eq!(verdict, expected, "{path}");
    }
    assert_eq!(verdicts.len(), expected.len());
}

#[test]
fn a_socket_without_room_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let path = root.path().join("full.sock");
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let held = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let full = Settings { timeout: SHORT, ..unix(path.to_str().unwrap()) };
    assert_eq!(outcome(full), "timeout");
    drop(held);
}
