//! Sends echoes to several hosts at once and waits for the answers.
//!
//! By the kernel's sockets for just this (`SOCK_DGRAM` of ICMP), which need no privilege: the kernel fills in what
//! tells the echoes of one socket from those of others, and hands over nothing but answers to them.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use rustix::rand::{GetRandomFlags, getrandom};
use socket2::{Domain, Protocol, Socket, Type};

use super::asked::Asked;

/// Type, code, checksum, identifier and number.
const HEADER: usize = 8;
const COOKIE: usize = 8;
/// Answers that are read in one go before the clock is looked at.
const BURST: usize = 64;

/// What became of the echoes to a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) sent: u16,
    pub(super) round_trips: Vec<Duration>,
    pub(super) result: Ending,
}

/// How the echoes to a host ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// At least one was answered.
    Answered,
    /// None was answered in time.
    #[default]
    Timeout,
    /// There is no way to the host, or somebody on the way said so.
    Unreachable,
    /// Its name has no address.
    Unresolved,
}

impl Ending {
    /// Every word.
    pub(super) const WORDS: &[&str] = &["answered", "timeout", "unreachable", "unresolved"];

    /// One word for it.
    pub(super) const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Whether such sockets may be made here, or what to do about it.
pub(super) fn is_allowed() -> io::Result<()> {
    open(false).map(drop).map_err(|error| match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            let what = "its sysctl net.ipv4.ping_group_range must include the group of the check, 65534 in a container";
            io::Error::new(error.kind(), format!("the network namespace does not allow echoes: {what}"))
        }
        _ => error,
    })
}

fn open(six: bool) -> io::Result<Socket> {
    let (domain, protocol) =
        if six { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Echoes to one host.
#[derive(Debug)]
struct Probe {
    /// None where there is nobody to send to.
    socket: Option<Socket>,
    six: bool,
    /// By number: when it was sent, and how long the answer took.
    echoes: Vec<(Option<Instant>, Option<Duration>)>,
    ending: Ending,
}

/// All echoes of a check.
#[derive(Debug)]
pub(super) struct Echoes<'a> {
    asked: &'a Asked,
    /// What nobody but who saw the echo can answer.
    cookie: [u8; COOKIE],
    probes: Vec<Probe>,
}

impl<'a> Echoes<'a> {
    /// To these hosts, by their addresses.
    pub(super) fn new(asked: &'a Asked, addresses: &[Option<IpAddr>]) -> io::Result<Self> {
        let mut cookie = [0; COOKIE];
        getrandom(&mut cookie, GetRandomFlags::empty())?;
        let probes = addresses.iter().map(|address| Probe::new(*address, asked.count)).collect();
        Ok(Self { asked, cookie, probes })
    }

    /// Sends them and waits for the answers.
    pub(super) fn run(mut self, deadline: Instant) -> io::Result<Vec<Fate>> {
        let began = Instant::now();
        for number in 0..self.asked.count {
            let turn = began + self.asked.spacing * u32::from(number);
            self.listen(turn.min(deadline), false)?;
            if Instant::now() >= deadline {
                break;
            }
            for probe in &mut self.probes {
                probe.send(number, self.cookie, self.asked.size);
            }
        }
        self.listen(deadline.min(Instant::now() + self.asked.timeout), true)?;
        let (now, timeout) = (Instant::now(), self.asked.timeout);
        Ok(self.probes.into_iter().map(|probe| probe.fate(now, timeout)).collect())
    }

    /// Takes answers until then, or until all have come if nothing else is waited for.
    fn listen(&mut self, until: Instant, for_answers: bool) -> io::Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || for_answers && !self.probes.iter().any(Probe::waits) {
                return Ok(());
            }
            let sockets = self.probes.iter().filter_map(|probe| probe.socket.as_ref());
            let mut fds: Vec<_> =
                sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
            // Rounded up, so that what is waited for is over afterwards.
            let left = (left + Duration::from_micros(999)).as_millis();
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            for probe in &mut self.probes {
                probe.receive(self.cookie, self.asked.timeout);
            }
        }
    }
}

impl Probe {
    fn new(address: Option<IpAddr>, count: u16) -> Self {
        let (mut socket, six) = (None, address.is_some_and(|address| address.is_ipv6()));
        let mut ending = Ending::Unresolved;
        if let Some(address) = address {
            let connect = |socket: Socket| {
                socket.connect(&SocketAddr::new(address, 0).into())?;
                Ok::<_, io::Error>(socket)
            };
            socket = open(six).and_then(connect).ok();
            ending = if socket.is_some() { Ending::Timeout } else { Ending::Unreachable };
        }
        Self { socket, six, echoes: vec![(None, None); count.into()], ending }
    }

    fn send(&mut self, number: u16, cookie: [u8; COOKIE], size: u16) {
        let Some(socket) = &self.socket else { return };
        let mut message = vec![0; HEADER + usize::from(size)];
        message[0] = if self.six { 128 } else { 8 };
        message[6..8].copy_from_slice(&number.to_be_bytes());
        if let Some(place) = message.get_mut(HEADER..HEADER + COOKIE) {
            place.copy_from_slice(&cookie);
        }
        let now = Instant::now();
        match socket.send(&message) {
            Ok(_) => self.echoes[usize::from(number)].0 = Some(now),
            Err(_) => self.ending = Ending::Unreachable,
        }
    }

    fn receive(&mut self, cookie: [u8; COOKIE], timeout: Duration) {
        let Some(socket) = &mut self.socket else { return };
        let mut buffer = [0; HEADER + 2048];
        for _ in 0..BURST {
            match socket.read(&mut buffer) {
                Ok(length) => {
                    let Some(number) = answer(&buffer[..length], self.six, cookie) else { continue };
                    if let Some((Some(sent), took @ None)) = self.echoes.get_mut(usize::from(number)) {
                        *took = Some(sent.elapsed()).filter(|took| *took <= timeout);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Somebody on the way said that it does not get there.
                Err(_) => self.ending = Ending::Unreachable,
            }
        }
    }

    fn waits(&self) -> bool {
        self.echoes.iter().any(|(sent, took)| sent.is_some() && took.is_none())
    }

    /// An echo that was not waited for as long as it should have been is as if it had not been sent.
    fn fate(self, now: Instant, timeout: Duration) -> Fate {
        let round_trips: Vec<_> = self.echoes.iter().filter_map(|(_, took)| *took).collect();
        let is_lost = |(sent, took): &&(Option<Instant>, Option<Duration>)| {
            took.is_none() && sent.is_some_and(|sent| now.saturating_duration_since(sent) >= timeout)
        };
        let lost = self.echoes.iter().filter(is_lost).count();
        let sent = u16::try_from(round_trips.len() + lost).unwrap_or(u16::MAX);
        let result = if round_trips.is_empty() { self.ending } else { Ending::Answered };
        Fate { sent, round_trips, result }
    }
}

/// The number of the echo that a message answers.
fn answer(message: &[u8], six: bool, cookie: [u8; COOKIE]) -> Option<u16> {
    let (header, data) = message.split_first_chunk::<HEADER>()?;
    let kind = if six { 129 } else { 0 };
    (header[0] == kind && header[1] == 0 && data.starts_with(&cookie))
        .then(|| u16::from_be_bytes([header[6], header[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_with_what_was_sent_are_answers() {
        let cookie = *b"12345678";
        let message = |kind: u8, code: u8, data: &[u8]| [&[kind, code, 0, 0, 9, 9, 1, 2][..], data].concat();
        assert_eq!(answer(&message(0, 0, b"12345678more"), false, cookie), Some(0x0102));
        assert_eq!(answer(&message(129, 0, b"12345678"), true, cookie), Some(0x0102));
        for wrong in
            [message(8, 0, b"12345678"), message(0, 1, b"12345678"), message(0, 0, b"1234567"), vec![0; 7]]
        {
            assert_eq!(answer(&wrong, false, cookie), None);
        }
        assert_eq!(answer(&message(0, 0, b"12345678"), true, cookie), None);
    }

    #[test]
    fn an_echo_that_was_not_waited_for_is_not_lost() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let (now, long_ago, just_now) = (start + second * 2, Some(start), Some(start + second * 3 / 2));
        let mut probe = Probe::new(None, 0);
        probe.ending = Ending::Timeout;
        probe.echoes = vec![(long_ago, None), (long_ago, Some(second / 4)), (just_now, None), (None, None)];
        let expected = Fate { sent: 2, round_trips: vec![second / 4], result: Ending::Answered };
        assert_eq!(probe.fate(now, second), expected);
    }
}
