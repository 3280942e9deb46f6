use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use proptest::prelude::*;
use simple_dns::{Name, PacketFlag, RCODE, rdata};

use super::{
    super::Dir,
    testing::{Asked, Server, a, bytes},
    *,
};

const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const LONG: Duration = Duration::from_secs(30);

fn settings(servers: &[&Server], more: &str) -> Settings {
    let servers = servers.iter().map(|server| server.address).collect();
    Settings { servers, ..Settings::parse(more.as_bytes()) }
}

fn ask_a(settings: &Settings, name: &str, within: Duration) -> Outcome {
    let questions = [Question { names: settings.candidates(name), kind: TYPE::A }];
    ask(settings, &questions, Instant::now() + within, false).remove(0)
}

fn one(asked: &Asked) -> Vec<Vec<u8>> {
    bytes(&[asked.address(ONE)])
}

fn inside(root: &Path) -> Inside {
    let dir = |path| Dir::open(path).unwrap();
    Inside {
        deadline: Instant::now() + LONG,
        root: dir(root),
        process: dir(Path::new("/proc/self")),
        procfs: None,
    }
}

#[test]
fn a_server_answers() {
    let server = Server::start(one);
    let outcome = ask_a(&settings(&[&server], ""), "db.example", LONG);
    assert_eq!((outcome.verdict, outcome.code, outcome.records), (Verdict::Answered, Some(0), 1));
    assert_eq!((outcome.addresses, outcome.steps, outcome.truncated), (vec![ONE.into()], 1, false));
    assert!(!outcome.took.is_zero());
}

#[test]
fn only_an_answer_to_the_question_counts() {
    let server = Server::start(|asked| {
        let wrong = Ipv4Addr::new(203, 0, 113, 66);
        // From somewhere else, with the right number.
        let spoofed = bytes(&[asked.address(wrong)]);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&spoofed[0], asked.from).unwrap();
        let mut other_number = asked.address(wrong);
        other_number.set_id(asked.packet.id().wrapping_add(1));
        let mut other_name = asked.address(wrong);
        other_name.questions[0].qname = Name::new("evil.example").unwrap();
        let mut other_kind = asked.address(wrong);
        other_kind.questions[0].qtype = TYPE::TXT.into();
        let mut question = asked.address(wrong);
        question.remove_flags(PacketFlag::RESPONSE);
        let unasked = asked.answer(&[("other.example", a(wrong)), (&asked.name, a(ONE))]);
        let garbage =
            vec![b"".to_vec(), vec![0; 11], [&asked.packet.id().to_be_bytes()[..], &[255; 30]].concat()];
        [garbage, bytes(&[other_number, other_name, other_kind, question, unasked])].concat()
    });
    let outcome = ask_a(&settings(&[&server], ""), "db.example", LONG);
    assert_eq!((outcome.verdict, outcome.addresses), (Verdict::Answered, vec![ONE.into()]));
}

#[test]
fn letters_may_come_back_in_another_case_and_aliases_are_followed() {
    let server = Server::start(|asked| {
        let alias = |to: &'static str| rdata::RData::CNAME(rdata::CNAME(Name::new_unchecked(to)));
        let mut reply = asked.answer(&[
            ("DB.example", alias("a.example")),
            ("b.example", a(ONE)),
            ("A.example", alias("B.example")),
        ]);
        reply.questions[0].qname = Name::new("dB.eXample").unwrap();
        bytes(&[reply])
    });
    assert_eq!(ask_a(&settings(&[&server], ""), "db.example", LONG).addresses, [IpAddr::from(ONE)]);
}

#[test]
fn aliases_in_a_ring_lead_nowhere() {
    let server = Server::start(|asked| {
        let alias = |to: &'static str| rdata::RData::CNAME(rdata::CNAME(Name::new_unchecked(to)));
        bytes(&[asked.answer(&[("db.example", alias("x.example")), ("x.example", alias("db.example"))])])
    });
    assert_eq!(ask_a(&settings(&[&server], ""), "db.example.", LONG).verdict, Verdict::NoData);
}

#[test]
fn what_does_not_fit_is_asked_for_over_tcp() {
    let server = Server::start(|asked| {
        let mut reply = asked.address(ONE);
        if asked.over_tcp {
            let many: Vec<_> =
                (0..200).map(|n| (asked.name.as_str(), a(Ipv4Addr::new(10, 0, 0, n)))).collect();
            reply = asked.answer(&many);
        } else {
            reply.set_flags(PacketFlag::TRUNCATION);
        }
        bytes(&[reply])
    });
    let outcome = ask_a(&settings(&[&server], ""), "db.example", LONG);
    assert_eq!((outcome.verdict, outcome.records, outcome.truncated), (Verdict::Answered, 200, true));
    assert_eq!(outcome.addresses.len(), MOST_ADDRESSES);
    assert_eq!(server.asked().iter().map(|asked| asked.2).collect::<Vec<_>>(), [false, true]);
    let at_once = ask_a(&settings(&[&server], "options use-vc"), "db.example", LONG);
    assert_eq!((at_once.records, at_once.truncated), (200, false));
}

#[test]
fn the_search_list_is_followed_until_a_name_has_records() {
    let server = Server::start(|asked| {
        let reply = match asked.name.as_str() {
            "db.c.example" => asked.address(ONE),
            // It exists, but not with an address.
            "db.b.example" => asked.answer(&[]),
            "db.a.example" => asked.refuse(RCODE::ServerFailure),
            _ => asked.refuse(RCODE::NameError),
        };
        bytes(&[reply])
    });
    let search = "search a.example b.example c.example d.example\noptions ndots:2";
    let settings = settings(&[&server], search);
    let outcome = ask_a(&settings, "db", LONG);
    assert_eq!((outcome.verdict, outcome.steps), (Verdict::Answered, 3));
    let names: Vec<_> = server.asked().into_iter().map(|asked| asked.0).collect();
    assert_eq!(names, ["db.a.example", "db.b.example", "db.c.example"]);
    let missing = ask_a(&settings, "x.y.z", LONG);
    assert_eq!((missing.verdict, missing.code, missing.steps), (Verdict::NoName, Some(3), 5));
    // With enough dots it is itself first.
    assert_eq!(server.asked()[3].0, "x.y.z");
}

#[test]
fn what_says_most_about_a_failure_is_kept() {
    let server = Server::start(|asked| {
        bytes(&[if asked.name == "db.a.example" {
            asked.answer(&[])
        } else {
            asked.refuse(RCODE::NameError)
        }])
    });
    let outcome = ask_a(&settings(&[&server], "search a.example b.example"), "db", LONG);
    assert_eq!((outcome.verdict, outcome.code, outcome.steps), (Verdict::NoData, Some(0), 3));
}

#[test]
fn the_next_server_is_asked_when_one_fails() {
    let failing = Server::start(|asked| bytes(&[asked.refuse(RCODE::ServerFailure)]));
    let good = Server::start(one);
    let outcome = ask_a(&settings(&[&failing, &good], ""), "db.example", LONG);
    assert_eq!((outcome.verdict, outcome.steps), (Verdict::Answered, 1));
    assert_eq!(failing.asked().len(), 1);
    let alone = ask_a(&settings(&[&failing], ""), "db.example", LONG);
    assert_eq!((alone.verdict, alone.code), (Verdict::ServerFailure, Some(2)));
    // One that said no is not asked again.
    assert_eq!(failing.asked().len(), 2);
    let refusing = Server::start(|asked| bytes(&[asked.refuse(RCODE::Refused)]));
    assert_eq!(ask_a(&settings(&[&refusing], ""), "db.example", LONG).verdict, Verdict::Refused);
}

#[test]
fn a_lost_message_is_sent_again() {
    let count = AtomicUsize::new(0);
    let server =
        Server::start(
            move |asked| {
                if count.fetch_add(1, Ordering::SeqCst) == 0 { Vec::new() } else { one(asked) }
            },
        );
    let settings = Settings { patience: Duration::from_millis(50), ..settings(&[&server], "") };
    assert_eq!(ask_a(&settings, "db.example", LONG).verdict, Verdict::Answered);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_silent_server_costs_no_more_than_the_deadline() {
    let silent = Server::start(|_| Vec::new());
    let began = Instant::now();
    let outcome = ask_a(&settings(&[&silent], ""), "db.example", Duration::from_millis(60));
    assert_eq!((outcome.verdict, outcome.code), (Verdict::Timeout, None));
    assert!(began.elapsed() < Duration::from_secs(4), "not the 5 s of resolv.conf");
    let babbling = Server::start(|asked| vec![[&asked.packet.id().to_be_bytes()[..], &[255; 30]].concat()]);
    let outcome = ask_a(&settings(&[&babbling], ""), "db.example", Duration::from_millis(60));
    assert_eq!(outcome.verdict, Verdict::Malformed);
}

/// A server that answers with messages without end, each with a number that nobody asked for.
struct Flood {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut buffer, mut asks) = ([0; 2000], None);
            while !stopped.load(Ordering::SeqCst) {
                let Some((from, number)) = asks else {
                    let asked = socket.recv_from(&mut buffer).ok();
                    asks = asked.map(|(_, from)| (from, [buffer[0], buffer[1] ^ 1]));
                    continue;
                };
                // Whoever has hung up is not there any more.
                let _ = socket.send_to(&number, from);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_server_that_floods_is_read_no_more() {
    let flood = Flood::start();
    let flooded = Settings { servers: vec![flood.address], ..Settings::parse(b"") };
    let outcome = ask_a(&flooded, "db.example", LONG);
    assert_eq!((outcome.verdict, outcome.addresses.len()), (Verdict::Malformed, 0));
    assert!(outcome.took < flooded.patience, "it is not waited for: {:?}", outcome.took);
    drop(flood);
    let (flood, other) = (Flood::start(), Server::start(one));
    let both = Settings { servers: vec![flood.address, other.address], ..Settings::parse(b"") };
    let outcome = ask_a(&both, "db.example", LONG);
    assert_eq!((outcome.verdict, outcome.addresses), (Verdict::Answered, vec![ONE.into()]));
    assert!(outcome.took < both.patience, "the next one is asked at once: {:?}", outcome.took);
}

#[test]
fn where_nobody_listens_nothing_is_waited_for() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { servers: vec![free], ..Settings::parse(b"") };
    let kinds = [TYPE::A, TYPE::AAAA, TYPE::TXT];
    let questions = kinds.map(|kind| Question { names: vec!["db.example".to_owned()], kind });
    let began = Instant::now();
    for outcome in ask(&settings, &questions, Instant::now() + LONG, false) {
        assert_eq!(outcome.verdict, Verdict::Unreachable);
    }
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[test]
fn both_kinds_of_address_are_of_one_name() {
    let server = Server::start(|asked| {
        let v6 = rdata::RData::AAAA(rdata::AAAA { address: 1 });
        bytes(&[match (asked.name.as_str(), asked.kind) {
            ("db.a.example", TYPE::A) => asked.address(ONE),
            ("db.a.example", _) => asked.answer(&[]),
            (_, TYPE::A) => asked.address(Ipv4Addr::new(203, 0, 113, 66)),
            (_, _) => asked.answer(&[(&asked.name, v6)]),
        }])
    });
    let deadline = Instant::now() + LONG;
    let found = by_dns(&settings(&[&server], "search a.example b.example"), "db", deadline);
    assert_eq!(found, Ok(vec![ONE.into()]));
    let other = by_dns(&settings(&[&server], "search b.example"), "db", deadline).unwrap();
    assert_eq!(other.len(), 2);
}

#[test]
fn literals_and_local_names_ask_nobody() {
    let root = tempfile::tempdir().unwrap();
    let inside = inside(root.path());
    assert_eq!(addresses(&inside, "192.0.2.1").unwrap(), [IpAddr::from(ONE)]);
    assert_eq!(addresses(&inside, "[::1]").unwrap(), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
    for name in ["localhost", "LOCALHOST.", "web.localhost"] {
        assert_eq!(addresses(&inside, name).unwrap().len(), 2, "{name}");
    }
    for name in ["", ".", "a..b", "a b", &"x".repeat(64), &"x.".repeat(130)] {
        assert_eq!(addresses(&inside, name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn files_of_the_target_decide() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/hosts"), "192.0.2.1 db localhost\n").unwrap();
    let there = inside(root.path());
    assert_eq!(addresses(&there, "db").unwrap(), [IpAddr::from(ONE)]);
    assert_eq!(addresses(&there, "localhost").unwrap(), [IpAddr::from(ONE)]);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("the rest needs root: a name server has port 53");
        return;
    }
    let server = Server::at("127.77.66.53:53".parse().unwrap(), |asked| {
        bytes(&[if asked.name == "web.a.example" && asked.kind == TYPE::A {
            asked.address(ONE)
        } else {
            asked.refuse(RCODE::NameError)
        }])
    });
    fs::write(root.path().join("etc/resolv.conf"), "search a.example\nnameserver 127.77.66.53\n").unwrap();
    assert_eq!(addresses(&there, "web").unwrap(), [IpAddr::from(ONE)]);
    let error = addresses(&there, "wob").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(unresolved(&error).map(Unresolved::reason), Some("nxdomain"));
    assert_eq!(error.to_string(), "wob: no such name");
    assert!(server.asked().iter().any(|asked| asked.1 == TYPE::AAAA));
}

/// Makes something at a path that is not the file that is expected there.
fn trap(kind: &str, path: &Path) {
    match kind {
        "fifo" => mkfifo(path, Mode::S_IRWXU).unwrap(),
        "huge" => fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
        "loop" => symlink("resolv.conf", path).unwrap(),
        "escape" => symlink("../../../../../../../../etc/passwd", path).unwrap(),
        _ => fs::create_dir(path).unwrap(),
    }
}

#[test]
fn hostile_files_are_an_error_at_once() {
    let began = Instant::now();
    for kind in ["fifo", "huge", "loop", "directory"] {
        for file in ["resolv.conf", "hosts"] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("etc")).unwrap();
            // A loop is one whichever of both it is at.
            let (path, loops) = (root.path().join("etc").join(file), root.path().join("etc/resolv.conf"));
            trap(kind, if kind == "loop" { &loops } else { &path });
            if kind == "loop" && file == "hosts" {
                symlink("resolv.conf", path).unwrap();
            }
            let error = addresses(&inside(root.path()), "db").unwrap_err();
            assert!(unresolved(&error).is_none(), "{kind} {file}: {error}");
            assert_eq!(addresses(&inside(root.path()), "localhost").unwrap().len(), 2);
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    // What is outside of the root is not there.
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    trap("escape", &root.path().join("etc/resolv.conf"));
    assert_eq!(Settings::of(&Dir::open(root.path()).unwrap()).unwrap(), Settings::parse(b""));
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_not(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), at: usize, bit: u8) {
        let _ = message::reply(&mut bytes, 1, "db.example", TYPE::A);
        // And a real one that was damaged.
        let query = message::query(1, "db.example", TYPE::A).unwrap();
        let asked = simple_dns::Packet::parse(&query).unwrap();
        let mut answer = asked.into_reply();
        let name = Name::new_unchecked("db.example");
        let record = simple_dns::ResourceRecord::new(name, simple_dns::CLASS::IN, 1, a(ONE));
        answer.answers.push(record);
        let mut damaged = answer.build_bytes_vec_compressed().unwrap();
        let place = at % damaged.len();
        damaged[place] ^= 1 << (bit % 8);
        let _ = message::reply(&mut damaged, 1, "db.example", TYPE::A);
    }
}
