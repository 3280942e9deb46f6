//! Asks mounts that may never answer, from a thread that can be left behind.
//!
//! A call on a dead network or FUSE mount blocks in the kernel for as long as the mount is dead, and
//! nothing in user space can take it back. So such calls are made by a worker thread. A worker that does
//! not come back is left to its mount: the mount is known as stuck and not asked again until that call
//! returns, and another worker serves the others. No lock is held across a call.

use std::{
    ffi::CString,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{statfs::statfs, statvfs::FsFlags},
};

/// How long one mount may keep the others waiting.
const PATIENCE: Duration = Duration::from_millis(100);
/// What a mount gets even when many share what is left of the time.
const LEAST_PATIENCE: Duration = Duration::from_millis(10);
/// The worker makes one system call; the smallest sensible stack will do.
const STACK: usize = 128 << 10;

/// Label value of a mount that does not answer.
pub(super) const TIMED_OUT: &str = "mountpoint timeout";
/// Label value of a mount that was not asked, for want of a thread that may be blocked.
pub(super) const NOT_ASKED: &str = "not asked";

/// A mount that is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Number of the mount, which tells a new one at the same place from the old.
    pub(super) id: u64,
    /// Where this process finds it.
    pub(super) path: CString,
}

/// What a mount said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    /// Its numbers.
    Stat(Stat),
    /// Why there are none, as a label value.
    Failed(&'static str),
}

/// Numbers of a file system, in bytes and inodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stat {
    pub(super) size: f64,
    pub(super) free: f64,
    pub(super) available: f64,
    pub(super) files: f64,
    pub(super) files_free: f64,
    /// The mount is read-only, or the file system under it has become so after an error.
    pub(super) read_only: bool,
}

/// Makes the system call.
pub(super) fn ask(target: &Target) -> Answer {
    match statfs(target.path.as_c_str()) {
        Ok(stat) => {
            let block = stat.block_size() as f64;
            Answer::Stat(Stat {
                size: stat.blocks() as f64 * block,
                free: stat.blocks_free() as f64 * block,
                available: stat.blocks_available() as f64 * block,
                files: stat.files() as f64,
                files_free: stat.files_free() as f64,
                read_only: stat.flags().contains(FsFlags::ST_RDONLY),
            })
        }
        Err(error) => Answer::Failed(words(error)),
    }
}

/// The kernel's errors as existing alert rules know them: small letters.
fn words(error: Errno) -> &'static str {
    match error {
        Errno::EPERM => "operation not permitted",
        Errno::ENOENT => "no such file or directory",
        Errno::EINTR => "interrupted system call",
        Errno::EIO => "input/output error",
        Errno::ENOMEM => "cannot allocate memory",
        Errno::EACCES => "permission denied",
        Errno::ENODEV => "no such device",
        Errno::ENOTDIR => "not a directory",
        Errno::ENAMETOOLONG => "file name too long",
        Errno::ENOSYS => "function not implemented",
        Errno::ELOOP => "too many levels of symbolic links",
        Errno::ENOTCONN => "transport endpoint is not connected",
        Errno::ETIMEDOUT => "connection timed out",
        Errno::ECONNREFUSED => "connection refused",
        Errno::ECONNABORTED => "software caused connection abort",
        Errno::EHOSTDOWN => "host is down",
        Errno::EHOSTUNREACH => "no route to host",
        Errno::ESTALE => "stale file handle",
        other => other.desc(),
    }
}

/// Mounts that do not answer, each with the worker that waits for it.
#[derive(Debug)]
pub(super) struct Registry {
    stuck: Mutex<Vec<Stuck>>,
    most: usize,
}

/// A mount that does not answer.
#[derive(Clone, Debug)]
pub(super) struct Stuck {
    pub(super) target: Arc<Target>,
    pub(super) since: Instant,
    worker: Arc<Desk>,
}

/// Of the process: a blocked thread outlives the input that started it, for instance when the
/// configuration changes, and must not be joined by another one then.
pub(super) static STUCK: Registry = Registry::new(16);

impl Registry {
    /// With that many blocked threads at the most.
    pub(super) const fn new(most: usize) -> Self {
        Self { stuck: Mutex::new(Vec::new()), most }
    }

    /// The mounts that do not answer now.
    pub(super) fn list(&self) -> Vec<Stuck> {
        lock(&self.stuck).clone()
    }

    fn forget(&self, worker: &Desk) {
        lock(&self.stuck).retain(|stuck| !std::ptr::eq(&raw const *stuck.worker, worker));
    }
}

/// Where work is laid out for a worker.
#[derive(Debug, Default)]
struct Desk {
    work: Mutex<Work>,
    laid_out: Condvar,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    jobs: Vec<Job>,
    /// The job that is being done; behind the last one when there is nothing to do.
    at: usize,
    /// The worker is to end: it is no longer needed, or was left to its mount.
    end: bool,
}

#[derive(Debug)]
struct Job {
    target: Arc<Target>,
    /// The caller's own number for it.
    tag: usize,
    answer: Option<Answer>,
}

impl Work {
    fn is_done(&self) -> bool {
        self.at >= self.jobs.len()
    }
}

/// Nothing that is locked here can be left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks mounts, from a thread of its own that is started when there is something to ask.
#[derive(Debug)]
pub(super) struct Prober {
    registry: &'static Registry,
    ask: fn(&Target) -> Answer,
    desk: Option<Arc<Desk>>,
    jobs: Vec<Job>,
}

impl Prober {
    pub(super) fn new(registry: &'static Registry, ask: fn(&Target) -> Answer) -> Self {
        Self { registry, ask, desk: None, jobs: Vec::new() }
    }

    /// Begins to ask these mounts. [`Self::finish`] must follow, which brings the answers.
    pub(super) fn begin<'a>(&mut self, targets: impl Iterator<Item = (usize, &'a Arc<Target>)>) {
        self.jobs.clear();
        let stuck = lock(&self.registry.stuck);
        self.jobs.extend(targets.map(|(tag, target)| {
            let is_stuck = stuck.iter().any(|stuck| stuck.target == *target);
            Job { target: Arc::clone(target), tag, answer: is_stuck.then_some(Answer::Failed(TIMED_OUT)) }
        }));
        drop(stuck);
        self.lay_out();
    }

    /// Hands the unanswered jobs to the worker, if there is one or one may be started.
    fn lay_out(&mut self) {
        if self.jobs.iter().all(|job| job.answer.is_some()) {
            return;
        }
        if self.desk.is_none() {
            self.desk = self.start();
        }
        let Some(desk) = &self.desk else { return };
        let mut work = lock(&desk.work);
        work.at = 0;
        work.jobs.clear();
        // The list of the caller keeps its room for the next time.
        let open = self.jobs.iter().filter(|job| job.answer.is_none());
        work.jobs.extend(open.map(|job| Job { target: Arc::clone(&job.target), tag: job.tag, answer: None }));
        desk.laid_out.notify_one();
    }

    fn start(&self) -> Option<Arc<Desk>> {
        if lock(&self.registry.stuck).len() >= self.registry.most {
            return None;
        }
        let desk = Arc::new(Desk::default());
        let (theirs, ask, registry) = (Arc::clone(&desk), self.ask, self.registry);
        let thread = thread::Builder::new().name("pitot-statfs".into()).stack_size(STACK);
        thread.spawn(move || serve(&theirs, ask, registry)).ok()?;
        Some(desk)
    }

    /// Waits for the answers, but no longer than that, and hands over one for each mount.
    pub(super) fn finish(&mut self, until: Instant, mut deliver: impl FnMut(usize, Answer)) {
        let mut in_time = true;
        while in_time {
            let Some(desk) = self.desk.take() else { break };
            let worker_is_free = self.wait(&desk, until);
            if worker_is_free {
                self.desk = Some(desk);
                break;
            }
            in_time = Instant::now() < until;
            if in_time {
                self.lay_out();
            }
        }
        let unasked = if in_time { NOT_ASKED } else { TIMED_OUT };
        for job in self.jobs.drain(..) {
            deliver(job.tag, job.answer.unwrap_or(Answer::Failed(unasked)));
        }
    }

    /// Waits until the worker is through, or leaves it to the mount that does not answer.
    fn wait(&mut self, desk: &Arc<Desk>, until: Instant) -> bool {
        let mut work = lock(&desk.work);
        while !work.is_done() {
            let (at, open) = (work.at, work.jobs.len() - work.at);
            let left = until.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(open).unwrap_or(u32::MAX);
            let patience = share.clamp(LEAST_PATIENCE, PATIENCE);
            // The worker wakes this thread once, at the end: until then the clock does.
            let waited = desk.done.wait_timeout_while(work, patience, |work| !work.is_done());
            (work, _) = waited.unwrap_or_else(PoisonError::into_inner);
            // One that was interrupted at the deadline is struck out again as soon as it answers.
            if work.at == at || Instant::now() >= until {
                break;
            }
        }
        // Both lists are in the same order.
        let mut answered = work.jobs.iter().filter(|job| job.answer.is_some()).peekable();
        for job in &mut self.jobs {
            if let Some(theirs) = answered.next_if(|theirs| theirs.tag == job.tag) {
                job.answer = theirs.answer;
            }
        }
        let Some(hanging) = work.jobs.get(work.at) else {
            work.jobs.clear();
            work.at = 0;
            return true;
        };
        let target = Arc::clone(&hanging.target);
        if let Some(job) = self.jobs.iter_mut().find(|job| job.tag == hanging.tag) {
            job.answer = Some(Answer::Failed(TIMED_OUT));
        }
        work.end = true;
        // Entered before the worker can see that it was left, so that it finds what it is to strike out.
        let stuck = Stuck { target, since: Instant::now(), worker: Arc::clone(desk) };
        lock(&self.registry.stuck).push(stuck);
        false
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if let Some(desk) = &self.desk {
            lock(&desk.work).end = true;
            desk.laid_out.notify_one();
        }
    }
}

/// The worker's life.
fn serve(desk: &Desk, ask: fn(&Target) -> Answer, registry: &Registry) {
    let mut work = lock(&desk.work);
    while !work.end {
        let at = work.at;
        let Some(job) = work.jobs.get(at) else {
            work = desk.laid_out.wait(work).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let target = Arc::clone(&job.target);
        drop(work);
        let answer = ask(&target);
        work = lock(&desk.work);
        if work.end {
            break;
        }
        if let Some(job) = work.jobs.get_mut(at) {
            job.answer = Some(answer);
        }
        work.at += 1;
        if work.is_done() {
            desk.done.notify_one();
        }
    }
    drop(work);
    registry.forget(desk);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const FINE: Answer = Answer::Failed("fine");

    fn targets(paths: &[&str]) -> Vec<Arc<Target>> {
        let targets = paths.iter().zip(1..);
        targets.map(|(path, id)| Arc::new(Target { id, path: CString::new(*path).unwrap() })).collect()
    }

    fn round(prober: &mut Prober, targets: &[Arc<Target>], budget: Duration) -> Vec<Answer> {
        let mut answers = vec![None; targets.len()];
        prober.begin(targets.iter().enumerate());
        prober.finish(Instant::now() + budget, |tag, answer| answers[tag] = Some(answer));
        answers.into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn a_hung_mount_costs_itself_and_comes_back() {
        static REGISTRY: Registry = Registry::new(4);
        static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        fn gated(target: &Target) -> Answer {
            if target.path.to_bytes().starts_with(b"/hung") {
                CALLS.fetch_add(1, Ordering::Relaxed);
                drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |open| !*open));
            }
            FINE
        }
        let mut prober = Prober::new(&REGISTRY, gated);
        let targets = targets(&["/a", "/hung", "/b", "/c"]);
        for _ in 0..20 {
            let answers = round(&mut prober, &targets, Duration::from_secs(1));
            assert_eq!(answers, [FINE, Answer::Failed(TIMED_OUT), FINE, FINE]);
        }
        assert_eq!((CALLS.load(Ordering::Relaxed), REGISTRY.list().len()), (1, 1));
        *GATE.0.lock().unwrap() = true;
        GATE.1.notify_all();
        let start = Instant::now();
        while round(&mut prober, &targets, Duration::from_secs(1)) != [FINE; 4] {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        assert!(REGISTRY.list().is_empty());
    }

    #[test]
    fn blocked_threads_are_bounded_and_so_is_the_time() {
        static REGISTRY: Registry = Registry::new(3);
        static BLOCKED: AtomicUsize = AtomicUsize::new(0);
        fn blocks(_: &Target) -> Answer {
            BLOCKED.fetch_add(1, Ordering::Relaxed);
            loop {
                thread::park();
            }
        }
        let mut prober = Prober::new(&REGISTRY, blocks);
        let targets = targets(&["/a", "/b", "/c", "/d", "/e"]);
        let start = Instant::now();
        for _ in 0..3 {
            round(&mut prober, &targets, Duration::from_millis(150));
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!((BLOCKED.load(Ordering::Relaxed), REGISTRY.list().len()), (3, 3));
        let answers = round(&mut prober, &targets, Duration::from_millis(150));
        assert_eq!(answers[..3], [Answer::Failed(TIMED_OUT); 3]);
        assert_eq!(answers[3..], [Answer::Failed(NOT_ASKED); 2]);
    }

    #[test]
    fn a_missing_path_is_told_in_words() {
        let missing = Target { id: 1, path: c"/nonexistent".to_owned() };
        assert_eq!(ask(&missing), Answer::Failed("no such file or directory"));
        let root = Target { id: 1, path: c"/".to_owned() };
        assert!(matches!(ask(&root), Answer::Stat(stat) if stat.size >= stat.free));
    }
}
