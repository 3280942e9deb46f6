//! Addresses of names, by the resolver settings of a target: its `/etc/hosts` and `/etc/resolv.conf`.
//!
//! The C library cannot be asked: it reads the files of whoever calls it. So this follows what glibc does, in the
//! namespaces where it is called and with the files of the target, which may be hostile: they are read within
//! bounds, and what name servers send is believed only where it answers what was asked of them.

mod asking;
mod hosts;
mod message;
mod settings;
mod stream;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod verdict;
mod walk;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use simple_dns::TYPE;

use super::Inside;

pub(super) use self::{
    asking::ask,
    message::is_name,
    settings::Settings,
    verdict::{Outcome, Question, Verdict},
};

/// As many addresses as are taken of one name.
const MOST_ADDRESSES: usize = 64;

/// A name that has no addresses, by what its name servers said or did not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {}", verdict.sentence())]
pub struct Unresolved {
    name: String,
    verdict: Verdict,
}

impl Unresolved {
    /// One word for it.
    pub const fn reason(&self) -> &'static str {
        self.verdict.word()
    }
}

/// The addresses of a host name, or of an address that is written as one. Waits no longer than the check may.
///
/// An error says what the name servers said ([`unresolved`]), or that they could not be asked.
pub fn addresses(inside: &Inside, host: &str) -> io::Result<Vec<IpAddr>> {
    addresses_until(inside, host, inside.deadline)
}

/// The same, but waits no longer than until then.
pub(super) fn addresses_until(inside: &Inside, host: &str, deadline: Instant) -> io::Result<Vec<IpAddr>> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    if !is_name(host) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is not a host name")));
    }
    let local = is_local(host);
    match hosts::find(&inside.root, host) {
        Ok(found) if !found.is_empty() => return Ok(found),
        Err(error) if !local => return Err(error),
        _ => {}
    }
    if local {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let settings = Settings::of(&inside.root)?;
    by_dns(&settings, host, deadline)
        .map_err(|unresolved| io::Error::new(unresolved.verdict.kind(), unresolved))
}

/// What the name servers said, if that is why there are no addresses. It is about the target, whereas any other error
/// says that nothing was found out.
pub fn unresolved(error: &io::Error) -> Option<&Unresolved> {
    error.get_ref()?.downcast_ref()
}

/// Names that mean this host wherever they are asked (RFC 6761).
fn is_local(name: &str) -> bool {
    let last = name.strip_suffix('.').unwrap_or(name).rsplit('.').next();
    last.is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

fn by_dns(settings: &Settings, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, Unresolved> {
    let names = settings.candidates(host);
    let mut questions = vec![Question { names: names.clone(), kind: TYPE::A }];
    if !settings.no_aaaa {
        questions.push(Question { names, kind: TYPE::AAAA });
    }
    let outcomes = ask(settings, &questions, deadline, true);
    // Both kinds are of one name: of the first in the search list that has any.
    let answered = |outcome: &&Outcome| outcome.verdict == Verdict::Answered;
    let first = outcomes.iter().filter(answered).map(|outcome| outcome.steps).min();
    let of_first = outcomes.iter().filter(answered).filter(|outcome| Some(outcome.steps) == first);
    let found: Vec<IpAddr> =
        of_first.flat_map(|outcome| outcome.addresses.iter().copied()).take(MOST_ADDRESSES).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let verdict = outcomes.iter().map(|outcome| outcome.verdict).max().unwrap_or(Verdict::NoData);
    Err(Unresolved { name: host.to_owned(), verdict })
}
