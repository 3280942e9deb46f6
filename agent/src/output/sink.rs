//! Outputs that write: a thread of their own behind a bounded queue, whatever it is that they write to.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    Encoder, Format, Output, lines,
    queue::{Entry, Queue},
};
use crate::{accumulator::Frame, config::OutputFormat};

const WRITTEN: &str = "pitot_agent_output_written_total";
const DROPPED: &str = "pitot_agent_output_dropped_total";
const ERRORS: &str = "pitot_agent_output_errors_total";

/// Writing needs little; the default of 2 MiB is never touched, but is reserved.
const STACK: usize = 256 << 10;

/// What pages are written to, by one thread.
pub trait Target: Send {
    /// Writes a whole page, or fails and leaves nothing of it.
    fn write(&mut self, page: &[u8]) -> io::Result<()>;
}

/// An output that writes. Its thread ends when the last pipeline that uses it is gone, and what waited is written.
pub struct Sink {
    name: String,
    format: OutputFormat,
    queue: Arc<Queue>,
    board: Arc<Board>,
}

/// What became of pages so far.
struct Board {
    written: Count,
    dropped: Count,
    errors: Count,
    /// Why the last page could not be written.
    error: Mutex<Option<String>>,
}

/// A figure that is exported and shown.
struct Count(metrics::Counter, AtomicU64);

impl Count {
    fn add(&self) {
        self.0.increment(1);
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }
}

/// What `/status` shows of an output.
#[derive(Clone, Debug, Serialize)]
pub struct SinkStatus {
    /// Its name.
    pub output: String,
    /// Pages written.
    pub written: u64,
    /// Pages for which there was no room, or which could not be written.
    pub dropped: u64,
    /// Attempts to write that failed.
    pub errors: u64,
    /// Bytes of pages that wait.
    pub queued_bytes: usize,
    /// Why the last page could not be written, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Sink {
    /// Starts an output of this name. `room` bounds the bytes of pages that wait.
    pub fn start(
        name: &str,
        format: OutputFormat,
        room: usize,
        target: Box<dyn Target>,
    ) -> io::Result<Arc<Self>> {
        let counter = |metric: &'static str| {
            Count(metrics::counter!(metric, "output" => name.to_owned()), AtomicU64::new(0))
        };
        let (written, dropped, errors) = (counter(WRITTEN), counter(DROPPED), counter(ERRORS));
        let board = Arc::new(Board { written, dropped, errors, error: Mutex::default() });
        let queue = Arc::new(Queue::new(room));
        let sink =
            Self { name: name.to_owned(), format, queue: Arc::clone(&queue), board: Arc::clone(&board) };
        let name = name.to_owned();
        let writer = move || write_all(&name, format, &queue, &board, target);
        thread::Builder::new().name("pitot-output".to_owned()).stack_size(STACK).spawn(writer)?;
        Ok(Arc::new(sink))
    }

    /// The end of it that a pipeline writes to.
    pub fn connect(self: &Arc<Self>, pipeline: &str) -> Arc<dyn Output> {
        Arc::new(End { sink: Arc::clone(self), pipeline: pipeline.into(), encoder: Mutex::default() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What became of pages so far.
    pub fn status(&self) -> SinkStatus {
        let board = &self.board;
        SinkStatus {
            output: self.name.clone(),
            written: board.written.get(),
            dropped: board.dropped.get(),
            errors: board.errors.get(),
            queued_bytes: self.queue.bytes(),
            error: board.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Waits until everything is written; false when that took longer.
    pub fn drained(&self, within: Duration) -> bool {
        self.queue.drained(within)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What one pipeline has of an output: an encoder that knows its series.
struct End {
    sink: Arc<Sink>,
    pipeline: Arc<str>,
    encoder: Mutex<Encoder>,
}

impl Output for End {
    fn name(&self) -> &str {
        &self.sink.name
    }

    fn offer(&self, _pipeline: &str, at: SystemTime, frame: &Frame) {
        let format = match self.sink.format {
            OutputFormat::Openmetrics => Format::OpenMetrics,
            // JSON is made of it by the thread that writes.
            OutputFormat::Text | OutputFormat::Json => Format::Text,
        };
        let page = self.encoder.lock().unwrap_or_else(PoisonError::into_inner).encode(format, &[frame]);
        if !self.sink.queue.offer(Entry { pipeline: Arc::clone(&self.pipeline), at, page }) {
            self.sink.board.dropped.add();
        }
    }
}

/// The writer's thread.
fn write_all(name: &str, format: OutputFormat, queue: &Queue, board: &Board, mut target: Box<dyn Target>) {
    let mut bytes = Vec::new();
    while let Some(entry) = queue.take() {
        bytes.clear();
        render(format, &entry, &mut bytes);
        drop(entry);
        let result = target.write(&bytes);
        let mut error = board.error.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                board.written.add();
                if error.take().is_some() {
                    tracing::info!(output = name, "writes again");
                }
            }
            Err(failed) => {
                board.errors.add();
                board.dropped.add();
                let failed = failed.to_string();
                if error.as_ref() != Some(&failed) {
                    tracing::warn!(output = name, error = failed, "cannot write: pages are dropped");
                    *error = Some(failed);
                }
            }
        }
    }
}

/// The bytes of a page as they are written.
fn render(format: OutputFormat, entry: &Entry, bytes: &mut Vec<u8>) {
    // Times that are no dates are those of a clock that was never set.
    let time = jiff::Timestamp::try_from(entry.at).unwrap_or_default();
    match format {
        OutputFormat::Text => {
            bytes.extend_from_slice(format!("# {} at {time:.3}\n", entry.pipeline).as_bytes());
            bytes.extend_from_slice(&entry.page);
        }
        OutputFormat::Openmetrics => bytes.extend_from_slice(&entry.page),
        OutputFormat::Json => lines::append(&entry.page, &format!("{time:.3}"), &entry.pipeline, bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::output::fixture;

    const LONG: Duration = Duration::from_secs(20);

    /// Sends on what it gets, and fails when told to.
    struct Told(mpsc::Sender<Vec<u8>>, mpsc::Receiver<bool>);
    impl Target for Told {
        fn write(&mut self, page: &[u8]) -> io::Result<()> {
            if self.1.recv().unwrap() {
                self.0.send(page.to_vec()).unwrap();
                return Ok(());
            }
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    fn told(room: usize, format: OutputFormat) -> (Arc<Sink>, mpsc::Sender<bool>, mpsc::Receiver<Vec<u8>>) {
        let (tell, order) = mpsc::channel();
        let (page, pages) = mpsc::channel();
        (Sink::start("test", format, room, Box::new(Told(page, order))).unwrap(), tell, pages)
    }

    #[test]
    fn pages_are_written_in_their_order_with_their_time() {
        let (sink, tell, pages) = told(1 << 20, OutputFormat::Text);
        let store = fixture::every_kind();
        let end = sink.connect("cpu");
        end.offer("cpu", SystemTime::UNIX_EPOCH + Duration::from_millis(1500), store.frame());
        tell.send(true).unwrap();
        let page = String::from_utf8(pages.recv_timeout(LONG).unwrap()).unwrap();
        let (head, rest) = page.split_once('\n').unwrap();
        assert_eq!(head, "# cpu at 1970-01-01T00:00:01.500Z");
        assert_eq!(rest, Encoder::new().encode(Format::Text, &[store.frame()]));
        assert!(sink.drained(LONG));
        assert_eq!(sink.status().written, 1);
    }

    #[test]
    fn what_has_no_room_or_fails_is_dropped_and_counted() {
        let store = fixture::every_kind();
        let page = Encoder::new().encode(Format::Text, &[store.frame()]).len();
        let (sink, tell, pages) = told(page * 2, OutputFormat::Text);
        let end = sink.connect("cpu");
        for _ in 0..3 {
            end.offer("cpu", SystemTime::UNIX_EPOCH, store.frame());
        }
        assert_eq!((sink.status().dropped, sink.status().queued_bytes), (1, page * 2));
        tell.send(false).unwrap();
        tell.send(true).unwrap();
        pages.recv_timeout(LONG).unwrap();
        assert!(sink.drained(LONG));
        let SinkStatus { written, dropped, errors, error, .. } = sink.status();
        assert_eq!((written, dropped, errors, error), (1, 2, 1, None));
    }

    #[test]
    fn what_waits_is_written_when_the_output_is_given_up() {
        let (sink, tell, pages) = told(1 << 20, OutputFormat::Json);
        let end = sink.connect("cpu");
        end.offer("cpu", SystemTime::UNIX_EPOCH, fixture::every_kind().frame());
        drop((sink, end));
        tell.send(true).unwrap();
        let page = String::from_utf8(pages.recv_timeout(LONG).unwrap()).unwrap();
        assert!(page.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{page}");
        assert!(pages.recv_timeout(LONG).is_err(), "the thread has ended");
    }
}
