//! One question over TCP, without waiting.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

/// A connection that sends a question and reads an answer.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    /// The question with its length, and how much of it is sent.
    question: Vec<u8>,
    sent: usize,
    /// The answer with its length, as far as it has come.
    answer: Vec<u8>,
}

impl Stream {
    /// Begins to connect.
    pub(super) fn new(server: SocketAddr, query: &[u8]) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        let question = [&length.to_be_bytes()[..], query].concat();
        Ok(Self { socket: socket.into(), question, sent: 0, answer: Vec::new() })
    }

    /// What it waits for.
    pub(super) fn interest(&self) -> PollFlags {
        if self.sent < self.question.len() { PollFlags::POLLOUT } else { PollFlags::POLLIN }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Goes on as far as it can now. The answer, once it is there.
    pub(super) fn go_on(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.exchange() {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn exchange(&mut self) -> io::Result<Vec<u8>> {
        while let Some(rest) = self.question.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += self.socket.write(rest)?;
        }
        loop {
            let missing = match self.answer.first_chunk().copied() {
                None => 2 - self.answer.len(),
                Some(length) => 2 + usize::from(u16::from_be_bytes(length)) - self.answer.len(),
            };
            if missing == 0 && self.answer.len() >= 2 {
                return Ok(self.answer.split_off(2));
            }
            let mut piece = [0; 2048];
            let room = missing.min(piece.len());
            match self.socket.read(&mut piece[..room])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                some => self.answer.extend_from_slice(&piece[..some]),
            }
        }
    }
}
