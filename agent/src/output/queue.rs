//! Pages on their way to a thread that writes them: bounded in bytes, and never waited for by who brings them.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;

/// A page, whose it is, and the time that it stands for.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) pipeline: Arc<str>,
    pub(super) at: SystemTime,
    pub(super) page: Bytes,
}

/// The queue of one writer.
pub(super) struct Queue {
    /// Bytes that may wait, with the page that is being written.
    room: usize,
    state: Mutex<State>,
    /// Rung when a page came, and at the end.
    came: Condvar,
    /// Rung when everything is written.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    bytes: usize,
    /// Bytes of the page that is being written.
    writing: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(room: usize) -> Self {
        Self { room, state: Mutex::default(), came: Condvar::new(), done: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a page in; false when there is no room for it. Those that wait are not touched: what is shown of a
    /// disturbance is its beginning, and a page that was promised stays promised.
    pub(super) fn offer(&self, entry: Entry) -> bool {
        let mut state = self.state();
        let bytes = state.bytes + state.writing + entry.page.len();
        if state.closed || bytes > self.room {
            return false;
        }
        state.bytes += entry.page.len();
        state.waiting.push_back(entry);
        drop(state);
        self.came.notify_one();
        true
    }

    /// The next page, waiting for one; nothing when the queue is closed and empty. The page before counts as
    /// written by now.
    pub(super) fn take(&self) -> Option<Entry> {
        let mut state = self.state();
        state.writing = 0;
        loop {
            if let Some(entry) = state.waiting.pop_front() {
                state.bytes -= entry.page.len();
                state.writing = entry.page.len();
                return Some(entry);
            }
            self.done.notify_all();
            if state.closed {
                return None;
            }
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing in from now on; what waits is still written.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.came.notify_all();
    }

    /// Waits until everything is written; false when that took longer.
    pub(super) fn drained(&self, within: Duration) -> bool {
        let busy = |state: &mut State| state.bytes + state.writing > 0 || !state.waiting.is_empty();
        let waited = self.done.wait_timeout_while(self.state(), within, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Bytes that wait or are being written.
    pub(super) fn bytes(&self) -> usize {
        let state = self.state();
        state.bytes + state.writing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(bytes: usize) -> Entry {
        Entry { pipeline: "p".into(), at: SystemTime::UNIX_EPOCH, page: vec![b'x'; bytes].into() }
    }

    #[test]
    fn what_waits_and_what_is_being_written_are_bounded_together() {
        let queue = Queue::new(100);
        assert!(!queue.offer(page(101)));
        assert!(queue.offer(page(60)) && queue.offer(page(40)) && !queue.offer(page(1)));
        assert_eq!(queue.take().unwrap().page.len(), 60);
        assert!(!queue.offer(page(1)), "it is being written");
        assert_eq!(queue.take().unwrap().page.len(), 40);
        assert_eq!(queue.bytes(), 40);
        assert!(queue.offer(page(60)));
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::new(100);
        assert!(queue.offer(page(1)));
        queue.close();
        assert!(!queue.offer(page(1)));
        assert!(!queue.drained(Duration::ZERO));
        assert!(queue.take().is_some() && queue.take().is_none());
        assert!(queue.drained(Duration::ZERO));
    }
}
