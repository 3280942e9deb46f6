//! Outputs: frames become one page of bytes for all scrapers.
//!
//! [`Layout`] decides once which series are written and in which order; the encoders ([`text`],
//! [`openmetrics`], [`protobuf`]) only copy what was rendered at birth and add values; [`http`] is the door. A
//! [`sink`] writes the pages of single pipelines to the console or a file.

mod console;
mod file;
#[cfg(test)]
mod fixture;
pub mod gzip;
pub mod http;
mod layout;
mod lines;
pub mod negotiate;
mod number;
pub mod openmetrics;
mod patience;
pub mod protobuf;
mod queue;
pub mod sink;
pub mod text;

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

pub use self::{
    console::Console,
    file::RotatingFile,
    gzip::Gzip,
    http::{Door, Page, Refused, Reload, Want, serve},
    layout::Layout,
    negotiate::Format,
    sink::{Sink, SinkStatus, Target},
};
use crate::accumulator::Frame;

/// A place that what a pipeline publishes is sent to. It must never wait: what it cannot take at once it drops and
/// counts.
pub trait Output: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;
    /// Takes what a pipeline has just published, at the time that the collection stands for.
    fn offer(&self, pipeline: &str, at: SystemTime, frame: &Frame);
}

/// Encodes pages, one after another, with kept buffers: once the largest page is known and earlier pages
/// were dropped, encoding allocates nothing.
#[derive(Debug, Default)]
pub struct Encoder {
    layout: Layout,
    protobuf: protobuf::Protobuf,
    page: BytesMut,
    /// Bytes to have ready for a page.
    room: usize,
}

impl Encoder {
    /// Without any layout yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A whole page of these frames, including what ends it. A frame that comes first wins over later ones.
    pub fn encode(&mut self, format: Format, frames: &[&Frame]) -> Bytes {
        self.encode_with(format, frames, |_| {})
    }

    /// The same with what `more` appends after the frames and before the end, in the same format. Its
    /// families must not be among those of the frames.
    pub fn encode_with(
        &mut self,
        format: Format,
        frames: &[&Frame],
        more: impl FnOnce(&mut BytesMut),
    ) -> Bytes {
        self.layout.refresh(frames);
        // Takes back the memory of earlier pages when nobody holds them any more.
        self.page.reserve(self.room);
        match format {
            Format::Text => text::encode(&self.layout, frames, &mut self.page),
            Format::OpenMetrics => openmetrics::encode(&self.layout, frames, &mut self.page),
            Format::Protobuf => self.protobuf.encode(&self.layout, frames, &mut self.page),
        }
        more(&mut self.page);
        if format == Format::OpenMetrics {
            self.page.extend_from_slice(openmetrics::END);
        }
        self.room = room(self.room, self.page.len());
        self.page.split().freeze()
    }

    /// The layout of the last page: what was left out is counted there.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// Room for a page after one of so many bytes. It grows in steps, so that values that get a digit longer do
/// not move the buffer every time.
fn room(before: usize, page: usize) -> usize {
    if page > before { page + page / 4 } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_share_a_buffer_when_earlier_ones_are_gone() {
        let store = fixture::every_kind();
        for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
            let mut encoder = Encoder::new();
            let first = encoder.encode(format, &[store.frame()]);
            let second = encoder.encode(format, &[store.frame()]);
            // The first is still held.
            assert_ne!(first.as_ptr(), second.as_ptr());
            assert_eq!(first, second);
            drop((first, second));
            let mut places: Vec<_> =
                (0..20).map(|_| encoder.encode(format, &[store.frame()]).as_ptr()).skip(2).collect();
            places.sort_unstable();
            places.dedup();
            assert!(places.len() <= 2, "{places:?}");
        }
    }

    #[test]
    fn a_page_ends_after_what_was_appended() {
        let mut encoder = Encoder::new();
        let page = encoder.encode_with(Format::OpenMetrics, &[], |out| out.extend_from_slice(b"x 1\n"));
        assert_eq!(page, "x 1\n# EOF\n");
        assert_eq!(encoder.encode(Format::Text, &[]), "");
    }
}
