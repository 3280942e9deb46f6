//! Asks name servers several questions at once, each along its own search list.
//!
//! Every question is a walk: from name to name of its list, and for each from server to server. What a server says
//! decides where it goes. All walks share one socket for each server, which the kernel lets nobody else answer on,
//! and one clock.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{
    Settings, message,
    stream::Stream,
    verdict::{Outcome, Question, Verdict},
    walk::Walk,
};

/// Messages that are read in one go before the clock is looked at.
const BURST: usize = 64;
/// Messages of one server that answer nothing, until it is asked no more. Late and doubled answers are far fewer.
const MOST_STRAYS: usize = 512;
/// More than fits into any answer over UDP that was not asked to be longer.
const LONGEST: usize = 4096;

/// Asks all questions at once. When they are `together`, an answer to one ends the others as soon as they are past
/// its name.
pub(crate) fn ask(
    settings: &Settings,
    questions: &[Question],
    deadline: Instant,
    together: bool,
) -> Vec<Outcome> {
    let lines = settings.servers.iter().map(|_| Line::default()).collect();
    let began = Instant::now();
    let walks = questions.iter().map(|question| Walk::new(question, began)).collect();
    let mut asking = Asking { settings, lines, walks, deadline, together };
    asking.run();
    asking.walks.into_iter().map(|walk| walk.outcome).collect()
}

#[derive(Debug)]
struct Asking<'a> {
    settings: &'a Settings,
    /// How it is asked over UDP, by server.
    lines: Vec<Line>,
    walks: Vec<Walk<'a>>,
    deadline: Instant,
    together: bool,
}

/// How a server is asked over UDP.
#[derive(Debug, Default)]
struct Line {
    socket: Option<UdpSocket>,
    /// Messages that answered nothing.
    strays: usize,
}

impl Line {
    fn send(&mut self, server: SocketAddr, query: &[u8]) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(open(server)?),
        };
        socket.send(query).map(drop)
    }

    /// Whether more came than a server sends that answers.
    fn is_flooded(&self) -> bool {
        self.strays >= MOST_STRAYS
    }
}

impl Asking<'_> {
    fn run(&mut self) {
        loop {
            self.cut_short();
            while let Some(at) = self.walks.iter().position(|walk| !walk.is_over && walk.waiting.is_none()) {
                self.send(at, self.settings.tcp);
            }
            let Some(until) = self.walks.iter().filter_map(|walk| Some(walk.waiting?.1)).min() else {
                return;
            };
            self.wait(until);
            for server in 0..self.lines.len() {
                self.read(server);
            }
            for at in 0..self.walks.len() {
                self.go_on(at);
            }
            self.give_up();
        }
    }

    /// Ends what is past a name that another one has found.
    fn cut_short(&mut self) {
        let found = |walk: &&Walk<'_>| walk.is_over && walk.outcome.verdict == Verdict::Answered;
        let first = self.walks.iter().filter(found).map(|walk| walk.step).min();
        let Some(first) = first.filter(|_| self.together) else { return };
        for walk in self.walks.iter_mut().filter(|walk| !walk.is_over && walk.step > first) {
            walk.end(walk.outcome.verdict, walk.outcome.code);
        }
    }

    /// Asks the server whose turn it is.
    fn send(&mut self, at: usize, over_tcp: bool) {
        let id = self.number();
        let (settings, deadline) = (self.settings, self.deadline);
        let Some(walk) = self.walks.get_mut(at) else { return };
        let query = id.and_then(|id| Some((id, message::query(id, walk.name(), walk.question.kind)?)));
        let server = settings.servers.get(walk.server).copied();
        let (Some((id, query)), Some(server)) = (query, server) else {
            walk.end(Verdict::Unreachable, None);
            return;
        };
        let line = self.lines.get_mut(walk.server);
        if !over_tcp && line.as_ref().is_some_and(|line| line.is_flooded()) {
            walk.is_wrong(settings);
            return;
        }
        let sent = if over_tcp {
            Stream::new(server, &query).map(|stream| walk.stream = Some(stream))
        } else {
            line.map_or_else(|| Err(io::ErrorKind::NotFound.into()), |line| line.send(server, &query))
        };
        if sent.is_ok() {
            walk.waiting = Some((id, deadline.min(Instant::now() + settings.patience)));
            return;
        }
        let server = walk.server;
        walk.is_unreachable(settings);
        // What the kernel tells of the server may be about an earlier message.
        if !over_tcp {
            self.nobody_listens(server);
        }
    }

    /// What is under way to a server is not waited for.
    fn nobody_listens(&mut self, server: usize) {
        for walk in self.walks.iter_mut().filter(|walk| walk.waits_for(server)) {
            walk.is_unreachable(self.settings);
        }
    }

    /// A number that nothing under way has, and nobody guesses.
    fn number(&self) -> Option<u16> {
        let is_free =
            |id: &u16| !self.walks.iter().any(|walk| walk.waiting.is_some_and(|(used, _)| used == *id));
        std::iter::repeat_with(|| {
            let mut bytes = [0; 2];
            getrandom(&mut bytes, GetRandomFlags::empty()).ok().filter(|count| *count == bytes.len())?;
            Some(u16::from_be_bytes(bytes))
        })
        .take(1000)
        .flatten()
        .find(is_free)
    }

    fn wait(&self, until: Instant) {
        let lines = self.lines.iter().filter_map(|line| line.socket.as_ref());
        let lines = lines.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        let streams = self.walks.iter().filter_map(|walk| walk.stream.as_ref());
        let streams = streams.map(|stream| PollFd::new(stream.as_fd(), stream.interest()));
        let mut all: Vec<_> = lines.chain(streams).collect();
        // Rounded up, so that what is waited for is over afterwards.
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        match poll(&mut all, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // The clock ends it all the same.
            Err(error) => tracing::debug!(%error, "cannot wait for name servers"),
        }
    }

    fn read(&mut self, server: usize) {
        let mut buffer = [0; LONGEST];
        for _ in 0..BURST {
            let Some(socket) = self.lines.get(server).and_then(|line| line.socket.as_ref()) else { return };
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    if !self.take(server, &mut buffer[..length]) {
                        self.count_stray(server);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The kernel tells that nobody listens there.
                Err(_) => return self.nobody_listens(server),
            }
        }
    }

    /// Notes a message that answers nothing. A server that sends no end of them would keep this busy until the
    /// deadline, so at some point nothing of it is read any more.
    fn count_stray(&mut self, server: usize) {
        let Some(line) = self.lines.get_mut(server) else { return };
        line.strays += 1;
        if !line.is_flooded() {
            return;
        }
        line.socket = None;
        for walk in self.walks.iter_mut().filter(|walk| walk.waits_for(server)) {
            walk.is_wrong(self.settings);
        }
    }

    /// A message of a server, and whether it answers a question.
    fn take(&mut self, server: usize, message: &mut [u8]) -> bool {
        let number = message::id(message);
        let Some(at) = self.walks.iter().position(|walk| {
            walk.waits_for(server) && walk.waiting.is_some_and(|(id, _)| Some(id) == number)
        }) else {
            return false;
        };
        let walk = &mut self.walks[at];
        match message::reply(message, number.unwrap_or_default(), walk.name(), walk.question.kind) {
            // It may not be the server's own: what the server says can still come.
            None => {
                walk.malformed = true;
                return false;
            }
            Some(reply) if reply.truncated => {
                walk.outcome.truncated = true;
                self.send(at, true);
            }
            Some(reply) => walk.take(reply, self.settings),
        }
        true
    }

    /// Goes on with what is under way over TCP.
    fn go_on(&mut self, at: usize) {
        let walk = &mut self.walks[at];
        let (Some(stream), Some((id, _))) = (&mut walk.stream, walk.waiting) else { return };
        match stream.go_on() {
            Ok(None) => {}
            Ok(Some(mut message)) => {
                let reply = message::reply(&mut message, id, walk.name(), walk.question.kind);
                if let Some(reply) = reply {
                    walk.take(reply, self.settings);
                } else {
                    walk.is_wrong(self.settings);
                }
            }
            Err(_) => walk.is_unreachable(self.settings),
        }
    }

    /// Gives up what was waited for long enough.
    fn give_up(&mut self) {
        let now = Instant::now();
        let is_over = now >= self.deadline;
        for walk in self.walks.iter_mut().filter(|walk| !walk.is_over) {
            if is_over {
                let verdict = if walk.malformed { Verdict::Malformed } else { Verdict::Timeout };
                walk.end(verdict, None);
            } else if walk.waiting.is_some_and(|(_, until)| now >= until) {
                walk.is_silent(self.settings);
            }
        }
    }
}

/// A socket that only this server can answer on.
fn open(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
