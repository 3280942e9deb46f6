//! Where the hierarchies of control groups are mounted, and which controllers each has.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::source::{Roots, SourceError, mountinfo};

/// What a hierarchy is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    /// The one hierarchy of version 2, with whatever controllers it has.
    Unified,
    Memory,
    Cpu,
    Cpuacct,
    Pids,
    Blkio,
}

/// The controllers of version 1 that are read, by the names of their mount options.
const FIRST_VERSION: [(&[u8], Controller); 5] = [
    (b"memory", Controller::Memory),
    (b"cpu", Controller::Cpu),
    (b"cpuacct", Controller::Cpuacct),
    (b"pids", Controller::Pids),
    (b"blkio", Controller::Blkio),
];

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Its root, as this process reaches it.
    pub(super) dir: PathBuf,
    /// One for version 2; of version 1 those that are mounted together.
    pub(super) controllers: Vec<Controller>,
}

/// The hierarchies of the host, the unified one first: where both versions know a figure, that of the
/// controller's own hierarchy is read last and holds.
pub(super) fn find(roots: &Roots) -> Result<Vec<Hierarchy>, SourceError> {
    let mut table = roots.proc("1/mountinfo");
    if let Err(SourceError::Io { .. }) = table.read_to_end() {
        table = roots.proc("self/mountinfo");
    }
    let content = table.read_to_end()?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in content.lines() {
        let line = mountinfo::parse_line(line).ok_or_else(|| content.malformed("a mount", line))?;
        let controllers = controllers(&line);
        // A container's own part of a hierarchy, and a second mount of what is known.
        let known = found.iter().any(|hierarchy| hierarchy.controllers == controllers);
        if controllers.is_empty() || line.root != b"/" || known {
            continue;
        }
        found.push(Hierarchy { dir: reachable(&mountinfo::unescape(line.point), roots), controllers });
    }
    found.sort_by_key(|hierarchy| hierarchy.controllers != [Controller::Unified]);
    Ok(found)
}

fn controllers(line: &mountinfo::Line<'_>) -> Vec<Controller> {
    match line.fstype {
        b"cgroup2" => vec![Controller::Unified],
        b"cgroup" => {
            let named = |option| FIRST_VERSION.iter().find(|(name, _)| *name == option);
            line.super_options.split(|&b| b == b',').filter_map(named).map(|(_, one)| *one).collect()
        }
        _ => Vec::new(),
    }
}

/// A mount point of the host, below the tree that stands for the host's.
fn reachable(point: &[u8], roots: &Roots) -> PathBuf {
    let point = Path::new(OsStr::from_bytes(mountinfo::strip_root(point, &roots.rootfs)));
    match point.strip_prefix("/sys") {
        Ok(below) => roots.sysfs.join(below),
        Err(_) => roots.root(point),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::Tree;

    fn found(mountinfo: &str) -> Vec<(String, Vec<Controller>)> {
        let tree = Tree::new(&[("proc/1/mountinfo", mountinfo)]);
        let below = |dir: &Path| dir.strip_prefix(tree.path()).unwrap().to_str().unwrap().to_owned();
        find(&tree.roots()).unwrap().into_iter().map(|h| (below(&h.dir), h.controllers)).collect()
    }

    #[test]
    fn the_unified_hierarchy_is_found_where_it_is_mounted() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
                      31 23 0:26 /a /var/lib/c/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                      32 23 0:26 / /mnt/again rw - cgroup2 cgroup2 rw\n";
        assert_eq!(found(mounts), [("sys/fs/cgroup".into(), vec![Controller::Unified])]);
    }

    #[test]
    fn controllers_of_version_1_may_share_a_mount_and_others_are_left_out() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 31 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
                      34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                      35 31 0:32 / /cg/mem\\040ory rw - cgroup cgroup rw,memory\n\
                      36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            found(mounts),
            [
                ("sys/fs/cgroup/unified".into(), vec![Controller::Unified]),
                ("sys/fs/cgroup/cpu,cpuacct".into(), vec![Controller::Cpu, Controller::Cpuacct]),
                ("cg/mem ory".into(), vec![Controller::Memory]),
            ]
        );
    }
}
