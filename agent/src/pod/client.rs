//! The agent's end of its connection to a helper, which may say whatever it likes.

use std::{
    io,
    os::unix::net::UnixStream as Connection,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::frames::{Asked, HEADER, Header, Kind, Refusal, frame};
use crate::input::check::{HelperError, Request, wire::WireError};

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
        let mut stream = stream(connection)?;
        let Read { header, body, is_last } = read(&mut stream).await?;
        match header.kind {
            Kind::Ready if is_last => Err(Trouble::Left),
            Kind::Ready => {
                let inode = body.first_chunk().ok_or(WireError::Truncated)?;
                let connection = stream.into_std().map_err(|error| failed(&error))?;
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
        let mut stream = stream(self.connection)?;
        if stream.write_all(&bytes).await.is_err() {
            return Err(Trouble::Left);
        }
        let Read { header, body, is_last } = read(&mut stream).await?;
        match header.kind {
            Kind::Leaving => Err(Trouble::Left),
            Kind::Response if header.sequence == sequence => {
                let connection = stream.into_std().map_err(|error| failed(&error))?;
                let stays = Self { id: self.id, connection, sequence };
                Ok((body, (!is_last).then_some(stays)))
            }
            Kind::Response => Err(WireError::Malformed("sequence").into()),
            _ => Err(WireError::Malformed("kind").into()),
        }
    }
}

fn stream(connection: Connection) -> Result<UnixStream, Trouble> {
    UnixStream::from_std(connection).map_err(|error| failed(&error).into())
}

fn failed(error: &io::Error) -> HelperError {
    HelperError::Failed(error.to_string())
}

/// A frame.
struct Read {
    header: Header,
    body: Vec<u8>,
    /// The helper has said that it leaves, too.
    is_last: bool,
}

/// Reads one frame. All that may come with it is that the helper leaves: its target may end at any time.
async fn read(stream: &mut UnixStream) -> Result<Read, Trouble> {
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
                return Ok(Read { header, body: bytes.split_off(HEADER), is_last });
            }
        }
        // Reads no more than the room that there is, which the lines above bound.
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) if bytes.is_empty() => return Err(Trouble::Ended),
            Ok(0) | Err(_) => return Err(WireError::Truncated.into()),
            Ok(_) => {}
        }
    }
}
