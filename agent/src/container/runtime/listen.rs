//! Events of a runtime, followed by a task of their own: a question that is asked meanwhile interrupts nothing.

use std::time::Duration;

use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::trouble::Trouble;

/// Ids that wait to be fetched; further ones are lost, as containers that nobody describes.
const WAITING: usize = 256;
/// How long to wait before a lost stream is opened again: at first, and at most.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Where the ids of an event go.
pub(super) type Told = mpsc::Sender<String>;

/// Follows events for as long as it lives.
#[derive(Debug)]
pub(super) struct Listener {
    ids: mpsc::Receiver<String>,
    _task: JoinSet<()>,
}

impl Listener {
    /// Follows events by this attempt, which is made again when it ends, unless the runtime has no events.
    pub(super) fn spawn<A, F>(mut attempt: A) -> Self
    where
        A: FnMut(Told) -> F + Send + 'static,
        F: Future<Output = Result<(), Trouble>> + Send,
    {
        let (told, ids) = mpsc::channel(WAITING);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut pause = PAUSE[0];
            loop {
                match attempt(told.clone()).await {
                    Err(Trouble::Refused(why)) => {
                        tracing::debug!(why, "a runtime has no events");
                        return;
                    }
                    Err(trouble) => tracing::debug!(%trouble, "no events of a runtime"),
                    // It worked for a while.
                    Ok(()) => pause = PAUSE[0],
                }
                sleep(pause).await;
                pause = (2 * pause).min(PAUSE[1]);
            }
        });
        Self { ids, _task: task }
    }

    /// The next id. May be dropped at any time; waits for ever when there are no events.
    pub(super) async fn next(&mut self) -> String {
        match self.ids.recv().await {
            Some(id) => id,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::container::runtime::http::tests::now;

    #[test]
    fn a_lost_stream_is_opened_again_and_a_refused_one_is_not() {
        now(async {
            let attempts = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&attempts);
            let mut listener = Listener::spawn(move |told| {
                let attempt = counted.fetch_add(1, Ordering::Relaxed);
                async move {
                    drop(told.try_send(format!("id{attempt}")));
                    if attempt == 0 { Ok(()) } else { Err(Trouble::Refused("no events".to_owned())) }
                }
            });
            assert_eq!(listener.next().await, "id0");
            assert_eq!(listener.next().await, "id1");
            let more = tokio::time::timeout(Duration::from_millis(50), listener.next()).await;
            assert!(more.is_err(), "{more:?}");
            assert_eq!(attempts.load(Ordering::Relaxed), 2);
        });
    }
}
