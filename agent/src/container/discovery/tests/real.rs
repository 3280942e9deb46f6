//! Real control groups, with a process that comes and goes.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
};

use super::*;
use crate::container::tree::followed;

/// A control group that is removed again.
struct Group(PathBuf);

impl Group {
    /// In the unified hierarchy, if there is one that can be written to.
    fn new(name: &str) -> Option<Self> {
        let all = followed(&Roots::default()).ok()?;
        let unified = all.into_iter().find(|one| one.dir.join("cgroup.controllers").exists())?;
        let dir = unified.dir.join(format!("pitot-test-{}", std::process::id())).join(name);
        fs::create_dir_all(&dir).ok().map(|()| Self(dir))
    }

    fn take(&self, child: &Child) {
        fs::write(self.0.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that was killed leaves its group a moment later.
        let until = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && Instant::now() < until {
            std::thread::yield_now();
        }
        let _other_tests_may_use_it = self.0.parent().map(fs::remove_dir);
    }
}

fn sleeper() -> Child {
    #[expect(clippy::disallowed_methods, reason = "the test starts a process, the agent does not")]
    Command::new("sleep").arg("600").spawn().unwrap()
}

/// Takes turns until a container is there, or is not.
async fn turns(discovery: &mut Discovery, publisher: &Publisher, id: &str, is_there: bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while one(&publisher.borrow(), id).is_some() != is_there {
        assert!(Instant::now() < until, "{id} there: {}", !is_there);
        discovery.turn(Instant::now(), publisher);
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_end_of_a_process_is_told_after_another_walk_too() {
    let own = id(0xbeef_0003);
    let Some(group) = Group::new(&own) else {
        return eprintln!("skipped: there is no unified hierarchy that can be written to");
    };
    let mut child = sleeper();
    group.take(&child);
    let (publisher, _directory) = Directory::new();
    let tree = Tree::new(followed(&Roots::default()).unwrap(), 10_000).unwrap();
    let mut discovery = Discovery::new(Limits::default(), &Roots::default(), tree, Vec::new());
    discovery.walk(Instant::now());
    turns(&mut discovery, &publisher, &own, true).await;
    discovery.walk(Instant::now());
    child.kill().unwrap();
    child.wait().unwrap();
    // Neither a patrol nor a walk comes by.
    discovery.next_patrol = Instant::now() + WALK;
    turns(&mut discovery, &publisher, &own, false).await;
}

#[tokio::test]
async fn the_kernel_tells_of_real_containers() {
    let own = id(0xbeef_0001);
    let Some(group) = Group::new(&own) else {
        return eprintln!("skipped: there is no unified hierarchy that can be written to");
    };
    let mut followed = Followed::of(Roots::default(), Limits::default(), Vec::new());
    // In a group that is there already, a process comes and goes: that is told by the group's own file.
    followed.until("what is there", |now| one(now, &own).is_none()).await;
    for _ in 0..2 {
        let mut child = sleeper();
        let born = Instant::now();
        group.take(&child);
        let found = followed.of_id(&own).await;
        eprintln!("a start was seen within {:?}", born.elapsed());
        assert_eq!(found.process.map(|process| process.pid), Some(child.id()));
        assert_eq!(found.host_network, Some(true));
        let died = Instant::now();
        child.kill().unwrap();
        child.wait().unwrap();
        followed.until("its end", |now| one(now, &own).is_none()).await;
        eprintln!("a stop was seen within {:?}", died.elapsed());
    }
    // A group that comes with its process, and goes.
    let other = id(0xbeef_0002);
    let later = Group::new(&other).unwrap();
    let mut child = sleeper();
    later.take(&child);
    let found = followed.of_id(&other).await;
    assert_eq!(found.cgroup_id, Some(std::os::unix::fs::MetadataExt::ino(&fs::metadata(&later.0).unwrap())));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(later);
    followed.until("its end", |now| one(now, &other).is_none()).await;
}
