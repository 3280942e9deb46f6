//! Whose processes the OOM killer chooses, even when their cgroup is gone before anyone looks.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    group::Group,
    hungry::{Hungry, Job},
    limited,
};
use crate::{
    cgroups::{self, Cgroup},
    host::{can_run, skip},
    settle::settle,
    watched::{Reading, Watched},
};

const KILLS: &str = "memory_cgroup_oom_kills_total";

/// A cgroup that limits memory, and the one of the unified tree in which the victim is: where the limits are
/// version 1's, one two levels deep.
struct Home {
    limit: Group,
    above: Option<Cgroup>,
    tree: PathBuf,
}

impl Home {
    fn new(tree: &Path) -> Option<Self> {
        let limit = limited()?;
        let above = (!limit.path().starts_with(tree)).then(|| Cgroup::new(tree));
        let home = Self { limit, above, tree: tree.to_owned() };
        if home.above.is_some() {
            fs::create_dir(home.path()).unwrap();
        }
        Some(home)
    }

    /// In the unified tree.
    fn path(&self) -> PathBuf {
        match &self.above {
            None => self.limit.path().to_owned(),
            Some(above) => above.path().join("victim"),
        }
    }

    /// As it stands in the label while it lives.
    fn name(&self) -> String {
        format!("/{}", self.path().strip_prefix(&self.tree).unwrap().display())
    }

    /// As it stands there when it was gone before anyone looked.
    fn name_from_its_end(&self) -> String {
        if self.above.is_some() { format!("...{}", self.name()) } else { self.name() }
    }

    /// Has a process killed here.
    fn kill(&self) {
        let hungry = Hungry::start_in(Job::Grow, &[self.limit.path(), &self.path()]);
        let status = hungry.end();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.above.is_none() {
            return;
        }
        // A process that has ended leaves its cgroup a moment later.
        for _ in 0..100 {
            if fs::remove_dir(self.path()).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn tree() -> Option<PathBuf> {
    let tree = can_run().then(cgroups::tree)?;
    if tree.is_none() {
        skip("needs the unified tree of cgroups");
    }
    tree
}

/// What a locked down kernel does not tell.
const NAMES: &str = "no names of victims' cgroups";

fn kills(reading: &Reading, cgroup: &str) -> u64 {
    reading.count(KILLS, &[cgroup])
}

#[test]
fn a_victim_is_counted_for_its_cgroup() {
    settle(|| {
        let Some(tree) = tree() else { return };
        let Some(home) = Home::new(&tree) else { return };
        let mut memory = Watched::open_without("memory", &[], &[NAMES]);
        for kill in 1..3 {
            home.kill();
            assert_eq!(kills(&memory.read(), &home.name()), kill);
        }
    });
}

#[test]
fn a_victim_is_counted_for_its_cgroup_that_is_gone_before_anyone_looks() {
    settle(|| {
        let Some(tree) = tree() else { return };
        let mut memory = Watched::open_without("memory", &[], &[NAMES]);
        if memory.lacks(NAMES) {
            skip("needs a kernel that lets programs read strings (it is locked down)");
            return;
        }
        let Some(home) = Home::new(&tree) else { return };
        home.kill();
        let (path, name) = (home.path(), home.name_from_its_end());
        drop(home);
        assert!(!path.exists());
        let reading = memory.read();
        assert_eq!(kills(&reading, &name), 1, "{:?}", reading.label_values(KILLS));
        // Its last numbers are shown for a while, then it makes room and is not shown among the others.
        let others = kills(&reading, "other");
        memory.read_after(Duration::from_secs(30));
        let reading = memory.read_after(Duration::from_secs(120));
        assert!(!reading.label_values(KILLS).contains(&name));
        assert_eq!(kills(&reading, "other"), others);
    });
}
