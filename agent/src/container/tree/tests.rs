//! Trees of plain directories, which tell of their changes as hierarchies do, and a real one.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// A host with a unified hierarchy, and perhaps one of version 1.
fn host(is_hybrid: bool) -> (tempfile::TempDir, Vec<Hierarchy>) {
    let dir = tempfile::tempdir().unwrap();
    let first = "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    let unified = "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    fs::create_dir_all(dir.path().join("proc/1")).unwrap();
    fs::create_dir_all(dir.path().join("sys/fs/cgroup/unified")).unwrap();
    fs::create_dir_all(dir.path().join("sys/fs/cgroup/memory")).unwrap();
    let mounts = if is_hybrid { format!("{first}{unified}") } else { unified.to_owned() };
    fs::write(dir.path().join("proc/1/mountinfo"), mounts).unwrap();
    let found = followed(&Roots::under(dir.path())).unwrap();
    (dir, found)
}

/// What changes until there is a change of this group.
async fn changes(tree: &mut Tree, until: &str) -> Vec<String> {
    let mut changed = BTreeSet::new();
    let wait = async {
        while !changed.iter().any(|group: &Group| **group == *until.as_bytes()) {
            tree.ready().await.unwrap();
            assert!(tree.take(&mut changed));
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect(until);
    changed.iter().map(|group| String::from_utf8_lossy(group).into_owned()).collect()
}

#[tokio::test]
async fn births_and_deaths_are_told_wherever_they_are() {
    let (dir, hierarchies) = host(false);
    let unified = dir.path().join("sys/fs/cgroup/unified");
    fs::create_dir_all(unified.join("a/b")).unwrap();
    let mut tree = Tree::new(hierarchies, 100).unwrap();
    let mut changed = BTreeSet::new();
    tree.walk_all(&mut changed);
    let all: Vec<_> = changed.iter().map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    assert_eq!(all, ["", "a", "a/b"]);
    assert_eq!(tree.watches(), 3);
    fs::create_dir_all(unified.join("a/b/c/d")).unwrap();
    let told = changes(&mut tree, "a/b/c/d").await;
    assert!(told.contains(&"a/b/c".to_owned()), "{told:?}");
    assert!(!tree.identities(b"a/b/c/d").is_gone());
    fs::remove_dir(unified.join("a/b/c/d")).unwrap();
    changes(&mut tree, "a/b/c/d").await;
    assert!(tree.identities(b"a/b/c/d").is_gone());
    let mut nothing = BTreeSet::new();
    assert!(tree.take(&mut nothing) && nothing.is_empty());
}

#[tokio::test]
async fn a_hybrid_host_is_followed_in_both_versions() {
    let (dir, hierarchies) = host(true);
    assert_eq!(hierarchies.len(), 2);
    let mut tree = Tree::new(hierarchies, 100).unwrap();
    tree.walk_all(&mut BTreeSet::new());
    let first = dir.path().join("sys/fs/cgroup/memory/docker");
    fs::create_dir(&first).unwrap();
    changes(&mut tree, "docker").await;
    let early = tree.identities(b"docker");
    assert!(!early.is_gone() && early.unified == 0);
    fs::create_dir(dir.path().join("sys/fs/cgroup/unified/docker")).unwrap();
    changes(&mut tree, "docker").await;
    let both = tree.identities(b"docker");
    assert!(both.unified != 0 && !both.is_other(early), "it came later in one of them");
    fs::write(first.join("cgroup.procs"), "7\n0\nx\n8\n").unwrap();
    let members = tree.members(b"docker", |_| false);
    assert_eq!((members.pids, members.hidden), (vec![7, 8], 1));
}

#[tokio::test]
async fn processes_below_a_container_are_its_own_but_for_those_of_others() {
    let (dir, hierarchies) = host(false);
    let group = dir.path().join("sys/fs/cgroup/unified/c");
    for (below, pids) in [("", "1\n"), ("init.scope", "2\n"), ("inner/deep", "3\n")] {
        fs::create_dir_all(group.join(below)).unwrap();
        fs::write(group.join(below).join("cgroup.procs"), pids).unwrap();
    }
    let tree = Tree::new(hierarchies, 100).unwrap();
    assert_eq!(tree.members(b"c", |_| false).pids, [1, 2, 3]);
    assert_eq!(tree.members(b"c", |group| group == b"c/inner").pids, [1, 2]);
}

#[tokio::test]
async fn watches_have_a_limit_and_what_is_past_it_is_counted() {
    let (dir, hierarchies) = host(false);
    for name in ["a", "b", "c", "d"] {
        fs::create_dir(dir.path().join("sys/fs/cgroup/unified").join(name)).unwrap();
    }
    let mut tree = Tree::new(hierarchies, 3).unwrap();
    let mut changed = BTreeSet::new();
    tree.walk_all(&mut changed);
    assert_eq!((tree.watches(), tree.unwatched, changed.len()), (3, 2, 5));
    tree.walk_all(&mut changed);
    assert_eq!(tree.unwatched, 2, "since the last walk");
}

#[tokio::test]
async fn a_directory_that_is_moved_has_everything_walked() {
    let (dir, hierarchies) = host(false);
    let unified = dir.path().join("sys/fs/cgroup/unified");
    fs::create_dir_all(unified.join("a/b")).unwrap();
    let mut tree = Tree::new(hierarchies, 100).unwrap();
    tree.walk_all(&mut BTreeSet::new());
    fs::rename(unified.join("a"), unified.join("z")).unwrap();
    tree.ready().await.unwrap();
    let mut changed = BTreeSet::new();
    while tree.take(&mut changed) {
        tree.ready().await.unwrap();
    }
    tree.walk_all(&mut changed);
    fs::create_dir(unified.join("z/b/c")).unwrap();
    changes(&mut tree, "z/b/c").await;
}

#[tokio::test]
async fn more_events_than_the_kernel_keeps_are_noticed() {
    let (dir, hierarchies) = host(false);
    let unified = dir.path().join("sys/fs/cgroup/unified");
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").ok();
    let most: usize = most.and_then(|text| text.trim().parse().ok()).unwrap_or(16_384);
    if most > 50_000 {
        return eprintln!("skipped: the kernel keeps {most} events");
    }
    let mut tree = Tree::new(hierarchies, 100).unwrap();
    tree.walk_all(&mut BTreeSet::new());
    for at in 0..=most / 2 {
        let name = unified.join(format!("g{}", at % 2));
        fs::create_dir(&name).unwrap();
        fs::remove_dir(&name).unwrap();
    }
    tree.ready().await.unwrap();
    assert!(!tree.take(&mut BTreeSet::new()));
    assert_eq!(tree.overflows, 1);
}
