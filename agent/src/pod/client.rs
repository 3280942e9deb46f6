//! The agent's end of its connection to a helper, which may say whatever it likes.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream as Connection,
    time::{Duration, Instant},
};

use tokio::io::Interest;

use super::frames::{Asked, HEADER, Header, Kind, Refusal, frame};
use crate::{
    input::check::{HelperError, Request, wire::WireError},
    sys,
};

/// What is read at once, at least.
const CHUNK: usize = 4 << 10;

/// A helper that has arrived and is asked by nobody else.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u32,
    /// In no runtime while it is idle: whoever asks next may be in another one.
    connection: Connection,
    sequence: u32,
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The helper had left before the request came.
    Left,
    /// The connection ended.
    Ended,
    /// Anything else.
    Error(HelperError),
}

impl<E: Into<HelperError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Client {
    /// Waits until a helper has arrived. Returns the inode of the network namespace that it is in, too.
    pub(super) async fn arrived(id: u32, connection: Connection) -> Result<(Self, u64), Trouble> {
        let Read { connection, header, body, is_last } = read(connection).await?;
        match header.kind {
            Kind::Ready if is_last => Err(Trouble::Left),
            Kind::Ready => {
                let inode = body.first_chunk().ok_or(WireError::Truncated)?;
                Ok((Self { id, connection, sequence: 0 }, u64::from_le_bytes(*inode)))
            }
            Kind::Refused => Err(HelperError::from(Refusal::parse(&body)?).into()),
            _ => Err(WireError::Malformed("kind").into()),
        }
    }

    /// Asks for a check. The helper comes back if it stays.
    pub(super) async fn ask(
        self,
        request: &Request,
        until: Instant,
    ) -> Result<(Vec<u8>, Option<Self>), Trouble> {
        let sequence = self.sequence.wrapping_add(1);
        let left: Duration = until.saturating_duration_since(Instant::now());
        let bytes = Asked { left, input: &request.input, body: &request.body }.frame(sequence)?;
        let connection = write(self.connection, &bytes).await?;
        let Read { connection, header, body, is_last } = read(connection).await?;
        match header.kind {
            Kind::Leaving => Err(Trouble::Left),
            Kind::Response if header.sequence == sequence => {
                let stays = Self { id: self.id, connection, sequence };
                Ok((body, (!is_last).then_some(stays)))
            }
            Kind::Response => Err(WireError::Malformed("sequence").into()),
            _ => Err(WireError::Malformed("kind").into()),
        }
    }
}

fn failed(error: &io::Error) -> HelperError {
    HelperError::Failed(error.to_string())
}

/// Writes a request. There is room for it, as a rule, and then nothing is waited for.
async fn write(mut connection: Connection, mut bytes: &[u8]) -> Result<Connection, Trouble> {
    while !bytes.is_empty() {
        match connection.write(bytes) {
            Ok(0) => return Err(Trouble::Left),
            Ok(wrote) => bytes = bytes.get(wrote..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let full = sys::awaitable(connection.into(), Interest::WRITABLE);
                let full = full.map_err(|error| failed(&error))?;
                drop(full.writable().await.map_err(|error| failed(&error))?);
                connection = full.into_inner().into();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Trouble::Left),
        }
    }
    Ok(connection)
}

/// A frame.
struct Read {
    connection: Connection,
    header: Header,
    body: Vec<u8>,
    /// The helper has said that it leaves, too.
    is_last: bool,
}

/// Reads one frame. All that may come with it is that the helper leaves: its target may end at any time.
async fn read(connection: Connection) -> Result<Read, Trouble> {
    // That there is room to write is no reason to wake.
    let connection = sys::awaitable(connection.into(), Interest::READABLE).map_err(|error| failed(&error))?;
    let mut bytes = Vec::with_capacity(CHUNK);
    let mut known: Option<Header> = None;
    loop {
        if let (None, Some(header)) = (known, bytes.first_chunk()) {
            let header = Header::parse(header)?;
            bytes.reserve(header.length);
            known = Some(header);
        }
        if let Some(header) = known {
            let whole = HEADER + header.length;
            if let Some(rest) = bytes.get(whole..) {
                if !frame(Kind::Leaving, 0, &[])?.starts_with(rest) {
                    return Err(WireError::TooLong.into());
                }
                let is_last = !rest.is_empty();
                bytes.truncate(whole);
                let (connection, body) = (connection.into_inner().into(), bytes.split_off(HEADER));
                return Ok(Read { connection, header, body, is_last });
            }
        }
        // Reads no more than the room that there is, which the lines above bound.
        let had = bytes.len();
        bytes.resize(bytes.capacity(), 0);
        let room = bytes.get_mut(had..).unwrap_or_default();
        let got =
            connection.async_io(Interest::READABLE, |from| Ok(rustix::io::read(from, &mut *room)?)).await;
        bytes.truncate(had + got.as_ref().map_or(0, |got| *got));
        match got {
            Ok(0) | Err(_) if bytes.is_empty() => return Err(Trouble::Ended),
            Ok(0) | Err(_) => return Err(WireError::Truncated.into()),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, thread};

    use super::*;

    fn run<F: Future>(what: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
    }

    #[test]
    fn what_is_longer_than_the_room_there_is_arrives_whole() {
        let (ours, mut theirs) = Connection::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let bytes: Vec<u8> = (0..4 << 20).map(|number: u32| number.to_le_bytes()[1]).collect();
        let expected = bytes.clone();
        let reader = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        drop(run(write(ours, &bytes)).map_err(|_| "it has left").unwrap());
        assert!(reader.join().unwrap() == expected);
    }

    #[test]
    fn nobody_takes_what_is_asked_of_one_who_has_left() {
        let (ours, theirs) = Connection::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        drop(theirs);
        assert!(matches!(run(write(ours, b"question")), Err(Trouble::Left)));
    }
}
