//! What the agent and a helper say to each other: versioned, length-prefixed, bounded frames.
//!
//! ```text
//! magic "pitH", version u8, kind u8, sequence u32, length u32      header, integers little-endian
//! request:  microseconds that are left u64, length of the input's name u8, name, body
//! ready:    inode of the network namespace u64
//! refused:  why u8, text in UTF-8
//! response: what `input::check::wire` makes of it
//! leaving:  nothing
//! ```
//!
//! The agent trusts nothing that comes from a helper: a frame that is not the expected one ends the helper.

use std::{str, time::Duration};

use crate::input::check::{
    HelperError,
    wire::{self, WireError},
};

const MAGIC: [u8; 4] = *b"pitH";
/// Version of the frames. Both sides are the same binary; another version says that something is wrong.
const VERSION: u8 = 1;
/// Bytes before the body.
pub(super) const HEADER: usize = 14;
/// The longest body of a request.
pub(super) const LONGEST_REQUEST: usize = 128 << 10;
/// The longest body of anything that a helper sends.
const LONGEST_ANSWER: usize = wire::HEADER + wire::LONGEST;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The agent asks for a check.
    Request = 1,
    /// The helper has entered its target, and given up everything else.
    Ready = 2,
    /// It could not, and ends.
    Refused = 3,
    /// The response to a request.
    Response = 4,
    /// The helper ends because nobody asked for a while, or because its target has ended.
    Leaving = 5,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Request, Self::Ready, Self::Refused, Self::Response, Self::Leaving];

    const fn longest(self) -> usize {
        match self {
            Self::Request => LONGEST_REQUEST + 300,
            Self::Ready => 8,
            Self::Refused => 1100,
            Self::Response => LONGEST_ANSWER,
            Self::Leaving => 0,
        }
    }
}

/// What comes before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Which request it is, or belongs to.
    pub(super) sequence: u32,
    /// Bytes of the body.
    pub(super) length: usize,
}

impl Header {
    /// Reads one; what it says about the body is possible.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, version, kind, s0, s1, s2, s3, l0, l1, l2, l3] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(WireError::Magic);
        }
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let known = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        let kind = known.ok_or(WireError::Malformed("kind"))?;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > kind.longest() {
            return Err(WireError::TooLong);
        }
        Ok(Self { kind, sequence: u32::from_le_bytes([s0, s1, s2, s3]), length })
    }
}

/// The bytes of a frame.
pub(super) fn frame(kind: Kind, sequence: u32, parts: &[&[u8]]) -> Result<Vec<u8>, WireError> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > kind.longest() {
        return Err(WireError::TooLong);
    }
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend(MAGIC);
    bytes.extend([VERSION, kind as u8]);
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(u32::try_from(length).map_err(|_| WireError::TooLong)?.to_le_bytes());
    bytes.extend(parts.iter().copied().flatten());
    Ok(bytes)
}

/// A request as the helper reads it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked<'b> {
    /// What is left of the time.
    pub(super) left: Duration,
    pub(super) input: &'b str,
    pub(super) body: &'b [u8],
}

impl<'b> Asked<'b> {
    /// The bytes of a frame that asks for it.
    pub(super) fn frame(&self, sequence: u32) -> Result<Vec<u8>, WireError> {
        if self.body.len() > LONGEST_REQUEST {
            return Err(WireError::TooLong);
        }
        let left = u64::try_from(self.left.as_micros()).unwrap_or(u64::MAX).to_le_bytes();
        let length = u8::try_from(self.input.len()).map_err(|_| WireError::TooLong)?;
        frame(Kind::Request, sequence, &[&left, &[length], self.input.as_bytes(), self.body])
    }

    /// Reads the body of such a frame.
    pub(super) fn parse(body: &'b [u8]) -> Result<Self, WireError> {
        let (left, rest) = body.split_first_chunk().ok_or(WireError::Truncated)?;
        let (length, rest) = rest.split_first().ok_or(WireError::Truncated)?;
        let (input, body) = rest.split_at_checked(usize::from(*length)).ok_or(WireError::Truncated)?;
        let input = str::from_utf8(input).map_err(|_| WireError::Malformed("input"))?;
        Ok(Self { left: Duration::from_micros(u64::from_le_bytes(*left)), input, body })
    }
}

/// Why a helper did not get where it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The target does not exist, or not any more.
    NoTarget(String),
    /// The agent or the target does not allow it.
    Unsupported(String),
    /// Something is not as it is expected, or does not work.
    Enter(String),
}

impl Refusal {
    /// The bytes of the frame that says it.
    pub(super) fn frame(&self) -> Result<Vec<u8>, WireError> {
        let (why, text) = match self {
            Self::NoTarget(text) => (1, text),
            Self::Unsupported(text) => (2, text),
            Self::Enter(text) => (3, text),
        };
        let text = text.as_bytes();
        frame(Kind::Refused, 0, &[&[why], text.get(..1000).unwrap_or(text)])
    }

    /// Reads the body of such a frame.
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (why, text) = body.split_first().ok_or(WireError::Truncated)?;
        let text = String::from_utf8_lossy(text).into_owned();
        match why {
            1 => Ok(Self::NoTarget(text)),
            2 => Ok(Self::Unsupported(text)),
            3 => Ok(Self::Enter(text)),
            _ => Err(WireError::Malformed("refusal")),
        }
    }
}

impl From<Refusal> for HelperError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoTarget(text) => Self::NoTarget(text),
            Refusal::Unsupported(text) => Self::Unsupported(text),
            Refusal::Enter(text) => Self::Enter(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Header, WireError> {
        Header::parse(bytes.first_chunk().unwrap())
    }

    #[test]
    fn a_request_travels() {
        let asked = Asked { left: Duration::from_millis(250), input: "dialcheck", body: b"{\"ports\":[80]}" };
        let bytes = asked.frame(7).unwrap();
        let header = parsed(&bytes).unwrap();
        assert_eq!((header.kind, header.sequence, header.length), (Kind::Request, 7, bytes.len() - HEADER));
        assert_eq!(Asked::parse(&bytes[HEADER..]).unwrap(), asked);
    }

    #[test]
    fn a_refusal_travels_and_is_cut() {
        for refusal in [Refusal::NoTarget, Refusal::Unsupported, Refusal::Enter] {
            let refusal = refusal("x".to_owned());
            let bytes = refusal.frame().unwrap();
            assert_eq!(parsed(&bytes).unwrap().kind, Kind::Refused);
            assert_eq!(Refusal::parse(&bytes[HEADER..]).unwrap(), refusal);
        }
        let long = Refusal::Enter("y".repeat(5000)).frame().unwrap();
        assert_eq!(long.len(), HEADER + 1001);
    }

    #[test]
    fn what_lies_is_refused() {
        let good = frame(Kind::Ready, 0, &[&8_u64.to_le_bytes()]).unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            parsed(&bytes).unwrap_err()
        };
        assert_eq!(with(0, b'x'), WireError::Magic);
        assert_eq!(with(4, 2), WireError::Version(2));
        assert_eq!(with(5, 9), WireError::Malformed("kind"));
        assert_eq!(with(10, 9), WireError::TooLong);
        assert_eq!(frame(Kind::Response, 0, &[&vec![0; LONGEST_ANSWER + 1]]), Err(WireError::TooLong));
        let long = Asked { left: Duration::ZERO, input: "x", body: &vec![0; LONGEST_REQUEST + 1] };
        assert_eq!(long.frame(0), Err(WireError::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 14..80)) {
            let _ = parsed(&bytes);
            let _ = Asked::parse(&bytes);
            let _ = Refusal::parse(&bytes);
        }
    }
}
