//! The protobuf format: length-delimited `io.prometheus.client.MetricFamily` messages.
//!
//! A histogram carries its native buckets, exactly as the kernel counted them, and the classic ones for
//! scrapers that ask for those.

use std::time::SystemTime;

use bytes::BytesMut;
use prost::encoding::{self, WireType, encode_key, encode_varint};

use super::{
    layout::{Group, Layout},
    number::Classic,
};
use crate::{
    accumulator::{Frame, Histogram, Value},
    catalogue::Kind,
};

/// Width of the zero bucket, 2^-128: what client libraries use by default. Observations of zero are in it.
const ZERO_THRESHOLD: f64 = f64::from_bits((1023 - 128) << 52);
/// Empty buckets that cost less as zero deltas than as the start of another span.
const GAP: usize = 2;

/// Field numbers of the messages.
mod field {
    /// `Metric`, one per type of value.
    pub(super) const GAUGE: u32 = 2;
    pub(super) const COUNTER: u32 = 3;
    pub(super) const UNTYPED: u32 = 5;
    pub(super) const HISTOGRAM: u32 = 7;
    /// `Timestamp` when counting began, in `Counter` and in `Histogram`.
    pub(super) const COUNTER_START: u32 = 3;
    pub(super) const HISTOGRAM_START: u32 = 15;
    /// `MetricFamily`
    pub(super) const METRIC: u32 = 4;
}

/// Encodes with kept buffers: a message is preceded by its length, so it is put together aside.
#[derive(Debug, Default)]
pub struct Protobuf {
    family: BytesMut,
    histogram: BytesMut,
    native: Native,
    /// The longest message so far, of both kinds.
    longest: usize,
}

impl Protobuf {
    /// Appends the live series of the frames. The layout must have been made for them
    /// ([`Layout::refresh`]). Values are in base units; a family without any value is left out.
    pub fn encode(&mut self, layout: &Layout, frames: &[&Frame], out: &mut BytesMut) {
        let before = self.longest;
        for group in layout.groups() {
            self.family.clear();
            for member in &group.members {
                let Some((frame, value)) = member.live(frames) else { continue };
                let start = member.beginning(frames).and_then(Timestamp::of);
                self.metric(group, member.series(frame).rendered().proto_labels(), value, start);
            }
            if !self.family.is_empty() {
                encode_varint((group.protobuf.len() + self.family.len()) as u64, out);
                out.extend_from_slice(&group.protobuf);
                out.extend_from_slice(&self.family);
            }
            // A histogram is part of its family's message, and shorter.
            self.longest = self.longest.max(self.family.len());
        }
        if self.longest > before {
            // Room for values that get a digit longer and buckets that fill, so that the next pages need none.
            for buffer in [&mut self.family, &mut self.histogram] {
                buffer.clear();
                if buffer.capacity() < self.longest + self.longest / 4 {
                    buffer.reserve(self.longest * 2);
                }
            }
        }
    }

    fn metric(&mut self, group: &Group, labels: &[u8], value: Value<'_>, start: Option<Timestamp>) {
        let out = &mut self.family;
        match value {
            Value::Number(value) => {
                let field = match group.kind {
                    Kind::Counter => field::COUNTER,
                    Kind::Gauge | Kind::Info => field::GAUGE,
                    Kind::Untyped | Kind::Histogram(_) => field::UNTYPED,
                };
                // All of these messages have a double in field 1. Only a counter's can say since when.
                let start = start.filter(|_| field == field::COUNTER);
                let started = start.map_or(0, |start| message_len(field::COUNTER_START, start.len()));
                let inner = encoding::double::encoded_len(1, &value) + started;
                begin(field::METRIC, labels.len() + message_len(field, inner), out);
                out.extend_from_slice(labels);
                begin(field, inner, out);
                encoding::double::encode(1, &value, out);
                if let Some(start) = start {
                    start.encode(field::COUNTER_START, out);
                }
            }
            Value::Histogram(value) => {
                self.histogram.clear();
                histogram(value, &mut self.native, &mut self.histogram);
                if let Some(start) = start {
                    start.encode(field::HISTOGRAM_START, &mut self.histogram);
                }
                let inner = self.histogram.len();
                begin(field::METRIC, labels.len() + message_len(field::HISTOGRAM, inner), out);
                out.extend_from_slice(labels);
                begin(field::HISTOGRAM, inner, out);
                out.extend_from_slice(&self.histogram);
            }
        }
    }
}

/// A `google.protobuf.Timestamp`.
#[derive(Clone, Copy)]
struct Timestamp {
    seconds: i64,
    nanos: i32,
}

impl Timestamp {
    /// None before 1970, when no clock was set.
    fn of(time: SystemTime) -> Option<Self> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let (seconds, nanos) = (since.as_secs().try_into().ok()?, since.subsec_nanos().try_into().ok()?);
        Some(Self { seconds, nanos })
    }

    fn len(&self) -> usize {
        encoding::int64::encoded_len(1, &self.seconds) + encoding::int32::encoded_len(2, &self.nanos)
    }

    fn encode(&self, field: u32, out: &mut BytesMut) {
        begin(field, self.len(), out);
        encoding::int64::encode(1, &self.seconds, out);
        encoding::int32::encode(2, &self.nanos, out);
    }
}

/// Key and length of a message.
fn begin(field: u32, len: usize, out: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

/// Bytes of a message with its key and length.
fn message_len(field: u32, len: usize) -> usize {
    encoding::key_len(field) + encoding::encoded_len_varint(len as u64) + len
}

/// A `Histogram` message.
fn histogram(value: &Histogram, native: &mut Native, out: &mut BytesMut) {
    encoding::double::encode(2, &value.sum(), out);
    let mut classic = Classic::new(value);
    for power in value.buckets.first..=value.buckets.last {
        let Some(cumulative) = classic.next() else { break };
        let bound = 2f64.powi(power);
        begin(
            3,
            encoding::uint64::encoded_len(1, &cumulative) + encoding::double::encoded_len(2, &bound),
            out,
        );
        encoding::uint64::encode(1, &cumulative, out);
        encoding::double::encode(2, &bound, out);
    }
    encoding::uint64::encode(1, &classic.total(), out);
    encoding::sint32::encode(5, &value.buckets.scale.schema(), out);
    encoding::double::encode(6, &ZERO_THRESHOLD, out);
    encoding::uint64::encode(7, &value.zero, out);
    native.fill(value);
    for (offset, length) in &native.spans {
        begin(12, encoding::sint32::encoded_len(1, offset) + encoding::uint32::encoded_len(2, length), out);
        encoding::sint32::encode(1, offset, out);
        encoding::uint32::encode(2, length, out);
    }
    encoding::sint64::encode_packed(13, &native.deltas, out);
}

/// The native buckets as Prometheus wants them: runs of neighbours, each count as a step from the last.
#[derive(Debug, Default)]
struct Native {
    /// Distance from the end of the run before (the first: bucket index), and length.
    spans: Vec<(i32, u32)>,
    deltas: Vec<i64>,
}

impl Native {
    fn fill(&mut self, histogram: &Histogram) {
        self.spans.clear();
        self.deltas.clear();
        // Room for the worst case at once: every bucket filled, or every span as short as can be.
        self.deltas.reserve(histogram.counts.len());
        self.spans.reserve(histogram.counts.len() / (GAP + 2) + 1);
        let mut last = 0;
        // The slot after the last one that is in a span.
        let mut end = 0;
        for (slot, &count) in histogram.counts.iter().enumerate() {
            if count == 0 {
                continue;
            }
            let gap = slot - end;
            match self.spans.last_mut() {
                Some((_, length)) if gap <= GAP => {
                    for _ in 0..gap {
                        self.deltas.push(0u64.wrapping_sub(last).cast_signed());
                        last = 0;
                    }
                    *length += u32::try_from(gap).unwrap_or(0) + 1;
                }
                before => {
                    let shift = if before.is_none() { histogram.buckets.scale.offset() } else { 0 };
                    self.spans.push((i32::try_from(gap).unwrap_or(i32::MAX) + shift, 1));
                }
            }
            self.deltas.push(count.wrapping_sub(last).cast_signed());
            last = count;
            end = slot + 1;
        }
    }
}

#[cfg(test)]
mod tests;
