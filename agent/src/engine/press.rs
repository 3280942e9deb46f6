//! Makes pages of what lies in the places of the pipelines.

use std::{sync::Arc, time::Instant};

use super::{
    cell::Cell,
    slot::{Look, Missing},
};
use crate::{
    accumulator::Frame,
    output::{Encoder, Format, Gzip, Page, Want},
    telemetry::EngineMeters,
};

/// How often all pipelines are tried to be had at once before those that are never there are left out.
const TRIES: u32 = 32;

/// Makes pages, each at most once a round.
#[derive(Default)]
pub(super) struct Press {
    encoder: Encoder,
    gzip: Gzip,
    made: Vec<(Want, Page)>,
}

impl Press {
    /// Lets go of the last round's pages, so that their memory can be used again.
    pub(super) fn forget(&mut self) {
        self.made.clear();
    }

    /// A page of what was published last. Who is just being collected is waited for until a time.
    pub(super) fn page(
        &mut self,
        want: &Want,
        cells: &[Arc<Cell>],
        until: Instant,
        meters: &EngineMeters,
    ) -> Page {
        let key = Want { timeout: None, ..want.clone() };
        if let Some((_, page)) = self.made.iter().find(|(made, _)| *made == key) {
            return page.clone();
        }
        let plain = Want { gzip: false, ..key.clone() };
        let made = self.made.iter().find(|(made, _)| *made == plain).map(|(_, page)| page.clone());
        let page = made.unwrap_or_else(|| {
            let body = self.encode(&plain.names, plain.format, cells, until, meters);
            let page = Page { body, gzip: false };
            self.made.push((plain, page.clone()));
            page
        });
        if !want.gzip {
            return page;
        }
        let Some(body) = self.gzip.compress(&page.body) else { return page };
        let page = Page { body, gzip: true };
        self.made.push((key, page.clone()));
        page
    }

    fn encode(
        &mut self,
        names: &[String],
        format: Format,
        cells: &[Arc<Cell>],
        until: Instant,
        meters: &EngineMeters,
    ) -> bytes::Bytes {
        let chosen = cells.iter().filter(|cell| names.is_empty() || names.contains(&cell.key));
        let chosen: Vec<&Cell> =
            chosen.filter(|cell| cell.is_scraped() && cell.is_shown()).map(|cell| &**cell).collect();
        let (shown, busy) = look_at_all(&chosen, until);
        if busy > 0 {
            meters.left_out(busy);
        }
        let frames: Vec<&Frame> = shown.iter().filter_map(Shown::frame).collect();
        if names.is_empty() {
            let page = self.encoder.encode(format, &frames);
            meters.layout(self.encoder.layout().clashes, self.encoder.layout().duplicates);
            page
        } else {
            // A selection has a layout of its own; the kept one stays as it is.
            Encoder::default().encode(format, &frames)
        }
    }
}

/// What a pipeline published last.
enum Shown<'c> {
    /// In its place, where it stays meanwhile.
    There(Look<'c>),
    /// A copy: whoever collects it every few milliseconds cannot wait until a page is encoded.
    Copy(Frame),
}

impl<'c> Shown<'c> {
    fn new(cell: &Cell, look: Look<'c>) -> Self {
        match look.frame().filter(|_| cell.is_exact()) {
            Some(frame) => Self::Copy(frame.clone()),
            None => Self::There(look),
        }
    }

    fn frame(&self) -> Option<&Frame> {
        match self {
            Self::There(look) => look.frame(),
            Self::Copy(frame) => Some(frame),
        }
    }
}

/// Looks at all of these at once, and says how many are left out because they are busy. Nobody is waited for while
/// others are held: whoever has the one may want the other.
fn look_at_all<'c>(cells: &[&'c Cell], until: Instant) -> (Vec<Shown<'c>>, usize) {
    for tries in 1.. {
        let (mut shown, mut busy) = (Vec::with_capacity(cells.len()), Vec::new());
        for cell in cells {
            match cell.slot.frame() {
                Ok(look) => shown.push(Shown::new(cell, look)),
                Err(Missing::Busy) => busy.push(*cell),
                Err(Missing::Stuck | Missing::Gone) => {}
            }
        }
        if busy.is_empty() || tries >= TRIES || Instant::now() >= until {
            return (shown, busy.len());
        }
        drop(shown);
        for cell in busy {
            cell.slot.settle(until);
        }
    }
    (Vec::new(), 0)
}
