//! TCP: connections made, failed and ended, how long that took, resets and retransmissions.
//!
//! Counted for all network namespaces of the host; `/proc/net/snmp` is that of one. Beside it:
//!
//! * retransmissions are `RetransSegs`, less what could not be sent (`TCPRetransFail`);
//! * sent resets are `OutRsts`. Before Linux 6.10 the tracepoint is silent about resets that no socket sends,
//!   so those of closed ports are missing there. Since it tells of them it also tells the reason;
//! * passive connections are `PassiveOpens`;
//! * active connections and failed connects together are `ActiveOpens`, which counts at the start, and those that
//!   found no local port (`EADDRNOTAVAIL`): the socket had begun to connect by then, and nothing was sent;
//! * a connect that has no route (`EHOSTUNREACH` or `ENETUNREACH` at once) is in none of these: the kernel refuses
//!   it before the socket leaves its first state. One that a router answers as unreachable has failed;
//! * failed connects are more than `AttemptFails` where a program gives up before the kernel does, and fewer
//!   where the other side gives up: that is no connect of this host.
//!
//! The wait for `accept` is timed at the entry of a kernel function, because no tracepoint tells of that moment.
//! Where the kernel lets nobody attach to functions, it is missing and all else is as ever. Connections that
//! are accepted before they are established (TCP Fast Open) wait for nothing and are not in it.
//!
//! What a listener drops because its queue is full is left to `ListenDrops` of `netstat`, which is that of one
//! namespace: no tracepoint tells it, a listener's own count goes with the listener, and the kernel's iterator
//! over sockets sees the namespace of its caller only.

use std::sync::atomic::Ordering;

use pitot_common::{
    histogram::{Scale, TIME_SLOTS, words},
    tcp::{
        ACCEPT, BANK_WORDS, CONNECT, CONNECTION, CONNECTIONS, Direction, FAILED, RESETS, RETRANSMITS, RTT,
        Reset, STATES, Segment, State, TIMED, header,
    },
};

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::{Accumulator, Histogram},
    bpf::{Opened, map::View},
    catalogue::{
        BpfDef, Buckets, Entries, Field, Hook, KernelVersion, Label, MapDef, Metric, ProgramKind, Since,
        Source, UnderWay, Unit, Variant,
    },
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "tcp",
    about: "TCP connections, connect times, round trips, resets and retransmissions, counted in the kernel.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "a program per change of a socket's state, reset and retransmission, none per packet; \
           2.5 MiB of kernel memory, and 16 KiB per CPU",
    metrics: &[
        &CONNECTIONS_TOTAL,
        &FAILED_TOTAL,
        &STATES_TOTAL,
        &CONNECT_SECONDS,
        &CONNECTION_SECONDS,
        &ACCEPT_SECONDS,
        &RTT_SECONDS,
        &RESETS_TOTAL,
        &RETRANSMITS_TOTAL,
        &UNTIMED_TOTAL,
    ],
    options: &[],
    open: |cx| {
        let opened = cx.bpf.open(&BPF, |settings| {
            let rtt = settings.has(&["TCP_SRTT"]);
            settings.set("RTT_ON", u32::from(rtt));
        })?;
        Ok(Box::new(Tcp {
            banks: opened.view("TCP", opened.cpus(), BANK_WORDS)?,
            header: opened.view("TCP_HEADER", 1, header::WORDS)?,
            has_rtt: opened.is_on("RTT_ON"),
            has_accepts: opened.is_attached(ACCEPTED),
            connects: Histogram::new(CONNECTS),
            connections: Histogram::new(LIVES),
            accepts: Histogram::new(ACCEPTS),
            rtts: Histogram::new(RTTS),
            opened,
        }))
    },
};

const fn hook(name: &'static str, variants: &'static [Variant]) -> Hook {
    Hook { name, variants, when: "" }
}

const fn typed(program: &'static str) -> Variant {
    Variant { program, kind: ProgramKind::TpBtf, loses: "" }
}

/// The kernel's function that gives an accepted socket its file, since long before any kernel here.
const ACCEPTED: &str = "security_sock_graft";

static BPF: BpfDef = BpfDef {
    object: "tcp",
    hooks: &[
        hook("inet_sock_set_state", &[typed("tcp_state")]),
        hook("tcp_retransmit_skb", &[typed("tcp_retransmit")]),
        hook("tcp_retransmit_synack", &[typed("tcp_synack")]),
        hook("tcp_send_reset", &[typed("tcp_send_reset")]),
        hook("tcp_receive_reset", &[typed("tcp_recv_reset")]),
        hook(
            ACCEPTED,
            &[
                Variant { program: "tcp_accept", kind: ProgramKind::Fentry, loses: "" },
                Variant { program: "", kind: ProgramKind::Nothing, loses: "accept latency" },
            ],
        ),
    ],
    fields: &[
        Field { setting: "TCP_SRTT", paths: &["tcp_sock.srtt_us"], loses: "round-trip times" },
        Field { setting: "SK_STATE", paths: &["sock.__sk_common.skc_state"], loses: "" },
        Field { setting: "SKB_CB", paths: &["sk_buff.cb"], loses: "" },
        Field { setting: "CB_SEGMENTS", paths: &["tcp_skb_cb.tcp_gso_segs"], loses: "" },
        Field {
            setting: "ERROR_ARG",
            paths: &["tcp_retransmit_skb(3)"],
            loses: "nothing: only what was sent comes by",
        },
        // The tracepoint got the reason in the same release in which it began to tell of all resets.
        Field { setting: "", paths: &["tcp_send_reset(3)"], loses: "resets that no socket sends" },
    ],
    maps: &[
        MapDef { name: "TCP", entries: Entries::PerCpu },
        MapDef { name: "TCP_HEADER", entries: Entries::Fixed(1) },
        MapDef { name: "TCP_START", entries: Entries::Fixed(TIMED) },
    ],
    shared: &[],
    under_way: &[UnderWay::Map("TCP_START")],
    // The helper that tells TCP sockets from others.
    oldest: Some(KernelVersion(5, 9)),
};

/// From a loopback to the last of the kernel's tries, which ends after two minutes.
const CONNECTS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -17, last: 7 };
/// From a millisecond to a day and a half.
const LIVES: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -10, last: 17 };
/// From a program that waits for connections to one that hangs.
const ACCEPTS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -17, last: 7 };
const RTTS: Buckets = Buckets { scale: Scale::Nanoseconds, slots: TIME_SLOTS, first: -17, last: 3 };

static CONNECTIONS_TOTAL: Metric = Metric::counter(
    "tcp_connections_total",
    "TCP connections that were established, by which side asked for them.",
    &[Label::fixed("direction", Direction::LABELS)],
)
.since(Since::Attach);

static FAILED_TOTAL: Metric = Metric::counter(
    "tcp_failed_connects_total",
    "TCP connects of this host that ended without a connection: refused, timed out, answered as unreachable, given up or without a local port; what has no route is not tried.",
    &[],
)
.since(Since::Attach);

static STATES_TOTAL: Metric = Metric::counter(
    "tcp_state_transitions_total",
    "Changes of a TCP socket's state, by the state that it entered.",
    &[Label::fixed("state", State::LABELS)],
)
.since(Since::Attach);

static CONNECT_SECONDS: Metric = Metric::histogram(
    "tcp_connect_seconds",
    "Time from a TCP connect of this host until its connection was established.",
    CONNECTS,
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

static CONNECTION_SECONDS: Metric = Metric::histogram(
    "tcp_connection_seconds",
    "Time from the establishment of a TCP connection until it was closed, without the wait for late segments.",
    LIVES,
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

static ACCEPT_SECONDS: Metric = Metric::histogram(
    "tcp_accept_seconds",
    "Time that an established TCP connection waited in its listener's queue until it was accepted.",
    ACCEPTS,
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

static RTT_SECONDS: Metric = Metric::histogram(
    "tcp_rtt_seconds",
    "Smoothed round-trip time of a TCP connection as the kernel held it when the connection was closed.",
    RTTS,
    &[],
)
.unit(Unit::Seconds)
.since(Since::Attach);

static RESETS_TOTAL: Metric = Metric::counter(
    "tcp_resets_total",
    "TCP resets, by whether this host sent them or a socket of it received them.",
    &[Label::fixed("direction", Reset::LABELS)],
)
.since(Since::Attach);

static RETRANSMITS_TOTAL: Metric = Metric::counter(
    "tcp_retransmits_total",
    "TCP segments that were sent again, by what they are: a request, an answer to one, or data and their end.",
    &[Label::fixed("segment", Segment::LABELS)],
)
.since(Since::Attach);

static UNTIMED_TOTAL: Metric = Metric::counter(
    "tcp_untimed_connections_total",
    "TCP connects and connections that cannot be timed: begun before counting, or no room for the start.",
    &[Label::fixed("reason", &["before_attach", "table_full"])],
)
.since(Since::Attach);

struct Tcp {
    opened: Opened,
    banks: View,
    header: View,
    has_rtt: bool,
    has_accepts: bool,
    connects: Histogram,
    connections: Histogram,
    accepts: Histogram,
    rtts: Histogram,
}

/// Adds up what the CPUs counted.
fn gather(histogram: &mut Histogram, banks: &View, at: usize) {
    histogram.clear();
    for bank in banks.words().chunks_exact(BANK_WORDS) {
        histogram.merge(&bank[at..at + words(TIME_SLOTS)]);
    }
}

impl Input for Tcp {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let sum = |word| self.banks.sum(BANK_WORDS, word);
        for direction in Direction::ALL {
            let count = sum(CONNECTIONS + direction.index());
            acc.put(&CONNECTIONS_TOTAL, &[direction.label().as_bytes()], count);
        }
        acc.put(&FAILED_TOTAL, &[], sum(FAILED));
        for state in State::ALL {
            acc.put(&STATES_TOTAL, &[state.label().as_bytes()], sum(STATES + state.number() as usize));
        }
        for direction in Reset::ALL {
            acc.put(&RESETS_TOTAL, &[direction.label().as_bytes()], sum(RESETS + direction.index()));
        }
        for segment in Segment::ALL {
            acc.put(&RETRANSMITS_TOTAL, &[segment.label().as_bytes()], sum(RETRANSMITS + segment.index()));
        }
        gather(&mut self.connects, &self.banks, CONNECT);
        acc.put(&CONNECT_SECONDS, &[], &self.connects);
        gather(&mut self.connections, &self.banks, CONNECTION);
        acc.put(&CONNECTION_SECONDS, &[], &self.connections);
        if self.has_accepts {
            gather(&mut self.accepts, &self.banks, ACCEPT);
            acc.put(&ACCEPT_SECONDS, &[], &self.accepts);
        }
        if self.has_rtt {
            gather(&mut self.rtts, &self.banks, RTT);
            acc.put(&RTT_SECONDS, &[], &self.rtts);
        }
        let header = |word: usize| self.header.words()[word].load(Ordering::Relaxed);
        acc.put(&UNTIMED_TOTAL, &[b"before_attach"], header(header::UNSEEN));
        acc.put(&UNTIMED_TOTAL, &[b"table_full"], header(header::LOST));
        Ok(())
    }
}
