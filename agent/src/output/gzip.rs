//! Compression of pages.

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress, Status};

/// Window of 32 KiB, the largest that gzip knows: a page repeats itself over long distances.
const WINDOW_BITS: u8 = 15;
/// Room for the first result.
const ROOM: usize = 16 * 1024;

/// Compresses pages, one after another, with kept state: once earlier results were dropped, it allocates
/// nothing.
#[derive(Debug)]
pub struct Gzip {
    state: Compress,
    page: BytesMut,
    /// Bytes to have ready for a result.
    room: usize,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            // Level 1: higher ones cost several times the CPU for a few percent of a page.
            state: Compress::new_gzip(Compression::fast(), WINDOW_BITS),
            page: BytesMut::new(),
            room: ROOM,
        }
    }
}

impl Gzip {
    /// Fresh state.
    pub fn new() -> Self {
        Self::default()
    }

    /// The page as one gzip member; nothing when the compressor refuses, which leaves the page itself to be
    /// sent.
    pub fn compress(&mut self, page: &[u8]) -> Option<Bytes> {
        self.state.reset();
        self.page.clear();
        self.page.resize(self.room, 0);
        let (mut read, mut written) = (0, 0);
        loop {
            let before = (self.state.total_in(), self.state.total_out());
            let (input, output) = (page.get(read..)?, self.page.get_mut(written..)?);
            let status = self.state.compress(input, output, FlushCompress::Finish).ok()?;
            read += usize::try_from(self.state.total_in() - before.0).ok()?;
            written += usize::try_from(self.state.total_out() - before.1).ok()?;
            if status == Status::StreamEnd {
                break;
            }
            self.page.resize(self.page.len() * 2, 0);
        }
        self.page.truncate(written);
        self.room = super::room(self.room, written);
        Some(self.page.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn back(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn pages_survive_one_after_another() {
        let mut gzip = Gzip::new();
        let text = "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 12345.67\n".repeat(1000);
        // Noise does not shrink, so the room must grow.
        let mut seed = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        })
        .take(50_000)
        .collect();
        for page in [text.as_bytes(), b"", &noise, text.as_bytes()] {
            assert_eq!(back(&gzip.compress(page).unwrap()), page);
        }
        let small = gzip.compress(text.as_bytes()).unwrap();
        assert!(small.len() < text.len() / 10);
    }
}
