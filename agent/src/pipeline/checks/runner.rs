//! The thread of everything that waits for containers: checks, and who finds out what runs here.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{runtime::Handle, sync::oneshot};

/// Runs futures on one thread called `pods`, which is started with the first and ends with the last handle to this.
#[derive(Clone, Default)]
pub struct Runner(Arc<Mutex<Option<Thread>>>);

struct Thread {
    handle: Handle,
    /// The thread ends when this goes.
    _end: oneshot::Sender<()>,
}

impl Runner {
    /// Runs a future until it ends or the last handle goes. Not before privileges are dropped: a thread keeps those that
    /// it was started with.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = if let Some(thread) = &*thread {
            thread.handle.clone()
        } else {
            let started = Thread::start().map_err(|error| format!("no thread for checks: {error}"))?;
            thread.insert(started).handle.clone()
        };
        drop(handle.spawn(future));
        Ok(())
    }
}

impl Thread {
    fn start() -> Result<Self, std::io::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("pods".to_owned()).spawn(move || {
            // It is never sent, only dropped.
            let _ended = runtime.block_on(ended);
        })?;
        Ok(Self { handle, _end: end })
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runner")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn all_futures_run_on_one_thread_that_ends_with_the_last_handle() {
        let runner = Runner::default();
        let (name, names) = mpsc::channel();
        for _ in 0..2 {
            let name = name.clone();
            let said = runner.clone().spawn(async move {
                name.send(std::thread::current().name().map(str::to_owned)).unwrap();
            });
            assert_eq!(said, Ok(()));
        }
        assert_eq!(
            [names.recv().unwrap(), names.recv().unwrap()],
            [Some("pods".to_owned()), Some("pods".to_owned())]
        );
        let (kept, dropped) = mpsc::channel::<()>();
        runner
            .spawn(async move {
                std::future::pending::<()>().await;
                drop(kept);
            })
            .unwrap();
        drop(runner);
        // What still runs is dropped with the thread.
        assert!(dropped.recv().is_err());
    }
}
