//! Sockets, counted.

use std::collections::BTreeMap;

use super::diag::{Family, Seen};

/// Ports that are told apart. They are the lowest ones, so that they stay the same.
pub(super) const PORTS: u32 = 64;

/// States of TCP, from the kernel's number 1.
pub(super) const STATES: &[&str] = &[
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];
const LISTEN: u8 = 10;
/// The state of a connection request that has no socket yet: shown as the state it stands for, where it is shown at all.
const NEW_SYN_RECV: u8 = 12;
const SYN_RECV: u8 = 3;

/// A queue of connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) length: u64,
    pub(super) most: u64,
}

impl Queue {
    fn add(&mut self, other: Self) {
        self.length += other.length;
        self.most += other.most;
    }
}

/// TCP sockets.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    /// By family and state.
    pub(super) states: [[u64; STATES.len()]; Family::ALL.len()],
    /// Bytes that wait to be read, and to be sent and acknowledged.
    pub(super) receive: u64,
    pub(super) send: u64,
    /// By port, the lowest ones.
    pub(super) listening: BTreeMap<u16, Queue>,
    /// Of all other ports.
    pub(super) others: Queue,
    ports: Ports,
}

impl Tcp {
    pub(super) fn see(&mut self, seen: Seen) {
        let state = if seen.state == NEW_SYN_RECV { SYN_RECV } else { seen.state };
        if let Some(count) = self.states[seen.family as usize].get_mut(usize::from(state).wrapping_sub(1)) {
            *count += 1;
        }
        if state != LISTEN {
            self.receive += u64::from(seen.receive);
            self.send += u64::from(seen.send);
            return;
        }
        let queue = Queue { length: seen.receive.into(), most: seen.send.into() };
        let is_known = !self.ports.insert(seen.port);
        if is_known && !self.listening.contains_key(&seen.port) {
            self.others.add(queue);
            return;
        }
        self.listening.entry(seen.port).or_default().add(queue);
        if self.listening.len() > PORTS as usize
            && let Some((_, highest)) = self.listening.pop_last()
        {
            self.others.add(highest);
        }
    }

    /// Ports that somebody listens at.
    pub(super) fn ports(&self) -> u64 {
        self.ports.count
    }

    /// Those of them that are not told apart.
    pub(super) fn other_ports(&self) -> u64 {
        self.ports.count - self.listening.len() as u64
    }
}

/// UDP sockets.
#[derive(Debug, Default)]
pub(super) struct Udp {
    /// By family.
    pub(super) sockets: [u64; Family::ALL.len()],
    pub(super) receive: u64,
    pub(super) send: u64,
}

impl Udp {
    pub(super) fn see(&mut self, seen: Seen) {
        self.sockets[seen.family as usize] += 1;
        self.receive += u64::from(seen.receive);
        self.send += u64::from(seen.send);
    }
}

/// A set of ports: a bit for each.
#[derive(Debug)]
struct Ports {
    bits: Vec<u64>,
    count: u64,
}

impl Default for Ports {
    fn default() -> Self {
        Self { bits: vec![0; (1 << 16) / 64], count: 0 }
    }
}

impl Ports {
    /// Whether it was not there.
    fn insert(&mut self, port: u16) -> bool {
        let (word, bit) = (&mut self.bits[usize::from(port) / 64], 1 << (port % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(is_new);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listening(port: u16) -> Seen {
        Seen { family: Family::V4, state: LISTEN, port, receive: 2, send: 128 }
    }

    #[test]
    fn states_and_queues() {
        let mut tcp = Tcp::default();
        let connection = Seen { family: Family::V4, state: 1, port: 80, receive: 10, send: 20 };
        for seen in [
            connection,
            Seen { family: Family::V6, ..connection },
            Seen { family: Family::V6, state: NEW_SYN_RECV, ..connection },
            Seen { state: 0, ..connection },
            Seen { state: 77, ..connection },
            listening(80),
            Seen { family: Family::V6, ..listening(80) },
        ] {
            tcp.see(seen);
        }
        assert_eq!((tcp.states[0][0], tcp.states[1][0], tcp.states[1][2]), (1, 1, 1));
        assert_eq!((tcp.receive, tcp.send), (50, 100));
        assert_eq!(tcp.listening.get(&80), Some(&Queue { length: 4, most: 256 }));
        assert_eq!((tcp.ports(), tcp.other_ports()), (1, 0));
    }

    proptest! {
        #[test]
        fn the_lowest_ports_are_told_apart_and_none_is_lost(
            ports in proptest::collection::vec(0..200_u16, 0..400),
        ) {
            let mut tcp = Tcp::default();
            for port in &ports {
                tcp.see(listening(*port));
            }
            let mut distinct = ports.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(tcp.ports(), distinct.len() as u64);
            let lowest = distinct.iter().take(PORTS as usize);
            prop_assert!(tcp.listening.keys().eq(lowest));
            let told: u64 = tcp.listening.values().map(|queue| queue.length).sum();
            prop_assert_eq!(told + tcp.others.length, 2 * ports.len() as u64);
            for (port, queue) in &tcp.listening {
                let sockets = ports.iter().filter(|other| *other == port).count() as u64;
                prop_assert_eq!(queue.most, 128 * sockets);
            }
        }
    }
}
