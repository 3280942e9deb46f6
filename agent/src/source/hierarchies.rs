//! Where the hierarchies of control groups are mounted, which controllers each has, and how control groups in them
//! are spelt.

use std::{
    ffi::OsStr,
    fmt::Write,
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use crate::source::{Roots, SourceError, mountinfo};

/// What a hierarchy is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its root, as this process reaches it.
    pub(crate) dir: PathBuf,
    /// One for version 2; of version 1 those that are mounted together.
    pub(crate) controllers: Vec<Controller>,
}

/// The hierarchies of the host, the unified one first: where both versions know a figure, that of the
/// controller's own hierarchy is read last and holds.
pub(crate) fn find(roots: &Roots) -> Result<Vec<Hierarchy>, SourceError> {
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

/// The path of a control group as text. Bytes that are none are spelt out: replaced, two names might become one.
pub(crate) fn label(path: &[u8]) -> Box<[u8]> {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _always_room = write!(text, "\\x{byte:02x}");
        }
    }
    text.into_bytes().into_boxed_slice()
}

/// The directories in a directory, by name. One whose link count says that it has none is not listed.
pub(crate) fn directories(dir: &Path) -> Vec<Vec<u8>> {
    if fs::metadata(dir).is_ok_and(|about| about.nlink() == 2) {
        return Vec::new();
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().into_vec())
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mountinfo: &str) -> Vec<(String, Vec<Controller>)> {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("proc/1")).unwrap();
        fs::write(tree.path().join("proc/1/mountinfo"), mountinfo).unwrap();
        let below = |dir: &Path| dir.strip_prefix(tree.path()).unwrap().to_str().unwrap().to_owned();
        let found = find(&Roots::under(tree.path())).unwrap();
        found.into_iter().map(|h| (below(&h.dir), h.controllers)).collect()
    }

    #[test]
    fn labels_are_text() {
        assert_eq!(*label(b"/a b/c\"d\n"), *b"/a b/c\"d\n");
        assert_eq!(*label(b"/\xff\xc3\xbc\xc3"), *"/\\xffü\\xc3".as_bytes());
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
