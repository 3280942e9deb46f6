//! The response of a helper: versioned, length-prefixed, bounded, with an explicit status.
//!
//! ```text
//! magic "pitR", version u8, status u8, length u32     header, integers little-endian
//! ok:     count u16, then per sample: metric u16, labels u8, value f64 bits, and each label as length u16, bytes
//! error:  the reason in UTF-8
//! ```
//!
//! A sample names its metric by its place in the input's definition, which both sides have: a response can
//! carry nothing that the definition does not know. Whoever reads it trusts no length in it.

use crate::{
    accumulator::Accumulator,
    catalogue::{Kind, Metric},
    input::InputDef,
};

const MAGIC: [u8; 4] = *b"pitR";
/// Version of this format.
pub const VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER: usize = 10;
/// The longest body that is accepted.
pub const LONGEST: usize = 256 << 10;

const OK: u8 = 0;
const ERROR: u8 = 1;

/// Why bytes are not a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Nothing came.
    #[error("the response is empty")]
    Empty,
    /// It ends before it should.
    #[error("the response is cut off")]
    Truncated,
    /// It is longer than what it says, or than is accepted.
    #[error("the response is too long")]
    TooLong,
    /// It is of another format.
    #[error("not a response")]
    Magic,
    /// It is of another version of the format.
    #[error("the response has version {0} instead of {VERSION}")]
    Version(u8),
    /// A field has a value that it cannot have.
    #[error("the response is malformed: {0}")]
    Malformed(&'static str),
    /// The input says that it failed.
    #[error("{0}")]
    Failed(String),
}

/// A response in the making.
#[derive(Debug, Default)]
pub struct Response {
    samples: u16,
    body: Vec<u8>,
}

impl Response {
    /// Without samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample of a metric of the definition; one that does not fit the format is refused.
    pub fn put(
        &mut self,
        def: &InputDef,
        metric: &'static Metric,
        labels: &[&[u8]],
        value: f64,
    ) -> Result<(), WireError> {
        let index = def.metrics.iter().position(|known| std::ptr::eq(*known, metric));
        let index = index.and_then(|i| u16::try_from(i).ok()).ok_or(WireError::Malformed("metric"))?;
        let count = u8::try_from(labels.len()).map_err(|_| WireError::TooLong)?;
        self.samples = self.samples.checked_add(1).ok_or(WireError::TooLong)?;
        self.body.extend(index.to_le_bytes());
        self.body.push(count);
        self.body.extend(value.to_bits().to_le_bytes());
        for label in labels {
            self.body.extend(u16::try_from(label.len()).map_err(|_| WireError::TooLong)?.to_le_bytes());
            self.body.extend_from_slice(label);
        }
        Ok(())
    }

    /// The bytes of a success.
    pub fn into_bytes(self) -> Result<Vec<u8>, WireError> {
        let mut body = self.samples.to_le_bytes().to_vec();
        body.extend(self.body);
        frame(OK, &body)
    }

    /// The bytes of a failure.
    pub fn failure(reason: &str) -> Vec<u8> {
        let reason = reason.as_bytes();
        frame(ERROR, reason.get(..1000).unwrap_or(reason)).unwrap_or_default()
    }
}

fn frame(status: u8, body: &[u8]) -> Result<Vec<u8>, WireError> {
    let length = u32::try_from(body.len()).map_err(|_| WireError::TooLong)?;
    if body.len() > LONGEST {
        return Err(WireError::TooLong);
    }
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(MAGIC);
    bytes.extend([VERSION, status]);
    bytes.extend(length.to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Delivers the samples of a response. Nothing is delivered of one that is not whole.
pub fn deliver(def: &InputDef, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), WireError> {
    let body = open(response)?;
    // Once to see that it is whole, once to deliver.
    walk(def, body, |_, _, _| {})?;
    walk(def, body, |metric, labels, value| acc.put(metric, labels, value))
}

/// Whether a response is whole, without delivering anything of it.
pub fn verify(def: &InputDef, response: &[u8]) -> Result<(), WireError> {
    walk(def, open(response)?, |_, _, _| {})
}

/// The body of a success.
fn open(response: &[u8]) -> Result<&[u8], WireError> {
    if response.is_empty() {
        return Err(WireError::Empty);
    }
    let (header, body) = response.split_first_chunk::<HEADER>().ok_or(WireError::Truncated)?;
    let [m0, m1, m2, m3, version, status, l0, l1, l2, l3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(WireError::Magic);
    }
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > LONGEST || body.len() > length {
        return Err(WireError::TooLong);
    }
    if body.len() < length {
        return Err(WireError::Truncated);
    }
    match status {
        OK => Ok(body),
        ERROR => Err(WireError::Failed(String::from_utf8_lossy(body).into_owned())),
        _ => Err(WireError::Malformed("status")),
    }
}

fn walk(
    def: &InputDef,
    body: &[u8],
    mut visit: impl FnMut(&'static Metric, &[&[u8]], f64),
) -> Result<(), WireError> {
    let mut rest = body;
    let samples = u16::from_le_bytes(take(&mut rest)?);
    for _ in 0..samples {
        let index = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let [count] = take::<1>(&mut rest)?;
        let value = f64::from_bits(u64::from_le_bytes(take(&mut rest)?));
        let metric = *def.metrics.get(index).ok_or(WireError::Malformed("metric"))?;
        if usize::from(count) != metric.labels.len() || matches!(metric.kind, Kind::Histogram(_)) {
            return Err(WireError::Malformed("labels"));
        }
        // A counter that is not a number would poison every rate; a gauge may say that it has no value.
        if !value.is_finite() && metric.kind == Kind::Counter {
            return Err(WireError::Malformed("value"));
        }
        let mut labels = Vec::with_capacity(count.into());
        for _ in 0..count {
            let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
            let (label, after) = rest.split_at_checked(length).ok_or(WireError::Truncated)?;
            labels.push(label);
            rest = after;
        }
        visit(metric, &labels, value);
    }
    if rest.is_empty() { Ok(()) } else { Err(WireError::TooLong) }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (bytes, after) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        accumulator::MemoryAccumulator,
        catalogue::{Label, Source},
        input::Unsupported,
    };

    static UP: Metric = Metric::gauge("up", "Up.", &[Label::bounded("port", 9)]);
    static TRIES: Metric = Metric::counter("tries_total", "Tries.", &[]);
    static DEF: InputDef = InputDef {
        name: "check",
        about: "A check.",
        prefix: "check_",
        source: Source::Own,
        cost: "nothing",
        metrics: &[&UP, &TRIES],
        options: &[],
        open: |_| Err(Unsupported("only for tests".to_owned())),
    };

    fn response(value: f64) -> Vec<u8> {
        let mut response = Response::new();
        response.put(&DEF, &UP, &[b"80"], value).unwrap();
        response.put(&DEF, &TRIES, &[], 3.0).unwrap();
        response.into_bytes().unwrap()
    }

    fn deliver_to_memory(bytes: &[u8]) -> Result<MemoryAccumulator, WireError> {
        let mut memory = MemoryAccumulator::new();
        let result = deliver(&DEF, bytes, &mut memory);
        assert!(result.is_ok() || memory.samples().is_empty(), "nothing of a broken response is delivered");
        result.map(|()| memory)
    }

    #[test]
    fn samples_travel() {
        let memory = deliver_to_memory(&response(1.0)).unwrap();
        assert_eq!((memory.number("up", &["80"]), memory.number("tries_total", &[])), (Some(1.0), Some(3.0)));
    }

    #[test]
    fn every_way_to_be_wrong_has_its_name() {
        let good = response(1.0);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            deliver_to_memory(&bytes).unwrap_err()
        };
        assert_eq!(deliver_to_memory(b"").unwrap_err(), WireError::Empty);
        assert_eq!(deliver_to_memory(&good[..good.len() - 1]).unwrap_err(), WireError::Truncated);
        assert_eq!(deliver_to_memory(&[&good[..], b"x"].concat()).unwrap_err(), WireError::TooLong);
        assert_eq!(with(0, b'x'), WireError::Magic);
        assert_eq!(with(4, 9), WireError::Version(9));
        assert_eq!(with(5, 7), WireError::Malformed("status"));
        assert_eq!(with(9, 0xff), WireError::TooLong);
        assert_eq!(with(12, 9), WireError::Malformed("metric"));
        let failed = deliver_to_memory(&Response::failure("connection refused")).unwrap_err();
        assert_eq!(failed, WireError::Failed("connection refused".to_owned()));
    }

    #[test]
    fn a_gauge_may_be_nan_and_a_counter_may_not() {
        assert!(deliver_to_memory(&response(f64::NAN)).unwrap().number("up", &["80"]).unwrap().is_nan());
        let mut poisoned = Response::new();
        poisoned.put(&DEF, &TRIES, &[], f64::NAN).unwrap();
        let error = deliver_to_memory(&poisoned.into_bytes().unwrap()).unwrap_err();
        assert_eq!(error, WireError::Malformed("value"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_response_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), lie: u8) {
            let _ = deliver_to_memory(&bytes);
            // With a header that lets the body through.
            let mut framed = frame(OK, &bytes).unwrap();
            let _ = deliver_to_memory(&framed);
            framed[6] = lie;
            let _ = deliver_to_memory(&framed);
            bytes.clear();
        }
    }
}
