//! Traffic of devices against /proc/net/dev, and drops against /proc/net/snmp.

use std::{
    fs::File,
    io::Write,
    net::{Ipv4Addr, UdpSocket},
    process::Command,
    thread,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::{setsockopt, sockopt},
};
use pitot_common::net::slot;

use crate::{
    block::half_counted,
    host::{can_run, skip},
    proc::{self, columns},
    raw,
    sandwich::Sandwich,
    settle::settle,
    watched::{Reading, Watched},
};

const DATAGRAMS: u64 = 1_000;
/// Of one datagram, with the headers of IP and UDP.
const PACKET: u8 = 128;
const LENGTH: u64 = PACKET as u64;
/// The header of the link layer, which the loopback device does not count, and buffers that are sent have.
const LINK_HEADER: u64 = 14;
/// The largest buffer of a device like loopback.
const LARGEST: u64 = 512 << 10;

fn buffers<'a>(device: &'a str, direction: &'a str) -> impl Fn(&Reading) -> u64 + 'a {
    move |reading| reading.count("net_buffers_total", &[device, direction])
}

fn bytes<'a>(device: &'a str, direction: &'a str) -> impl Fn(&Reading) -> u64 + 'a {
    move |reading| reading.count("net_bytes_total", &[device, direction])
}

fn drops(reason: &str) -> impl Fn(&Reading) -> u64 {
    move |reading| reading.count("net_drops_total", &[reason])
}

/// Sends datagrams to itself, each after the one before has arrived.
fn talk_to_myself() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let payload = vec![7; usize::from(PACKET) - 28];
    for _ in 0..DATAGRAMS {
        socket.send_to(&payload, address).unwrap();
        assert_eq!(socket.recv(&mut [0; 200]).unwrap(), payload.len());
    }
}

#[test]
fn the_loopback_device_agrees_with_proc() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut net = Watched::open("net", &[("traffic", true)]);
        talk_to_myself();
        let sandwich = Sandwich::around(&mut net, || proc::nic("lo"), Watched::read, talk_to_myself);
        for (direction, column) in [("receive", columns::RECEIVE), ("transmit", columns::TRANSMIT)] {
            let packets = sandwich.growths(|lo| lo[column + columns::PACKETS], buffers("lo", direction));
            packets.assert_between(direction, half_counted());
            assert!(packets.mine >= DATAGRAMS, "{packets:?}");

            let header = if direction == "transmit" { LINK_HEADER } else { 0 };
            let size = sandwich.growths(
                |lo| lo[column + columns::BYTES] + header * lo[column + columns::PACKETS],
                bytes("lo", direction),
            );
            size.assert_between(direction, half_counted() * LARGEST);
            assert!(size.mine >= DATAGRAMS * (LENGTH + header), "{size:?}");
            // Nobody else sent anything: then it is the very number.
            if packets.outer == DATAGRAMS {
                assert_eq!((packets.mine, size.mine), (DATAGRAMS, DATAGRAMS * (LENGTH + header)));
            }
        }
        assert_eq!(sandwich.mine[1].count("net_folded_buffers_total", &[]), 0);
    });
}

#[test]
fn devices_of_other_namespaces_are_counted_together() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut net = Watched::open("net", &[("traffic", true)]);
        let work = || {
            let elsewhere = thread::spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                raw::bring_up("lo").unwrap();
                talk_to_myself();
            });
            elsewhere.join().unwrap();
        };
        let sandwich = Sandwich::around(&mut net, || proc::nic("lo"), Watched::read, work);
        for direction in ["receive", "transmit"] {
            let [before, after] = sandwich.mine.each_ref().map(buffers("other_namespaces", direction));
            let grown = after - before;
            assert!((DATAGRAMS..2 * DATAGRAMS).contains(&grown), "{direction}: {grown}");
            let [before, after] = sandwich.mine.each_ref().map(bytes("other_namespaces", direction));
            assert!(after - before >= DATAGRAMS * LENGTH, "{direction}: {} bytes", after - before);
        }
        // The host has a device of the same name, which had no part in it.
        let host = sandwich.growths(|lo| lo[columns::RECEIVE + columns::PACKETS], buffers("lo", "receive"));
        host.assert_between("the host's loopback device", half_counted());
    });
}

/// A device whose packets come from this process; it is gone when this is dropped.
struct Tun(File);

impl Tun {
    fn new(name: &str) -> Option<Self> {
        let tun = raw::open_tun(name).ok()?;
        raw::bring_up(name).unwrap();
        Some(Self(tun))
    }

    /// A packet of UDP that nobody wants.
    fn receive(&mut self) {
        let mut packet = vec![0; usize::from(PACKET)];
        packet[..10].copy_from_slice(&[0x45, 0, 0, PACKET, 0, 0, 0, 0, 1, 17]);
        self.0.write_all(&packet).unwrap();
    }
}

#[test]
fn a_device_keeps_its_series_and_those_without_a_slot_share_one() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut net = Watched::open("net", &[("traffic", true)]);
        let received = |reading: &Reading, device: &str| {
            [buffers(device, "receive")(reading), bytes(device, "receive")(reading)]
        };
        // The same name, another device: it goes on with its series.
        for round in 1..=3 {
            let Some(mut tun) = Tun::new("pitot-again") else {
                skip("needs /dev/net/tun");
                return;
            };
            tun.receive();
            drop(tun);
            assert_eq!(received(&net.read(), "pitot-again"), [round, round * LENGTH]);
        }
        let before = net.read().count("net_folded_buffers_total", &[]);
        let names: Vec<_> = (0..slot::COUNT).map(|n| format!("pitot-{n}")).collect();
        for name in &names {
            Tun::new(name).unwrap().receive();
        }
        let reading = net.read();
        let own = names.iter().filter(|name| received(&reading, name) == [1, LENGTH]).count();
        let none = names.iter().filter(|name| received(&reading, name) == [0, 0]).count();
        assert_eq!(own + none, names.len());
        // One slot is the first device's, the others are for these and for what else the host has.
        let most = (slot::OTHER - slot::FIRST) as usize - 1;
        assert!(own <= most && own > most / 2, "{own} have a series, {none} have none");
        let folded = reading.count("net_folded_buffers_total", &[]);
        assert!(folded - before >= none as u64, "{none} without a series, {folded} folded");
        let other = ["receive", "transmit"].map(|direction| buffers("other", direction)(&reading));
        assert_eq!(other[0] + other[1], folded);
        assert!(other[0] >= none as u64, "{other:?}");
    });
}

/// A pair of devices; both are gone when this is dropped.
struct Pair;

impl Pair {
    const NAMES: [&str; 2] = ["pitot-near", "pitot-far"];

    fn new() -> Option<Self> {
        let [near, far] = Self::NAMES;
        let add = ["link", "add", near, "type", "veth", "peer", "name", far];
        let added = Command::new("ip").args(add).output().is_ok_and(|output| output.status.success());
        added.then(|| {
            for name in Self::NAMES {
                raw::bring_up(name).unwrap();
            }
            Self
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["link", "delete", Self::NAMES[0]]).status();
        assert!(deleted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn pairs_share_a_slot() {
    settle(|| {
        if !can_run() {
            return;
        }
        let Some(_pair) = Pair::new() else {
            skip("needs `ip link add .. type veth`");
            return;
        };
        let mut net = Watched::open("net", &[("traffic", true)]);
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_broadcast(true).unwrap();
        setsockopt(&socket, sockopt::BindToDevice, &Pair::NAMES[0].into()).unwrap();
        let before = net.read();
        for _ in 0..DATAGRAMS {
            socket.send_to(b"to everybody", (Ipv4Addr::BROADCAST, 9)).unwrap();
        }
        let after = net.read();
        // The sender's own stack gets a copy of what goes to everybody, as from the device that it is sent to.
        for (direction, times) in [("receive", 2), ("transmit", 1)] {
            let grown = buffers("veth", direction)(&after) - buffers("veth", direction)(&before);
            let wanted = times * DATAGRAMS..(times + 1) * DATAGRAMS;
            assert!(wanted.contains(&grown), "{direction}: {grown}");
            for name in Pair::NAMES {
                assert_eq!(buffers(name, direction)(&after), 0, "{name} has a series of its own");
            }
        }
    });
}

#[test]
fn datagrams_that_nobody_wants_are_drops_with_that_reason() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut net = Watched::open("net", &[]);
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let work = || {
            for _ in 0..DATAGRAMS {
                socket.send_to(b"anybody?", port).unwrap();
            }
        };
        let sandwich = Sandwich::around(&mut net, || proc::udp("NoPorts"), Watched::read, work);
        let growths = sandwich.growths(|no_ports| *no_ports, drops("no_socket"));
        // Segments of TCP to closed ports have the same reason.
        assert!(growths.mine >= DATAGRAMS && growths.mine >= growths.inner, "{growths:?}");
        assert!(growths.mine < 10 * DATAGRAMS, "{growths:?}");
    });
}

#[test]
fn datagrams_without_room_are_drops_with_that_reason() {
    settle(|| {
        if !can_run() {
            return;
        }
        let mut net = Watched::open("net", &[]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        setsockopt(&socket, sockopt::RcvBuf, &2_048).unwrap();
        let address = socket.local_addr().unwrap();
        let work = || {
            for _ in 0..DATAGRAMS {
                socket.send_to(&[7; 1_000], address).unwrap();
            }
        };
        let sandwich = Sandwich::around(&mut net, || proc::udp("RcvbufErrors"), Watched::read, work);
        socket.set_nonblocking(true).unwrap();
        let kept = std::iter::from_fn(|| socket.recv(&mut [0; 1_000]).ok()).count() as u64;
        let growths = sandwich.growths(|errors| *errors, drops("socket_rcvbuff"));
        assert!(kept > 0 && growths.mine >= DATAGRAMS - kept, "{growths:?}, {kept} kept");
        growths.assert_between("datagrams without room", half_counted());
    });
}
