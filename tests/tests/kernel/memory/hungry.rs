//! A process that wants more memory than its cgroup has: this test program itself, once more.

use std::{
    collections::VecDeque,
    env, fs,
    io::{Read, Write, stdin},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{group::Group, touch};
use crate::raw::Mapping;

/// Set for the process that is to be hungry.
const JOB: &str = "PITOT_TEST_JOB";
const CHUNK: usize = 4 << 20;
const CHUNKS: usize = 32;
/// What a process asks for in all, in bytes.
pub(crate) const REUSED: u64 = (CHUNK * CHUNKS) as u64;
/// After this it gives up, whatever became of its parent.
const LIFE: Duration = Duration::from_secs(20);

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Job {
    /// Writes to new memory and keeps it.
    Grow,
    /// Writes to new memory and lets the kernel take it back when it needs it.
    Reuse,
    /// The same again and again.
    ReuseForEver,
}

impl Job {
    const ALL: [Self; 3] = [Self::Grow, Self::Reuse, Self::ReuseForEver];

    fn name(self) -> String {
        format!("{self:?}")
    }

    fn work(self) {
        let start = Instant::now();
        let mut kept = VecDeque::new();
        loop {
            let mut chunk = Mapping::anonymous(CHUNK).unwrap();
            touch(&mut chunk);
            if self != Self::Grow {
                chunk.release().unwrap();
            }
            kept.push_back(chunk);
            if kept.len() == CHUNKS {
                if self != Self::ReuseForEver || start.elapsed() > LIFE {
                    return;
                }
                // Its pages have been taken long since: there is no more room now than before.
                kept.pop_front();
            }
        }
    }
}

pub(crate) struct Hungry(Child);

impl Hungry {
    /// Starts it in a cgroup.
    pub(crate) fn start(job: Job, group: &Group) -> Self {
        Self::start_in(job, &[group.path()])
    }

    /// Starts it in cgroups of different trees. What it has already stays with its old ones.
    pub(crate) fn start_in(job: Job, cgroups: &[&Path]) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "memory::hungry::child", "--ignored", "--nocapture"])
            .env(JOB, job.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for cgroup in cgroups {
            fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        let mut hungry = Self(child);
        hungry.0.stdin.take().unwrap().write_all(b"x").unwrap();
        hungry
    }

    pub(crate) fn end(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Hungry {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ended = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// No test: what the process does.
#[test]
#[ignore = "the process that other tests start"]
fn child() {
    let Ok(name) = env::var(JOB) else { return };
    let job = Job::ALL.into_iter().find(|job| job.name() == name).unwrap();
    // Until it is in its cgroup.
    stdin().read_exact(&mut [0]).unwrap();
    job.work();
}
