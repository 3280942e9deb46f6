#![expect(clippy::disallowed_methods, reason = "ip brings the loopback device up")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    thread,
};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

use super::{
    super::{Dir, execute_here},
    *,
};
use crate::accumulator::MemoryAccumulator;

fn inside() -> Inside {
    Inside {
        deadline: Instant::now() + Duration::from_secs(60),
        root: Dir::open(Path::new("/")).unwrap(),
        process: Dir::open(Path::new("/proc/thread-self")).unwrap(),
        procfs: None,
    }
}

fn look(inside: &Inside) -> MemoryAccumulator {
    let mut check = Sockets { timeout: Duration::from_secs(60) };
    let mut acc = MemoryAccumulator::new();
    execute_here(&mut check, inside, &mut acc).unwrap();
    acc
}

/// Runs in a network namespace of its own, with a loopback device. Not without root.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("needs root: a network namespace of its own");
        return;
    }
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        test();
    };
    thread::spawn(run).join().unwrap();
}

/// Sockets by state, as /proc/net/tcp or tcp6 shows them.
fn states(inside: &Inside, file: &str) -> BTreeMap<u8, u64> {
    let mut states = BTreeMap::new();
    let content = inside.process.read(file, 1 << 20).unwrap();
    for line in std::str::from_utf8(&content).unwrap().lines().skip(1) {
        let state = line.split_ascii_whitespace().nth(3).unwrap();
        *states.entry(u8::from_str_radix(state, 16).unwrap()).or_default() += 1;
    }
    states
}

#[test]
fn it_agrees_with_the_tables_of_the_kernel() {
    in_namespace(|| {
        let inside = inside();
        let empty = look(&inside);
        assert_eq!(empty.number("listen_ports", &[]), Some(0.0));
        assert_eq!(empty.number("udp", &["ipv4"]), Some(0.0));
        assert_eq!(empty.number("udp", &["ipv6"]), Some(0.0));
        assert_eq!(empty.number("listen_overflows_total", &[]), Some(0.0));

        let listener = TcpListener::bind("127.0.0.1:7001").unwrap();
        let six = TcpListener::bind("[::1]:7002").unwrap();
        let waiting: Vec<_> = (0..3).map(|_| TcpStream::connect("127.0.0.1:7001").unwrap()).collect();
        let mut both = TcpStream::connect("[::1]:7002").unwrap();
        both.write_all(b"hello").unwrap();
        // One that is closed by one side.
        let left = TcpStream::connect("127.0.0.1:7001").unwrap();
        drop(left);
        let udp = UdpSocket::bind("127.0.0.1:7003").unwrap();
        udp.send_to(b"datagram", "127.0.0.1:7003").unwrap();
        let udp_six = [7004, 7005].map(|port| UdpSocket::bind(("::1", port)).unwrap());

        // States may still change: a moment when they did not is looked for.
        let files = || [states(&inside, "net/tcp"), states(&inside, "net/tcp6")];
        let (acc, expected) = std::iter::repeat_with(|| (files(), look(&inside), files()))
            .find_map(|(before, acc, after)| (before == after).then_some((acc, after)))
            .unwrap();
        for (family, expected) in ["ipv4", "ipv6"].iter().zip(expected) {
            for (number, state) in (1..).zip(counts::STATES) {
                let count = expected.get(&number).copied().unwrap_or(0);
                assert_eq!(acc.number("tcp", &[family, state]), Some(count as f64), "{family} {state}");
            }
        }
        assert_eq!(acc.number("tcp", &["ipv4", "listen"]), Some(1.0));
        assert!(acc.number("tcp", &["ipv4", "established"]) >= Some(6.0));
        assert_eq!(acc.number("listen_queue", &["7001"]), Some(4.0));
        assert_eq!(acc.number("listen_queue_max", &["7001"]), Some(128.0));
        assert_eq!(acc.number("listen_queue", &["7002"]), Some(1.0));
        assert_eq!(acc.number("listen_ports", &[]), Some(2.0));
        assert_eq!(acc.number("listen_queue", &["other"]), None);
        // What was written, and the end of the one that was closed.
        assert_eq!(acc.number("tcp_queue_bytes", &["receive"]), Some(6.0));
        assert_eq!(acc.number("udp", &["ipv4"]), Some(1.0));
        assert_eq!(acc.number("udp", &["ipv6"]), Some(2.0));
        assert!(acc.number("udp_queue_bytes", &["receive"]) > Some(8.0));
        drop((listener, six, waiting, both, udp_six));
    });
}

#[test]
fn overflows_are_those_of_the_namespace() {
    in_namespace(|| {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let address: std::net::SocketAddr = "127.0.0.1:7001".parse().unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(1).unwrap();
        let full: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
        let more = TcpStream::connect_timeout(&address, Duration::from_millis(50));
        assert!(more.is_err());
        let acc = look(&inside());
        assert!(acc.number("listen_overflows_total", &[]) >= Some(1.0));
        assert!(acc.number("listen_drops_total", &[]) >= Some(1.0));
        assert_eq!(acc.number("listen_queue", &["7001"]), Some(2.0));
        assert_eq!(acc.number("listen_queue_max", &["7001"]), Some(1.0));
        drop(full);
    });
}

#[test]
fn very_many_sockets_are_counted() {
    const MANY: u32 = 20_000;
    in_namespace(|| {
        let set = |sysctl: &str, value: &str| {
            fs::write(Path::new("/proc/sys/net/ipv4").join(sysctl), value).unwrap();
        };
        set("tcp_tw_reuse", "0");
        set("tcp_max_tw_buckets", "100000");
        set("ip_local_port_range", "1024 65535");
        let listener = TcpListener::bind("127.0.0.1:700").unwrap();
        // What ends them first keeps waiting for late segments; that is a socket without a file.
        for _ in 0..MANY {
            let mine = TcpStream::connect("127.0.0.1:700").unwrap();
            let (mut theirs, _) = listener.accept().unwrap();
            drop(mine);
            assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        }
        let waiting = look(&inside()).number("tcp", &["ipv4", "time_wait"]);
        // The first ones may be over on a very slow machine, and not the last half.
        assert!((f64::from(MANY / 2)..=f64::from(MANY)).contains(&waiting.unwrap()), "{waiting:?}");
    });
}

#[test]
fn ports_are_bounded() {
    in_namespace(|| {
        let listeners: Vec<_> = (1..=200_u16)
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, 7000 + port)).unwrap())
            .collect();
        let acc = look(&inside());
        assert_eq!(acc.number("tcp", &["ipv4", "listen"]), Some(200.0));
        assert_eq!(acc.number("listen_ports", &[]), Some(200.0));
        assert_eq!(acc.number("listen_ports_other", &[]), Some(136.0));
        assert_eq!(acc.number("listen_queue_max", &["7064"]), Some(128.0));
        assert_eq!(acc.number("listen_queue_max", &["7065"]), None);
        assert_eq!(acc.number("listen_queue_max", &["other"]), Some(136.0 * 128.0));
        drop(listeners);
    });
}

#[test]
fn the_host_has_sockets_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut acc = MemoryAccumulator::new();
    let mut check = Sockets { timeout: Duration::from_secs(60) };
    check.collect(&CollectContext::new(Duration::from_secs(60)), &mut acc).unwrap();
    assert!(acc.number("tcp", &["ipv4", "listen"]) >= Some(1.0));
    assert_eq!(acc.number("executed", &[]), Some(1.0));
    drop(listener);
}
