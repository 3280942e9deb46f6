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
use simple_dns::TYPE;

use super::{
    Settings,
    message::{self, Reply},
    stream::Stream,
};

/// Messages that are read in one go before the clock is looked at.
const BURST: usize = 64;
/// More than fits into any answer over UDP that was not asked to be longer.
const LONGEST: usize = 4096;

const REFUSED: u8 = 5;
const NO_SUCH_NAME: u8 = 3;
const SERVER_FAILURE: u8 = 2;

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

/// Asks all questions at once. When they are `together`, an answer to one ends the others as soon as they are past
/// its name.
pub(crate) fn ask(
    settings: &Settings,
    questions: &[Question],
    deadline: Instant,
    together: bool,
) -> Vec<Outcome> {
    let lines = settings.servers.iter().map(|_| None).collect();
    let began = Instant::now();
    let walks = questions.iter().map(|question| Walk::new(question, began)).collect();
    let mut asking = Asking { settings, lines, walks, deadline, together };
    asking.run();
    asking.walks.into_iter().map(|walk| walk.outcome).collect()
}

/// A question under way.
#[derive(Debug)]
struct Walk<'a> {
    question: &'a Question,
    began: Instant,
    /// Which name, which server, and how often all servers were asked for it.
    step: usize,
    server: usize,
    round: u32,
    /// A message is under way. Its number and until when it is waited for.
    waiting: Option<(u16, Instant)>,
    /// It is under way over TCP.
    stream: Option<Stream>,
    /// What was answered for this name by servers that cannot say.
    failure: Option<u8>,
    /// Servers that did not answer for this name in this round.
    silent: usize,
    unreachable: usize,
    malformed: bool,
    is_over: bool,
    outcome: Outcome,
}

impl<'a> Walk<'a> {
    fn new(question: &'a Question, began: Instant) -> Self {
        let outcome = Outcome {
            verdict: Verdict::NoName,
            code: None,
            records: 0,
            addresses: Vec::new(),
            steps: 0,
            truncated: false,
            took: Duration::ZERO,
        };
        Self {
            question,
            began,
            step: 0,
            server: 0,
            round: 0,
            waiting: None,
            stream: None,
            failure: None,
            silent: 0,
            unreachable: 0,
            malformed: false,
            is_over: false,
            outcome,
        }
    }

    fn end(&mut self, verdict: Verdict, code: Option<u8>) {
        self.outcome.verdict = verdict;
        self.outcome.code = code;
        self.outcome.steps = self.step + 1;
        self.outcome.took = self.began.elapsed();
        self.is_over = true;
        self.waiting = None;
        self.stream = None;
    }

    /// This name has nothing: on to the next one.
    fn step_on(&mut self, verdict: Verdict, code: u8) {
        if self.outcome.code.is_none() || verdict > self.outcome.verdict {
            (self.outcome.verdict, self.outcome.code) = (verdict, Some(code));
        }
        if self.step + 1 >= self.question.names.len() {
            self.end(self.outcome.verdict, self.outcome.code);
            return;
        }
        self.step += 1;
        (self.server, self.round) = (0, 0);
        self.begin_round();
        self.failure = None;
        self.malformed = false;
    }

    fn begin_round(&mut self) {
        self.waiting = None;
        self.stream = None;
        self.silent = 0;
        self.unreachable = 0;
    }

    /// This server has not answered, or cannot: on to the next one.
    fn next_server(&mut self, settings: &Settings) {
        self.waiting = None;
        self.stream = None;
        self.server += 1;
        if self.server < settings.servers.len() {
            return;
        }
        self.server = 0;
        self.round += 1;
        let all_said_no = self.silent + self.unreachable == 0;
        let none_is_there = self.unreachable == settings.servers.len();
        if self.round < settings.rounds && !all_said_no {
            self.begin_round();
            return;
        }
        match self.failure {
            // Another name may be another server's to answer.
            Some(SERVER_FAILURE) => self.step_on(Verdict::ServerFailure, SERVER_FAILURE),
            Some(REFUSED) => self.end(Verdict::Refused, Some(REFUSED)),
            Some(code) => self.end(Verdict::OtherCode, Some(code)),
            None if self.malformed => self.end(Verdict::Malformed, None),
            None if none_is_there => self.end(Verdict::Unreachable, None),
            None => self.end(Verdict::Timeout, None),
        }
    }

    fn take(&mut self, reply: Reply, settings: &Settings) {
        match reply.code {
            0 if reply.records > 0 => {
                self.outcome.records = reply.records;
                self.outcome.addresses = reply.addresses;
                self.end(Verdict::Answered, Some(0));
            }
            0 => self.step_on(Verdict::NoData, 0),
            NO_SUCH_NAME => self.step_on(Verdict::NoName, NO_SUCH_NAME),
            code => {
                self.failure = Some(code);
                self.next_server(settings);
            }
        }
    }

    fn name(&self) -> &'a str {
        self.question.names.get(self.step).map_or("", String::as_str)
    }
}

#[derive(Debug)]
struct Asking<'a> {
    settings: &'a Settings,
    /// The sockets, by server.
    lines: Vec<Option<UdpSocket>>,
    walks: Vec<Walk<'a>>,
    deadline: Instant,
    together: bool,
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
        let sent = if over_tcp {
            Stream::new(server, &query).map(|stream| walk.stream = Some(stream))
        } else {
            match self.lines.get_mut(walk.server) {
                Some(Some(line)) => line.send(&query).map(drop),
                Some(empty) => open(server).and_then(|line| empty.insert(line).send(&query).map(drop)),
                None => Err(io::ErrorKind::NotFound.into()),
            }
        };
        match sent {
            Ok(()) => walk.waiting = Some((id, deadline.min(Instant::now() + settings.patience))),
            Err(_) => {
                let server = walk.server;
                walk.unreachable += 1;
                walk.next_server(settings);
                // What the kernel tells of the server may be about an earlier message.
                if !over_tcp {
                    self.nobody_listens(server);
                }
            }
        }
    }

    /// What is under way to a server is not waited for.
    fn nobody_listens(&mut self, server: usize) {
        for walk in self.walks.iter_mut().filter(|walk| waits_for(walk, server)) {
            walk.unreachable += 1;
            walk.next_server(self.settings);
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
        let lines = self.lines.iter().flatten().map(|line| PollFd::new(line.as_fd(), PollFlags::POLLIN));
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
            let Some(Some(line)) = self.lines.get(server) else { return };
            match line.recv(&mut buffer) {
                Ok(length) => self.take(server, &mut buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The kernel tells that nobody listens there.
                Err(_) => return self.nobody_listens(server),
            }
        }
    }

    /// A message of a server.
    fn take(&mut self, server: usize, message: &mut [u8]) {
        let number = message::id(message);
        let Some(at) = self.walks.iter().position(|walk| {
            waits_for(walk, server) && walk.waiting.is_some_and(|(id, _)| Some(id) == number)
        }) else {
            return;
        };
        let walk = &mut self.walks[at];
        match message::reply(message, number.unwrap_or_default(), walk.name(), walk.question.kind) {
            // It may not be the server's own: what the server says can still come.
            None => walk.malformed = true,
            Some(reply) if reply.truncated => {
                walk.outcome.truncated = true;
                self.send(at, true);
            }
            Some(reply) => walk.take(reply, self.settings),
        }
    }

    /// Goes on with what is under way over TCP.
    fn go_on(&mut self, at: usize) {
        let walk = &mut self.walks[at];
        let (Some(stream), Some((id, _))) = (&mut walk.stream, walk.waiting) else { return };
        match stream.go_on() {
            Ok(None) => {}
            Ok(Some(mut message)) => {
                match message::reply(&mut message, id, walk.name(), walk.question.kind) {
                    Some(reply) => walk.take(reply, self.settings),
                    None => {
                        walk.malformed = true;
                        walk.silent += 1;
                        walk.next_server(self.settings);
                    }
                }
            }
            Err(_) => {
                walk.unreachable += 1;
                walk.next_server(self.settings);
            }
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
                walk.silent += 1;
                walk.next_server(self.settings);
            }
        }
    }
}

fn waits_for(walk: &Walk<'_>, server: usize) -> bool {
    walk.waiting.is_some() && walk.stream.is_none() && walk.server == server
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
