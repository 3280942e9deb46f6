//! What the agent tells the spawner, and what it hears back. One message each; they come whole or not at all.

use std::{fmt, str};

use rustix::thread::ThreadNameSpaceType;

use crate::catalogue::{CheckDef, Namespace};

/// Version of the messages.
const VERSION: u8 = 1;
/// The longest message: a control group is a path.
pub(super) const LONGEST: usize = 4 << 10;
const START: u8 = 1;
const KILL: u8 = 2;
const READY: u8 = 3;
const ENDED: u8 = 4;
const BEGIN: u8 = 5;

/// What a helper is made for. Helpers that differ in it are not interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Needs(u8);

const KINDS: [Namespace; 5] =
    [Namespace::Net, Namespace::Pid, Namespace::Mount, Namespace::Ipc, Namespace::Uts];
const AS_TARGET: u8 = 1 << 5;
const EXECUTES: u8 = 1 << 6;

impl Needs {
    /// What a check needs.
    pub(super) fn of(def: &CheckDef) -> Self {
        let has =
            |kind: Namespace| def.namespaces.contains(&kind) || (def.executes && kind == Namespace::Mount);
        let mut bits = KINDS.iter().enumerate().fold(0, |bits, (at, kind)| bits | u8::from(has(*kind)) << at);
        bits |= if def.as_target { AS_TARGET } else { 0 };
        bits |= if def.executes { EXECUTES } else { 0 };
        Self(bits)
    }

    /// The namespaces that are entered.
    pub(super) fn namespaces(self) -> impl Iterator<Item = Namespace> {
        KINDS.into_iter().enumerate().filter(move |(at, _)| self.0 & 1 << at != 0).map(|(_, kind)| kind)
    }

    /// Whether a namespace of that kind is.
    pub(super) fn enters(self, kind: Namespace) -> bool {
        self.namespaces().any(|entered| entered == kind)
    }

    /// Those but the mounts, for the system call: a mount namespace is entered last.
    pub(super) fn flags(self) -> ThreadNameSpaceType {
        self.namespaces().fold(ThreadNameSpaceType::empty(), |flags, kind| {
            flags
                | match kind {
                    Namespace::Net => ThreadNameSpaceType::NETWORK,
                    Namespace::Pid => ThreadNameSpaceType::PROCESS_ID,
                    Namespace::Mount => ThreadNameSpaceType::empty(),
                    Namespace::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
                    Namespace::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
                }
        })
    }

    /// Whether it has the user of the target.
    pub(super) const fn as_target(self) -> bool {
        self.0 & AS_TARGET != 0
    }

    /// Whether it may start programs of the target.
    pub(super) const fn executes(self) -> bool {
        self.0 & EXECUTES != 0
    }
}

/// A container that is to be entered, and how it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Its first process.
    pub(super) pid: u32,
    /// When that started, in clock ticks since boot.
    pub(super) started: u64,
    /// The inode of its network namespace, once it is known.
    pub(super) net: Option<u64>,
    /// Whether that is certainly another one than the host's.
    pub(super) is_apart: bool,
    /// The control group that it is in or above; empty where that is not known.
    pub(super) cgroup: String,
}

/// What the agent wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It may begin: what was ordered before was meant for another one.
    Begin,
    /// A helper. Its end of a connection comes along.
    Start { id: u32, needs: Needs, expected: Option<Expected> },
    /// That it ends, with all that it has started.
    Kill(u32),
}

/// How a helper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It was never there: the error of the fork.
    NotStarted(i32),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::NotStarted(libc::EAGAIN) => f.write_str(
                "it cannot be started: EAGAIN: raise the limit of processes (TasksMax of the service, or the pod's pids limit)",
            ),
            Self::NotStarted(error) => write!(f, "it cannot be started: {}", nix::errno::Errno::from_raw(*error)),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => f.write_str(signal.as_str()),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// What the spawner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It is there. These capabilities it would have to have for entering containers, and has not.
    Ready { missing: u64 },
    /// A helper has ended, and nothing of it is left.
    Ended { id: u32, ending: Ending },
}

impl Order {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        match self {
            Self::Begin => bytes.push(BEGIN),
            Self::Kill(id) => {
                bytes.push(KILL);
                bytes.extend(id.to_le_bytes());
            }
            Self::Start { id, needs, expected } => {
                bytes.push(START);
                bytes.extend(id.to_le_bytes());
                bytes.push(needs.0);
                if let Some(expected) = expected {
                    bytes.extend(expected.pid.to_le_bytes());
                    bytes.extend(expected.started.to_le_bytes());
                    // No namespace has inode 0.
                    bytes.extend(expected.net.unwrap_or(0).to_le_bytes());
                    bytes.push(u8::from(expected.is_apart));
                    bytes.extend_from_slice(expected.cgroup.as_bytes());
                }
            }
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[version, kind], rest) = bytes.split_first_chunk()?;
        if (version, kind) == (VERSION, BEGIN) {
            return rest.is_empty().then_some(Self::Begin);
        }
        let (id, rest) = rest.split_first_chunk()?;
        let id = u32::from_le_bytes(*id);
        match (version, kind) {
            (VERSION, KILL) if rest.is_empty() => Some(Self::Kill(id)),
            (VERSION, START) => {
                let (needs, rest) = rest.split_first()?;
                let expected = if rest.is_empty() { None } else { Some(Expected::parse(rest)?) };
                Some(Self::Start { id, needs: Needs(*needs), expected })
            }
            _ => None,
        }
    }
}

impl Expected {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (pid, rest) = bytes.split_first_chunk()?;
        let (started, rest) = rest.split_first_chunk()?;
        let (net, rest) = rest.split_first_chunk()?;
        let (is_apart, cgroup) = rest.split_first()?;
        let net = u64::from_le_bytes(*net);
        Some(Self {
            pid: u32::from_le_bytes(*pid),
            started: u64::from_le_bytes(*started),
            net: (net != 0).then_some(net),
            is_apart: *is_apart != 0,
            cgroup: str::from_utf8(cgroup).ok()?.to_owned(),
        })
    }
}

impl Notice {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        match self {
            Self::Ready { missing } => {
                bytes.push(READY);
                bytes.extend(missing.to_le_bytes());
            }
            Self::Ended { id, ending } => {
                bytes.push(ENDED);
                bytes.extend(id.to_le_bytes());
                let (how, number) = match ending {
                    Ending::Code(code) => (0, code),
                    Ending::Signal(signal) => (1, signal),
                    Ending::NotStarted(error) => (2, error),
                };
                bytes.push(how);
                bytes.extend(number.to_le_bytes());
            }
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[version, kind], rest) = bytes.split_first_chunk()?;
        match (version, kind) {
            (VERSION, READY) => Some(Self::Ready { missing: u64::from_le_bytes(rest.try_into().ok()?) }),
            (VERSION, ENDED) => {
                let (id, rest) = rest.split_first_chunk()?;
                let (how, number) = rest.split_first()?;
                let number = i32::from_le_bytes(number.try_into().ok()?);
                let ending = match how {
                    0 => Ending::Code(number),
                    1 => Ending::Signal(number),
                    2 => Ending::NotStarted(number),
                    _ => return None,
                };
                Some(Self::Ended { id: u32::from_le_bytes(*id), ending })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    static NET: CheckDef = CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false };
    static EXEC: CheckDef =
        CheckDef { namespaces: &[Namespace::Net, Namespace::Pid], as_target: true, executes: true };

    #[test]
    fn needs_are_those_of_the_check() {
        let net = Needs::of(&NET);
        assert!(net.namespaces().eq([Namespace::Net]) && !net.as_target() && !net.executes());
        assert_eq!(net.flags(), ThreadNameSpaceType::NETWORK);
        let exec = Needs::of(&EXEC);
        assert!(exec.as_target() && exec.executes());
        assert!(exec.enters(Namespace::Mount), "a program is started where its files are");
        assert_eq!(exec.flags(), ThreadNameSpaceType::NETWORK | ThreadNameSpaceType::PROCESS_ID);
    }

    #[test]
    fn orders_and_notices_travel() {
        let expected =
            Expected { pid: 7, started: 1 << 40, net: Some(9), is_apart: true, cgroup: "kubepods/x".into() };
        let orders = [
            Order::Begin,
            Order::Kill(3),
            Order::Start { id: 1, needs: Needs::of(&NET), expected: None },
            Order::Start { id: 2, needs: Needs::of(&EXEC), expected: Some(expected.clone()) },
            Order::Start {
                id: 2,
                needs: Needs::of(&NET),
                expected: Some(Expected { net: None, ..expected }),
            },
        ];
        for order in orders {
            assert_eq!(Order::parse(&order.to_bytes()), Some(order));
        }
        let notices = [
            Notice::Ready { missing: 5 },
            Notice::Ended { id: 4, ending: Ending::Code(1) },
            Notice::Ended { id: 4, ending: Ending::Signal(31) },
            Notice::Ended { id: 4, ending: Ending::NotStarted(libc::EAGAIN) },
        ];
        for notice in notices {
            assert_eq!(Notice::parse(&notice.to_bytes()), Some(notice));
        }
        assert_eq!(Ending::Signal(31).to_string(), "SIGSYS");
        assert!(Ending::NotStarted(libc::EAGAIN).to_string().contains("TasksMax"));
        assert!(Ending::NotStarted(libc::ENOMEM).to_string().contains("ENOMEM"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Order::parse(&bytes);
            let _ = Notice::parse(&bytes);
            let with_version = [&[VERSION][..], &bytes].concat();
            let _ = Order::parse(&with_version);
            let _ = Notice::parse(&with_version);
        }
    }
}
