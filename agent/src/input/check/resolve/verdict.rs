//! Questions, and how they end.

use std::{io, net::IpAddr, time::Duration};

use simple_dns::TYPE;

/// What is asked: records of one kind, of the first of these names that has any.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The names, in the order in which they are tried.
    pub(crate) names: Vec<String>,
    /// The kind of record.
    pub(crate) kind: TYPE,
}

/// How a question ended. Of several ends, the greatest says most about why there are no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// No name of the list exists.
    NoName,
    /// A name exists, but has no record of that kind.
    NoData,
    /// A server said that something prevented it from finding out.
    ServerFailure,
    /// A server does not answer such questions of this host.
    Refused,
    /// A server answered with another code.
    OtherCode,
    /// What a server sent is not an answer.
    Malformed,
    /// No server could be reached.
    Unreachable,
    /// No server answered in time.
    Timeout,
    /// There are records.
    Answered,
}

impl Verdict {
    /// Every word.
    pub(crate) const WORDS: &[&str] = &[
        "nxdomain",
        "no_data",
        "servfail",
        "refused",
        "other_code",
        "malformed",
        "unreachable",
        "timeout",
        "answered",
    ];

    /// One word for it.
    pub(crate) const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::NoName => "no such name",
            Self::NoData => "the name has no such records",
            Self::ServerFailure => "the name server failed",
            Self::Refused => "the name server refused to answer",
            Self::OtherCode => "the name server answered with an unusual code",
            Self::Malformed => "what the name server sent is not an answer",
            Self::Unreachable => "no name server can be reached",
            Self::Timeout => "no name server answered in time",
            Self::Answered => "answered",
        }
    }

    pub(super) const fn kind(self) -> io::ErrorKind {
        match self {
            Self::NoName | Self::NoData => io::ErrorKind::NotFound,
            Self::Timeout => io::ErrorKind::TimedOut,
            Self::Unreachable => io::ErrorKind::HostUnreachable,
            _ => io::ErrorKind::InvalidData,
        }
    }
}

/// What came of a question.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// The response code that decided, if a server sent one.
    pub(crate) code: Option<u8>,
    /// Records of the kind that was asked for.
    pub(crate) records: u32,
    /// The addresses among them.
    pub(crate) addresses: Vec<IpAddr>,
    /// Names that were tried.
    pub(crate) steps: usize,
    /// Whether an answer did not fit and was asked for over TCP.
    pub(crate) truncated: bool,
    /// How long it took, from the first question to the last answer.
    pub(crate) took: Duration,
}
