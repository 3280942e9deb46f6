//! What is told about the sockets of a namespace.

use super::{
    super::wire::{Response, WireError},
    DEF,
    counts::{PORTS, STATES, Tcp, Udp},
    diag::Family,
};
use crate::catalogue::{Label, Metric, Unit};

const FAMILY: Label = Label::fixed("family", Family::LABELS);
const QUEUE: &[Label] = &[Label::fixed("queue", &["receive", "send"])];
/// All ports that are told apart, and `other`.
const PORT: &[Label] = &[Label::bounded("port", PORTS + 1)];
const OTHER: &[u8] = b"other";

pub(super) static TCP: Metric = Metric::gauge(
    "tcp",
    "TCP sockets of the network namespace, by address family and state.",
    &[FAMILY, Label::fixed("state", STATES)],
);

pub(super) static TCP_QUEUE_BYTES: Metric = Metric::gauge(
    "tcp_queue_bytes",
    "Bytes in TCP sockets that no program has read yet, or that nobody has acknowledged yet, where an unread end counts as one.",
    QUEUE,
)
.unit(Unit::Bytes);

pub(super) static LISTEN_QUEUE: Metric = Metric::gauge(
    "listen_queue",
    "Connections that wait to be accepted, by local port; above 64 ports the highest are `other` together.",
    PORT,
);

pub(super) static LISTEN_QUEUE_MAX: Metric = Metric::gauge(
    "listen_queue_max",
    "Connections that may wait to be accepted before more are refused, by local port.",
    PORT,
);

pub(super) static LISTEN_PORTS: Metric =
    Metric::gauge("listen_ports", "Local TCP ports that somebody listens at.", &[]);

pub(super) static LISTEN_PORTS_OTHER: Metric =
    Metric::gauge("listen_ports_other", "Those of them that are counted together as `other`.", &[]);

pub(super) static LISTEN_OVERFLOWS_TOTAL: Metric = Metric::counter(
    "listen_overflows_total",
    "Connections that found the queue of their listener full, in the whole namespace.",
    &[],
);

pub(super) static LISTEN_DROPS_TOTAL: Metric = Metric::counter(
    "listen_drops_total",
    "Connections that a listener dropped for any reason, in the whole namespace.",
    &[],
);

pub(super) static UDP: Metric =
    Metric::gauge("udp", "UDP sockets of the network namespace, by address family.", &[FAMILY]);

pub(super) static UDP_QUEUE_BYTES: Metric = Metric::gauge(
    "udp_queue_bytes",
    "Memory of datagrams in UDP sockets that no program has read yet, or that are not sent yet.",
    QUEUE,
)
.unit(Unit::Bytes);

/// Leaves the TCP sockets in a response.
pub(super) fn put_tcp(response: &mut Response, tcp: &Tcp) -> Result<(), WireError> {
    for (family, states) in Family::LABELS.iter().zip(tcp.states) {
        for (state, count) in STATES.iter().zip(states) {
            response.put(&DEF, &TCP, &[family.as_bytes(), state.as_bytes()], count as f64)?;
        }
    }
    response.put(&DEF, &TCP_QUEUE_BYTES, &[b"receive"], tcp.receive as f64)?;
    response.put(&DEF, &TCP_QUEUE_BYTES, &[b"send"], tcp.send as f64)?;
    response.put(&DEF, &LISTEN_PORTS, &[], tcp.ports() as f64)?;
    response.put(&DEF, &LISTEN_PORTS_OTHER, &[], tcp.other_ports() as f64)?;
    let mut queue = |port: &[u8], queue: super::counts::Queue| {
        response.put(&DEF, &LISTEN_QUEUE, &[port], queue.length as f64)?;
        response.put(&DEF, &LISTEN_QUEUE_MAX, &[port], queue.most as f64)
    };
    for (port, of_port) in &tcp.listening {
        queue(port.to_string().as_bytes(), *of_port)?;
    }
    if tcp.other_ports() > 0 {
        queue(OTHER, tcp.others)?;
    }
    Ok(())
}

/// Leaves the UDP sockets in a response.
pub(super) fn put_udp(response: &mut Response, udp: &Udp) -> Result<(), WireError> {
    for (family, count) in Family::LABELS.iter().zip(udp.sockets) {
        response.put(&DEF, &UDP, &[family.as_bytes()], count as f64)?;
    }
    response.put(&DEF, &UDP_QUEUE_BYTES, &[b"receive"], udp.receive as f64)?;
    response.put(&DEF, &UDP_QUEUE_BYTES, &[b"send"], udp.send as f64)
}
