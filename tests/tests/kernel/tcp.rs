//! TCP connections, resets and retransmissions against /proc/net/snmp of every network namespace.

mod full;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    sync::{PoisonError, RwLock, RwLockReadGuard},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, listen, setsockopt,
    socket, sockopt,
};

use crate::{
    host::{can_run, note},
    proc::{Snmp, release},
    sandwich::{Growths, Sandwich},
    settle::settle,
    watched::{Reading, Watched},
};

const CONNECTIONS: u64 = 200;
const SYNS: u64 = 20;
/// Attempts of others on this machine that are under way while a reading is taken.
const UNDER_WAY: u64 = 10;

/// Held alone by the test that fills the table, which all programs on this host would count.
static TABLE: RwLock<()> = RwLock::new(());

fn beside_others() -> RwLockReadGuard<'static, ()> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner)
}

const NO_SOCKETLESS_RESETS: &str = "no resets that no socket sends (tcp_send_reset(3))";
/// Many kernels let nobody attach to their functions.
const NO_ACCEPTS: &str = "no accept latency (fentry: ";

fn watched() -> Watched {
    let tcp = Watched::open_without("tcp", &[], &[NO_SOCKETLESS_RESETS, NO_ACCEPTS]);
    assert_eq!(tcp.lacks(NO_SOCKETLESS_RESETS), !tells_all_resets());
    tcp
}

/// Makes connections to a listener of its own, uses each for a byte, and closes it after a last touch.
fn converse(rounds: u64, open_for: Duration, touch: impl Fn(&TcpStream)) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..rounds {
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        thread::sleep(open_for);
        touch(&client);
        drop(client);
        // Nothing, or a reset.
        let _ = server.read(&mut [0]);
    }
}

fn reset_at_close(stream: &TcpStream) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &at_once).unwrap();
}

/// A port of this host on which nobody listens.
fn closed_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Sandwiches until one has the same network namespaces in all four readings of the kernel.
fn sandwich(tcp: &mut Watched, work: impl Fn()) -> Sandwich<Snmp, Reading> {
    for _ in 0..10 {
        let sandwich = Sandwich::around(tcp, Snmp::everywhere, Watched::read, &work);
        let [first, rest @ ..] = &sandwich.kernel;
        if rest.iter().all(|snmp| snmp.same_namespaces_as(first)) {
            return sandwich;
        }
        note("a network namespace came or went: once more");
    }
    panic!("network namespaces come and go all the time");
}

fn grown(sandwich: &Sandwich<Snmp, Reading>, mine: impl Fn(&Reading) -> u64) -> u64 {
    let [before, after] = &sandwich.mine;
    mine(after) - mine(before)
}

fn connections(direction: &'static str) -> impl Fn(&Reading) -> u64 {
    move |reading| reading.count("tcp_connections_total", &[direction])
}

fn resets(direction: &'static str) -> impl Fn(&Reading) -> u64 {
    move |reading| reading.count("tcp_resets_total", &[direction])
}

fn failed(reading: &Reading) -> u64 {
    reading.count("tcp_failed_connects_total", &[])
}

fn histogram(name: &'static str) -> impl Fn(&Reading) -> (u64, u64) {
    move |reading| {
        let histogram = reading.histogram(name, &[]);
        (histogram.count, histogram.sum)
    }
}

#[test]
fn connections_are_counted_on_both_sides_and_timed() {
    settle(|| {
        const OPEN_FOR: Duration = Duration::from_millis(2);
        if !can_run() {
            return;
        }
        let _beside = beside_others();
        let mut tcp = watched();
        let start = Instant::now();
        let sandwich = sandwich(&mut tcp, || converse(CONNECTIONS, OPEN_FOR, |_| {}));
        let took = start.elapsed();

        let passive = sandwich.growths(|snmp| snmp.get("PassiveOpens"), connections("passive"));
        passive.assert_between("passive connections", UNDER_WAY);
        assert!(passive.mine >= CONNECTIONS, "{passive:?}");
        // The kernel counts a connect when it begins, and here it is counted by how it ends.
        let active = sandwich.growths(
            |snmp| snmp.get("ActiveOpens"),
            |reading| connections("active")(reading) + failed(reading),
        );
        active.assert_between("connects", UNDER_WAY);
        let active = grown(&sandwich, connections("active"));
        assert!(active >= CONNECTIONS, "{active}");

        let [before, after] = sandwich.mine.each_ref();
        let growth = |name| {
            let (before, after) = (histogram(name)(before), histogram(name)(after));
            (after.0 - before.0, after.1 - before.1)
        };
        let (connects, _) = growth("tcp_connect_seconds");
        assert!(connects + UNDER_WAY >= active && connects <= active, "{connects} of {active} were timed");
        // Each is two sockets of this host.
        let (lives, total) = growth("tcp_connection_seconds");
        assert!(lives >= 2 * CONNECTIONS, "{lives}");
        let least = OPEN_FOR * u32::try_from(2 * CONNECTIONS).unwrap();
        assert!(u128::from(total) >= least.as_nanos(), "{total} ns, {least:?} made in {took:?}");
        let (rtts, rtt) = growth("tcp_rtt_seconds");
        assert!(rtts >= 2 * CONNECTIONS && rtt / rtts < 1_000_000_000, "{rtts} round trips of {rtt} ns");
    });
}

#[test]
fn both_sockets_of_a_connection_enter_every_state_of_its_life() {
    settle(|| {
        if !can_run() {
            return;
        }
        let _beside = beside_others();
        let mut tcp = watched();
        let before = tcp.read();
        converse(CONNECTIONS, Duration::ZERO, |_| {});
        let after = tcp.read();
        let entered = |state: &str| {
            let count = |reading: &Reading| reading.count("tcp_state_transitions_total", &[state]);
            count(&after) - count(&before)
        };
        for state in ["syn_sent", "fin_wait1", "fin_wait2", "syn_recv", "close_wait", "last_ack"] {
            assert!(entered(state) >= CONNECTIONS, "{state}: {}", entered(state));
        }
        assert!(entered("close") >= 2 * CONNECTIONS, "{}", entered("close"));
        assert!(entered("listen") >= 1);
        let established =
            ["active", "passive"].map(|side| connections(side)(&after) - connections(side)(&before));
        let established: u64 = established.iter().sum();
        // The one is counted a moment before the other.
        let apart = entered("established").abs_diff(established);
        assert!(apart <= UNDER_WAY, "{} entered, {established} connections", entered("established"));
    });
}

#[test]
fn the_wait_for_accept_is_timed_for_every_connection() {
    settle(|| {
        const WAIT: Duration = Duration::from_millis(2);
        const ACCEPTS: u64 = 50;
        if !can_run() {
            return;
        }
        let _beside = beside_others();
        let mut tcp = watched();
        let accepts = histogram("tcp_accept_seconds");
        let before = tcp.read();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..ACCEPTS {
            let _client = TcpStream::connect(address).unwrap();
            thread::sleep(WAIT);
            let _server = listener.accept().unwrap();
        }
        let after = tcp.read();
        let (count, waited) =
            (accepts(&after).0 - accepts(&before).0, accepts(&after).1 - accepts(&before).1);
        if tcp.lacks(NO_ACCEPTS) {
            assert_eq!(count, 0);
            note("this kernel lets nobody attach to its functions: accepts are not timed");
            return;
        }
        assert!(count >= ACCEPTS, "{count} of {ACCEPTS} accepts");
        let least = WAIT * u32::try_from(ACCEPTS).unwrap();
        assert!(u128::from(waited) >= least.as_nanos(), "{waited} ns of {least:?}");
        let passive = connections("passive")(&after) - connections("passive")(&before);
        assert!(count <= passive + UNDER_WAY, "{count} accepts of {passive} connections");
    });
}

#[test]
fn no_connection_that_was_seen_to_begin_is_untimed() {
    settle(|| {
        if !can_run() {
            return;
        }
        let _beside = beside_others();
        let mut tcp = watched();
        let full = |reading: &Reading| reading.count("tcp_untimed_connections_total", &["table_full"]);
        let unseen = |reading: &Reading| reading.count("tcp_untimed_connections_total", &["before_attach"]);
        let before = unseen(&tcp.read());
        converse(CONNECTIONS, Duration::ZERO, |_| {});
        let after = tcp.read();
        assert_eq!(full(&after), 0);
        // Others may end connections that are older than the programs.
        let others = unseen(&after) - before;
        assert!(others < CONNECTIONS / 2, "{others} without a start");
    });
}

#[test]
fn refused_connects_fail_and_are_resets_on_both_sides() {
    settle(|| {
        if !can_run() {
            return;
        }
        let _beside = beside_others();
        let mut tcp = watched();
        let address = closed_port();
        let sandwich = sandwich(&mut tcp, || {
            for _ in 0..CONNECTIONS {
                TcpStream::connect(address).unwrap_err();
            }
        });
        let fails = sandwich.growths(|snmp| snmp.get("AttemptFails"), failed);
        // Those that are given up by their program are no failed attempts to the kernel.
        assert!(fails.inner <= fails.mine + UNDER_WAY, "{fails:?}");
        assert!(fails.mine >= CONNECTIONS && fails.inner >= CONNECTIONS, "{fails:?}");
        assert!(grown(&sandwich, resets("received")) >= CONNECTIONS);
        assert_sent(&sandwich.growths(|snmp| snmp.get("OutRsts"), resets("sent")));
    });
}

#[test]
fn connections_that_are_reset_end_and_are_resets_on_both_sides() {
    settle(|| {
        if !can_run() {
            return;
        }
        let _beside = beside_others();
        let mut tcp = watched();
        let sandwich = sandwich(&mut tcp, || converse(CONNECTIONS, Duration::ZERO, reset_at_close));
        let sent = sandwich.growths(|snmp| snmp.get("OutRsts"), resets("sent"));
        assert!(sent.mine >= CONNECTIONS, "{sent:?}");
        assert_sent(&sent);
        assert!(grown(&sandwich, resets("received")) >= CONNECTIONS);
        assert!(
            grown(&sandwich, |reading| histogram("tcp_connection_seconds")(reading).0) >= 2 * CONNECTIONS
        );
    });
}

/// Older kernels do not say so when a reset is sent by no socket.
#[track_caller]
fn assert_sent(resets: &Growths) {
    if tells_all_resets() {
        resets.assert_between("sent resets", UNDER_WAY);
    } else {
        note("resets of closed ports come by since Linux 6.10: only the upper bound was checked");
        assert!(resets.mine <= resets.outer + UNDER_WAY, "{resets:?}");
    }
}

/// Whether the tracepoint of resets also fires for those that no socket sends.
fn tells_all_resets() -> bool {
    release() >= (6, 10)
}

/// A listener whose queue is full drops requests, which are then sent again after a second.
#[test]
fn requests_that_nobody_answers_are_sent_again() {
    settle(|| {
        if !can_run() {
            return;
        }
        let _beside = beside_others();
        let mut tcp = watched();
        let listener = tcp_socket(SockFlag::empty());
        bind(listener.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let address: SockaddrIn = getsockname(listener.as_raw_fd()).unwrap();
        let _queued = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))).unwrap();
        thread::sleep(Duration::from_millis(50));

        let sandwich = sandwich(&mut tcp, || {
            let clients: Vec<_> = (0..SYNS).map(|_| tcp_socket(SockFlag::SOCK_NONBLOCK)).collect();
            for client in &clients {
                connect(client.as_raw_fd(), &address).unwrap_err();
            }
            thread::sleep(Duration::from_millis(1_500));
        });
        let again = |reading: &Reading| reading.count("tcp_retransmits_total", &["syn"]);
        assert!(grown(&sandwich, again) >= SYNS, "{}", grown(&sandwich, again));
        let all = sandwich
            .growths(|snmp| snmp.get("RetransSegs"), |reading| reading.total("tcp_retransmits_total"));
        all.assert_between("segments sent again", UNDER_WAY);
        // Their program gave them up.
        assert!(grown(&sandwich, failed) >= SYNS);
    });
}

fn tcp_socket(flags: SockFlag) -> OwnedFd {
    socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap()
}
