//! One question under way: from name to name of its list, and for each from server to server.

use std::time::{Duration, Instant};

use super::{
    Settings,
    message::Reply,
    stream::Stream,
    verdict::{Outcome, Question, Verdict},
};

const REFUSED: u8 = 5;
const NO_SUCH_NAME: u8 = 3;
const SERVER_FAILURE: u8 = 2;

/// A question under way.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) question: &'a Question,
    began: Instant,
    /// Which name, which server, and how often all servers were asked for it.
    pub(super) step: usize,
    pub(super) server: usize,
    round: u32,
    /// A message is under way. Its number and until when it is waited for.
    pub(super) waiting: Option<(u16, Instant)>,
    /// It is under way over TCP.
    pub(super) stream: Option<Stream>,
    /// What was answered for this name by servers that cannot say.
    failure: Option<u8>,
    /// Servers that did not answer for this name in this round.
    silent: usize,
    unreachable: usize,
    pub(super) malformed: bool,
    pub(super) is_over: bool,
    pub(super) outcome: Outcome,
}

impl<'a> Walk<'a> {
    pub(super) fn new(question: &'a Question, began: Instant) -> Self {
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

    pub(super) fn end(&mut self, verdict: Verdict, code: Option<u8>) {
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

    /// This server cannot be reached.
    pub(super) fn is_unreachable(&mut self, settings: &Settings) {
        self.unreachable += 1;
        self.next_server(settings);
    }

    /// This server has been waited for long enough.
    pub(super) fn is_silent(&mut self, settings: &Settings) {
        self.silent += 1;
        self.next_server(settings);
    }

    /// This server sends what is no answer.
    pub(super) fn is_wrong(&mut self, settings: &Settings) {
        self.malformed = true;
        self.is_silent(settings);
    }

    /// Whether something is under way to a server, other than over TCP.
    pub(super) fn waits_for(&self, server: usize) -> bool {
        self.waiting.is_some() && self.stream.is_none() && self.server == server
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

    pub(super) fn take(&mut self, reply: Reply, settings: &Settings) {
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

    pub(super) fn name(&self) -> &'a str {
        self.question.names.get(self.step).map_or("", String::as_str)
    }
}
