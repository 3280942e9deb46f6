//! A connection that runs out of patience: every phase of it has a bound, so that no client can hold a
//! page, or a place among the connections, for ever.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request to the end of its head; the first request has as long to begin.
    pub(super) head: Duration,
    /// To take an answer.
    pub(super) answer: Duration,
    /// Between an answer and the next request.
    pub(super) idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    Head,
    Answer,
}

/// A stream that fails with `TimedOut` when its client is too slow.
pub(super) struct Patient {
    stream: TcpStream,
    patience: Patience,
    phase: Phase,
    timer: Pin<Box<Sleep>>,
    /// An answer is being made: the client waits for us, and time does not count against it.
    ours: Arc<AtomicBool>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream, patience: Patience, ours: Arc<AtomicBool>) -> Self {
        let timer = Box::pin(tokio::time::sleep(patience.head));
        Self { stream, patience, phase: Phase::Head, timer, ours }
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            let bound = match phase {
                Phase::Idle => self.patience.idle,
                Phase::Head => self.patience.head,
                Phase::Answer => self.patience.answer,
            };
            self.timer.as_mut().reset(Instant::now() + bound);
        }
    }

    /// For when the client makes us wait.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.ours.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn written(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if wrote.is_pending() { self.wait(cx) } else { wrote }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => self.wait(cx),
            done @ Poll::Ready(_) => {
                if self.phase == Phase::Idle && buffer.filled().len() > before {
                    self.enter(Phase::Head);
                }
                done
            }
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.enter(Phase::Answer);
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.enter(Phase::Answer);
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.written(cx, wrote)
    }

    /// Head and page go out in one call, without being copied together.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // Hyper flushes when it has handed over everything.
        if flushed.is_ready() && self.phase == Phase::Answer {
            self.enter(Phase::Idle);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
