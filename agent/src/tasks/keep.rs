//! Waits for reasons to reload, and reloads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    reconcile::Diff,
    reload::{Cause, Reloader},
    watch::Watch,
};

/// What a reload brought: what changed, or what is wrong.
pub type Reloaded = Result<Diff, Vec<String>>;
/// Where requests to reload go; each is answered.
pub type Requests = mpsc::Sender<oneshot::Sender<Reloaded>>;

/// Reloads at SIGHUP, when files change, and when asked, for ever. `file` is that of the configuration.
pub async fn keep_current(
    mut reloader: Reloader,
    file: Option<PathBuf>,
    mut requests: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    mut hangup: Signal,
) {
    // What is no file has no changes, and a pipe is empty by now.
    let file = file.filter(|path| path.is_file());
    let mut watch = None;
    // What changed between the start and the first watch is not missed.
    let mut is_missed = !aim(&mut watch, &reloader, file.as_deref());
    loop {
        let (cause, reply) = if std::mem::take(&mut is_missed) {
            (Cause::Change, None)
        } else {
            tokio::select! {
                _ = hangup.recv() => (Cause::Signal, None),
                Some(reply) = requests.recv() => (Cause::Request, Some(reply)),
                () = changed(&mut watch) => (Cause::Change, None),
            }
        };
        // Files may hang; what is served must not.
        let done = spawn_blocking(move || {
            let result = catch_unwind(AssertUnwindSafe(|| reloader.reload(cause)));
            (reloader, result)
        });
        let Ok((back, result)) = done.await else { return };
        reloader = back;
        let result = result.unwrap_or_else(|_| Err(vec!["the reload panicked: see the log".to_owned()]));
        if let Some(reply) = reply {
            // A client that has gone does not wait.
            let _gone = reply.send(result);
        }
        is_missed = !aim(&mut watch, &reloader, file.as_deref());
    }
}

/// Watches what is to be watched now; false when that is more than before.
fn aim(watch: &mut Option<Watch>, reloader: &Reloader, file: Option<&Path>) -> bool {
    if !reloader.config().reload.watch {
        *watch = None;
        return true;
    }
    if watch.is_none() {
        match Watch::new() {
            Ok(new) => *watch = Some(new),
            Err(error) => {
                tracing::warn!(%error, "files are not watched: SIGHUP reloads");
                return true;
            }
        }
    }
    let tasks = reloader.config().tasks.as_deref();
    watch.as_mut().is_none_or(|watch| watch.aim(file, tasks))
}

/// Waits for a change of a file, for ever if none is watched.
async fn changed(watch: &mut Option<Watch>) {
    if let Some(watching) = watch {
        match watching.changed().await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "files are not watched any more: SIGHUP reloads");
                *watch = None;
            }
        }
    }
    std::future::pending::<()>().await;
}
