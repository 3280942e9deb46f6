//! What checks over the network share: how they wait, how they connect, and what keeps a target from being reached.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle, Runtime},
    time::timeout,
};

use super::{Inside, resolve, shelf::Shelf};
use crate::input::InputError;

/// What is left to the caller after a check has given up waiting: to say so.
const SLACK: Duration = Duration::from_millis(20);
/// What the agent waits beyond the timeout of a check, so that a target that does not answer is a result.
const GRACE: Duration = Duration::from_millis(500);
/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;

/// How long a helper may take for a check with this timeout.
pub(super) fn with_grace(timeout: Duration) -> Duration {
    timeout + GRACE
}

/// What keeps a target from being up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its name has no address.
    Resolve,
    /// There is no socket of that path.
    Missing,
    /// No way leads there.
    Unreachable,
    /// Nobody listens.
    Refused,
    /// A firewall of the target's forbids it.
    Denied,
    /// It broke the connection.
    Reset,
    /// It did not answer in time.
    Timeout,
    /// TLS failed.
    Tls,
    /// Its certificate is not one to trust.
    Certificate,
    /// It speaks something else.
    Protocol,
    /// It closed before it was done.
    Closed,
    /// It redirects to where nobody follows.
    Redirect,
    /// The status code is not one of the expected.
    Status,
    /// The body is not what it should be.
    Body,
    /// The answer is not what it should be.
    Answer,
}

impl Reason {
    /// The word in labels.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Missing => "missing",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Redirect => "redirect",
            Self::Status => "status",
            Self::Body => "body",
            Self::Answer => "answer",
        }
    }
}

/// Why a target was not found up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is down.
    Down(Reason),
    /// Nothing was found out about it.
    Unknown(String),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Down(reason)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let reason = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED) => Reason::Refused,
            Some(Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE) => Reason::Reset,
            Some(Errno::ETIMEDOUT) => Reason::Timeout,
            Some(
                Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENETDOWN
                | Errno::EADDRNOTAVAIL
                | Errno::EAFNOSUPPORT
                | Errno::EINVAL
                // What else a message of ICMP may say.
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::ENONET
                | Errno::EPROTO,
            ) => Reason::Unreachable,
            Some(Errno::EPERM | Errno::EACCES) => Reason::Denied,
            _ => match error.kind() {
                Kind::UnexpectedEof | Kind::WriteZero => Reason::Closed,
                Kind::BrokenPipe | Kind::ConnectionReset => Reason::Reset,
                Kind::InvalidData | Kind::InvalidInput => Reason::Protocol,
                _ => return Self::Unknown(error.to_string()),
            },
        };
        Self::Down(reason)
    }
}

/// Until when a check waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    until: Instant,
    /// The caller waits less long than the target may take.
    is_cut: bool,
}

impl Patience {
    /// As long as the target may take, and no longer than the caller waits.
    pub(super) fn new(timeout: Duration, inside: &Inside) -> Self {
        let own = Instant::now() + timeout;
        let theirs = inside.deadline.checked_sub(SLACK).unwrap_or(inside.deadline);
        Self { until: own.min(theirs), is_cut: theirs < own }
    }

    /// What is left, divided among so many who follow each other.
    pub(super) fn share(self, among: usize) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left / u32::try_from(among.max(1)).unwrap_or(u32::MAX)
    }

    /// The same, but only for one who is to wait so long.
    pub(super) fn within(self, share: Duration) -> Self {
        Self { until: self.until.min(Instant::now() + share), ..self }
    }

    /// The same, where nobody need wait longer than that.
    pub(super) fn at_most(self, limit: Duration) -> Self {
        let own = Instant::now() + limit;
        Self { until: self.until.min(own), is_cut: self.is_cut && self.until <= own }
    }

    /// What it means when the time is over.
    pub(super) fn is_over(self) -> Failure {
        if self.is_cut {
            let what = "there was less time than the `timeout` of the check: give it a longer `deadline`";
            Failure::Unknown(what.to_owned())
        } else {
            Failure::Down(Reason::Timeout)
        }
    }

    /// Waits for something, as long as this lasts.
    pub(super) async fn wait<T>(self, what: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        timeout(self.share(1), pin!(what)).await.unwrap_or_else(|_| Err(self.is_over()))
    }
}

/// Connects to the first of these addresses that accepts. Each gets its share of the time. What is told when none
/// does is why the first did not that could be reached.
pub(super) async fn connect(addresses: &[SocketAddr], patience: Patience) -> Result<TcpStream, Failure> {
    let mut failure = Failure::Down(Reason::Resolve);
    for (index, &address) in addresses.iter().enumerate() {
        let share = patience.within(patience.share(addresses.len() - index));
        match share.wait(async { Ok(TcpStream::connect(address).await?) }).await {
            Ok(stream) => return Ok(stream),
            // That a host has no IPv6 is not why a name of both kinds is down.
            Err(Failure::Down(Reason::Unreachable)) if index > 0 => {}
            Err(next) if matches!(failure, Failure::Down(Reason::Resolve | Reason::Unreachable)) => {
                failure = next;
            }
            Err(_) => {}
        }
    }
    Err(failure)
}

/// The addresses of a host, by what its target knows of names.
pub(super) fn addresses(inside: &Inside, host: &str, patience: Patience) -> Result<Vec<IpAddr>, Failure> {
    match resolve::addresses_until(inside, host, patience.until) {
        Ok(mut addresses) => {
            addresses.truncate(MOST_ADDRESSES);
            Ok(addresses)
        }
        Err(_) if patience.is_cut && patience.share(1).is_zero() => Err(patience.is_over()),
        Err(error) if resolve::unresolved(&error).is_some() => Err(Reason::Resolve.into()),
        Err(error) => Err(Failure::Unknown(error.to_string())),
    }
}

static RUNTIMES: Shelf<Runtime> = Shelf::new();

/// Runs to its end what waits for the network.
pub(super) fn run<F: Future>(what: F) -> Result<F::Output, InputError> {
    if Handle::try_current().is_ok() {
        return Err(InputError::Other("a check waits, so it cannot run where others must not".to_owned()));
    }
    let runtime = match RUNTIMES.take(|_| true) {
        Some(runtime) => runtime,
        None => Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| InputError::Other(format!("no event loop: {error}")))?,
    };
    let output = runtime.block_on(what);
    RUNTIMES.put(runtime);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_has_its_word() {
        let of = |errno: Errno| Failure::from(io::Error::from(errno));
        assert_eq!(of(Errno::ECONNREFUSED), Failure::Down(Reason::Refused));
        assert_eq!(of(Errno::EHOSTUNREACH), Failure::Down(Reason::Unreachable));
        assert_eq!(of(Errno::EPERM), Failure::Down(Reason::Denied));
        assert!(matches!(of(Errno::EMFILE), Failure::Unknown(_)), "says nothing about the target");
    }

    #[test]
    fn time_that_the_caller_cuts_says_nothing_about_the_target() {
        let second = Duration::from_secs(1);
        let inside = Inside::host(second).unwrap();
        assert!(matches!(Patience::new(2 * second, &inside).is_over(), Failure::Unknown(_)));
        let patience = Patience::new(second / 2, &inside);
        assert_eq!(patience.is_over(), Failure::Down(Reason::Timeout));
        assert!(patience.share(5) <= second / 10);
        assert!(patience.within(Duration::from_millis(1)).share(1) <= Duration::from_millis(1));
        let cut = Patience::new(2 * second, &inside);
        assert!(matches!(cut.within(second / 10).is_over(), Failure::Unknown(_)), "a part of too little");
        assert_eq!(cut.at_most(second / 10).is_over(), Failure::Down(Reason::Timeout), "as long as it takes");
        assert!(matches!(cut.at_most(2 * second).is_over(), Failure::Unknown(_)));
    }

    #[test]
    fn a_check_does_not_wait_where_others_must_not() {
        let runtime = Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(async { run(async {}) }).is_err());
        assert!(run(async {}).is_ok());
    }

    #[test]
    fn a_shelf_keeps_what_was_needed_last() {
        let shelf = Shelf::new();
        (0..20).for_each(|thing| shelf.put(thing));
        assert_eq!((shelf.take(|thing| *thing == 3), shelf.take(|thing| *thing == 4)), (None, Some(4)));
        assert_eq!((shelf.take(|_| true), shelf.take(|thing| *thing == 4)), (Some(19), None));
    }
}
