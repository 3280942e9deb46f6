//! TCP: connections made, failed and ended, how long that took, resets and retransmissions.

use crate::{
    bank::{LINE_WORDS, padded},
    histogram,
};

slots! {
    /// Which side asked for a connection.
    pub enum Direction {
        /// This host, by `connect`.
        Active = "active",
        /// The other side; this host listened.
        Passive = "passive",
    }
}

slots! {
    /// Which way a reset went.
    pub enum Reset {
        /// To the other side.
        Sent = "sent",
        /// To a socket of this host.
        Received = "received",
    }
}

slots! {
    /// What was sent again.
    pub enum Segment {
        /// A request for a connection.
        Syn = "syn",
        /// The answer to one.
        SynAck = "synack",
        /// Data, or the end of them.
        Data = "data",
    }
}

slots! {
    /// A state that a socket enters.
    ///
    /// Two of the kernel's states are missing: a request that was answered and a connection that waits for
    /// late segments are smaller sockets of other kinds, and no tracepoint tells of them.
    pub enum State {
        /// Data flow.
        Established = "established",
        /// Asked for a connection.
        SynSent = "syn_sent",
        /// Was asked for one, and answered.
        SynRecv = "syn_recv",
        /// Closed here.
        FinWait1 = "fin_wait1",
        /// Closed here, and the other side knows.
        FinWait2 = "fin_wait2",
        /// No connection.
        Close = "close",
        /// Closed by the other side.
        CloseWait = "close_wait",
        /// Closed by the other side, then here.
        LastAck = "last_ack",
        /// Waits for others to connect.
        Listen = "listen",
        /// Closed by both at once.
        Closing = "closing",
    }
}

impl State {
    /// The kernel's number.
    pub const fn number(self) -> u32 {
        match self {
            Self::Established => state::ESTABLISHED,
            Self::SynSent => state::SYN_SENT,
            Self::SynRecv => state::SYN_RECV,
            Self::FinWait1 => state::FIN_WAIT1,
            Self::FinWait2 => state::FIN_WAIT2,
            Self::Close => state::CLOSE,
            Self::CloseWait => state::CLOSE_WAIT,
            Self::LastAck => state::LAST_ACK,
            Self::Listen => state::LISTEN,
            Self::Closing => state::CLOSING,
        }
    }
}

/// Socket states (`BPF_TCP_*` of `linux/bpf.h`, where they are promised not to change).
pub mod state {
    /// Data flow.
    pub const ESTABLISHED: u32 = 1;
    /// Asked for a connection.
    pub const SYN_SENT: u32 = 2;
    /// Was asked for one, and answered.
    pub const SYN_RECV: u32 = 3;
    /// Closed here.
    pub const FIN_WAIT1: u32 = 4;
    /// Closed here, and the other side knows.
    pub const FIN_WAIT2: u32 = 5;
    /// No connection.
    pub const CLOSE: u32 = 7;
    /// Closed by the other side.
    pub const CLOSE_WAIT: u32 = 8;
    /// Closed by the other side, then here.
    pub const LAST_ACK: u32 = 9;
    /// Waits for others to connect.
    pub const LISTEN: u32 = 10;
    /// Closed by both at once.
    pub const CLOSING: u32 = 11;
}

/// What a change of state means to the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This host asks for one.
    Connecting,
    /// It got it.
    Connected,
    /// It did not get it: refused, timed out, unreachable, or closed by who asked.
    Failed,
    /// A connection that the other side asked for is there.
    Accepted,
    /// One that was never there is given up.
    Dropped,
    /// A connection ends: what waits on in `TIME_WAIT` is another, smaller socket.
    Closed,
}

impl Step {
    /// The step from a state to a state, if it is one.
    #[inline(always)]
    pub const fn of(old: u32, new: u32) -> Option<Self> {
        use state::{
            CLOSE, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, SYN_RECV, SYN_SENT,
        };
        Some(match (old, new) {
            (CLOSE, SYN_SENT) => Self::Connecting,
            (SYN_SENT, ESTABLISHED) => Self::Connected,
            (SYN_SENT, CLOSE) => Self::Failed,
            // With TCP Fast Open the socket may be used, and closed, before the handshake is over.
            (SYN_RECV, ESTABLISHED | FIN_WAIT1) => Self::Accepted,
            (SYN_RECV, CLOSE) => Self::Dropped,
            (ESTABLISHED | FIN_WAIT1 | FIN_WAIT2 | CLOSE_WAIT | LAST_ACK | CLOSING, CLOSE) => Self::Closed,
            _ => return None,
        })
    }
}

/// First word of the connections, by [`Direction`].
pub const CONNECTIONS: usize = 0;
/// First word of the resets, by [`Reset`].
pub const RESETS: usize = CONNECTIONS + Direction::COUNT;
/// First word of the segments sent again, by [`Segment`].
pub const RETRANSMITS: usize = RESETS + Reset::COUNT;
/// Word of the connects that failed.
pub const FAILED: usize = RETRANSMITS + Segment::COUNT;
/// First word of the states entered, by the kernel's number.
pub const STATES: usize = padded(FAILED + 1);
/// Words of them: a power of two, so that masking a number keeps it inside.
pub const STATE_WORDS: usize = 16;
/// First word of the histogram of connects: asked for until established.
pub const CONNECT: usize = STATES + STATE_WORDS;
/// First word of the histogram of connections: established until closed.
pub const CONNECTION: usize = CONNECT + padded(histogram::words(histogram::TIME_SLOTS));
/// First word of the histogram of accepts: established until a program took it.
pub const ACCEPT: usize = CONNECTION + padded(histogram::words(histogram::TIME_SLOTS));
/// First word of the histogram of round trips.
pub const RTT: usize = ACCEPT + padded(histogram::words(histogram::TIME_SLOTS));
/// Words of one CPU's bank.
pub const BANK_WORDS: usize = RTT + padded(histogram::words(histogram::TIME_SLOTS));

/// Words of the header bank.
pub mod header {
    /// Starts that could not be stored: the table was full.
    pub const LOST: usize = 0;
    /// Of those, the ones whose end has come.
    pub const LOST_ENDED: usize = 1;
    /// Ends without a start, beyond the ones that were lost.
    pub const UNSEEN: usize = 2;
    /// Words in all.
    pub const WORDS: usize = super::LINE_WORDS;
}

/// Connects and connections that can be timed at once.
pub const TIMED: u32 = 32_768;

#[cfg(test)]
mod tests {
    use super::{state::*, *};

    #[test]
    fn the_counters_fill_one_cache_line() {
        assert_eq!(STATES, LINE_WORDS);
    }

    #[test]
    fn every_state_has_a_word_of_its_own() {
        let numbers = || State::ALL.iter().map(|state| state.number());
        assert!(numbers().eq([1, 2, 3, 4, 5, 7, 8, 9, 10, 11]));
        assert!(numbers().all(|number| (number as usize) < STATE_WORDS));
    }

    #[test]
    fn whatever_begins_also_ends() {
        let to_close = |old| Step::of(old, CLOSE);
        assert_eq!(to_close(SYN_SENT), Some(Step::Failed));
        assert_eq!(to_close(SYN_RECV), Some(Step::Dropped));
        for old in [ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING] {
            assert_eq!(to_close(old), Some(Step::Closed));
        }
    }

    #[test]
    fn a_listener_is_no_connection() {
        for (old, new) in [(CLOSE, LISTEN), (LISTEN, CLOSE), (LISTEN, SYN_RECV), (CLOSE, CLOSE)] {
            assert_eq!(Step::of(old, new), None);
        }
    }

    #[test]
    fn the_states_of_an_orderly_end_are_no_step() {
        let ways = [(ESTABLISHED, FIN_WAIT1), (FIN_WAIT1, FIN_WAIT2), (FIN_WAIT1, CLOSING)];
        for (old, new) in ways.into_iter().chain([(ESTABLISHED, CLOSE_WAIT), (CLOSE_WAIT, LAST_ACK)]) {
            assert_eq!(Step::of(old, new), None);
        }
    }
}
