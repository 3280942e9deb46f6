//! What happens when more connections are open than can be timed at once.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::PoisonError,
};

use nix::sys::socket::{Backlog, SockFlag, SockaddrIn, bind, connect, getsockname, listen};
use pitot_common::tcp::TIMED;

use super::{TABLE, connections, histogram, tcp_socket, watched};
use crate::{host::can_run, settle::settle, watched::Reading};

/// Connections beyond what the table holds.
const BEYOND: u64 = 200;
/// Entries and ends that may be those of others on this machine.
const OTHERS: u64 = 500;
/// Connections that wait for one listener; the kernel's default limit is four times as many.
const QUEUE: u16 = 1024;

/// Open connections that take no file: nobody accepts them, the side that asked is closed at once, and what
/// is left of it is a small socket that waits. A small machine does not even leave that, so each has an address
/// of its own: one that took the port of another would reset what the other has left open.
fn unaccepted(count: u64) -> Vec<OwnedFd> {
    let mut listeners = Vec::new();
    for number in 0..count {
        if number % u64::from(QUEUE) == 0 {
            let listener = tcp_socket(SockFlag::empty());
            bind(listener.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
            listen(&listener, Backlog::new(i32::from(QUEUE)).unwrap()).unwrap();
            listeners.push(listener);
        }
        let newest = listeners.last().unwrap();
        let address: SockaddrIn = getsockname(newest.as_raw_fd()).unwrap();
        let client = tcp_socket(SockFlag::empty());
        bind(client.as_raw_fd(), &own_address(number)).unwrap();
        connect(client.as_raw_fd(), &address).unwrap();
    }
    listeners
}

/// One of the many addresses of this host, and any port.
fn own_address(number: u64) -> SockaddrIn {
    let [.., high, low] = number.to_be_bytes();
    SockaddrIn::new(127, 1, high, low, 0)
}

#[test]
fn connections_beyond_the_table_are_counted_and_lose_nothing_but_their_times() {
    settle(|| {
        if !can_run() {
            return;
        }
        let _alone = TABLE.write().unwrap_or_else(PoisonError::into_inner);
        let wanted = u64::from(TIMED) + BEYOND;
        let mut tcp = watched();
        let before = tcp.read();
        let listeners = unaccepted(wanted);
        let filled = tcp.read();
        // Closes all that wait for them.
        drop(listeners);
        let after = tcp.read();

        let made = connections("passive")(&filled) - connections("passive")(&before);
        assert!(made >= wanted, "{made} of {wanted} connections");
        let untimed = |reason: &'static str| {
            move |reading: &Reading| reading.count("tcp_untimed_connections_total", &[reason])
        };
        let full = untimed("table_full");
        assert_eq!(full(&before), 0);
        let lost = full(&filled);
        // The connect and the connection of the side that asked, and the connection of the other side.
        assert!((BEYOND..=3 * (BEYOND + OTHERS)).contains(&lost), "{lost} lost, {BEYOND} beyond the table");
        let timed =
            histogram("tcp_connection_seconds")(&after).0 - histogram("tcp_connection_seconds")(&filled).0;
        assert!(timed + OTHERS >= u64::from(TIMED), "{timed} of the connections in the table were timed");
        // The ends of those that were lost are not taken for ends of older connections.
        let older = untimed("before_attach")(&after) - untimed("before_attach")(&before);
        assert!(older <= OTHERS.min(BEYOND / 2), "{older} ends without a start");
    });
}
