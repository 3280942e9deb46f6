//! A target's first process, looked at from outside.

use std::{fs::File, io::Read, os::fd::OwnedFd, str::FromStr};

use rustix::{
    fs::{Gid, Mode, OFlags, Uid, openat},
    io::Errno,
};

use super::{enter::failed, frames::Refusal, orders::Expected};

/// The longest of the files that are read here: `cgroup` has a path for each hierarchy.
const LONGEST: u64 = 64 << 10;
/// Groups that a process may have by the kernel's own bound.
const MOST_GROUPS: usize = 65536;
/// Nobody.
const NOBODY: u32 = 65534;

/// Whose rights a helper has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: Uid,
    pub(super) group: Gid,
    pub(super) groups: Vec<Gid>,
}

impl Identity {
    /// That of nobody.
    pub(super) fn nobody() -> Self {
        Self { user: Uid::from_raw(NOBODY), group: Gid::from_raw(NOBODY), groups: Vec::new() }
    }

    /// As `/proc/PID/status` has it: the effective ones.
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let numbers =
            |text: &str| text.split_ascii_whitespace().map(u32::from_str).collect::<Result<Vec<_>, _>>();
        let effective = |name: &str| numbers(field(name)?).ok()?.get(1).copied();
        let groups = numbers(field("Groups:")?).ok().filter(|groups| groups.len() <= MOST_GROUPS)?;
        Some(Self {
            user: Uid::from_raw(effective("Uid:")?),
            group: Gid::from_raw(effective("Gid:")?),
            groups: groups.into_iter().map(Gid::from_raw).collect(),
        })
    }
}

/// A process by its directory in /proc, which never becomes another one's.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) directory: OwnedFd,
}

impl Process {
    pub(super) fn open(proc: &OwnedFd, pid: u32) -> Result<Self, Refusal> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(proc, pid.to_string(), flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::SRCH) => Err(Refusal::NoTarget(format!("there is no process {pid}"))),
            directory => Ok(Self { directory: directory.map_err(failed("/proc"))? }),
        }
    }

    /// Whether it is the one that the agent means.
    pub(super) fn expect(&self, expected: &Expected) -> Result<(), Refusal> {
        let stat = self.read("stat")?;
        let started = started(&stat).ok_or_else(|| Refusal::Enter("its stat has no start".to_owned()))?;
        if started != expected.started {
            return Err(Refusal::NoTarget(format!("process {} is another one by now", expected.pid)));
        }
        if !is_in(&self.read("cgroup")?, &expected.cgroup) {
            return Err(Refusal::Enter(format!("it is not in the control group {}", expected.cgroup)));
        }
        Ok(())
    }

    /// Its `/`.
    pub(super) fn root(&self) -> Result<OwnedFd, Refusal> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.directory, "root", flags, Mode::empty()).map_err(ended_or("root"))
    }

    /// Its user and its groups.
    pub(super) fn identity(&self) -> Result<Identity, Refusal> {
        let status = self.read("status")?;
        Identity::parse(&status).ok_or_else(|| Refusal::Enter("its status has no user".to_owned()))
    }

    fn read(&self, file: &str) -> Result<String, Refusal> {
        let opened = openat(&self.directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let mut content = Vec::new();
        let read = File::from(opened.map_err(ended_or(file))?).take(LONGEST).read_to_end(&mut content);
        read.map_err(|error| ended_or(file)(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }
}

/// Says which step failed. A process that ends takes its files along, one by one.
pub(super) fn ended_or(what: &str) -> impl Fn(Errno) -> Refusal {
    move |error| match error {
        Errno::NOENT | Errno::SRCH => Refusal::NoTarget("its process has ended".to_owned()),
        error => failed(what)(error),
    }
}

/// Field 22 of `/proc/PID/stat`. The name before may have anything in it, brackets included.
fn started(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether the content of `/proc/PID/cgroup` has a path that is this one or below it.
fn is_in(content: &str, cgroup: &str) -> bool {
    cgroup.is_empty()
        || content.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| is_at(path, cgroup))
}

fn is_at(path: &str, cgroup: &str) -> bool {
    let path = path.trim_start_matches('/');
    let inside = path.trim_start_matches("../");
    // Seen from a control group namespace, it begins where the two of them part.
    let is_relative = inside.len() < path.len();
    let mut rest = Some(inside).filter(|inside| !inside.is_empty());
    while let Some(path) = rest {
        match cgroup.strip_suffix(path) {
            Some("") => return true,
            Some(above) if is_relative && above.ends_with('/') => return true,
            _ => rest = path.rsplit_once('/').map(|(above, _)| above),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let fields: Vec<String> = (3..=52).map(|field| (field * 10).to_string()).collect();
        let stat = format!("12 (a) b) 1 2 (c)) {}", fields.join(" "));
        assert_eq!(started(&stat), Some(220));
        assert_eq!(started("12 (x) S 1"), None);
        assert_eq!(started(""), None);
    }

    #[test]
    fn a_control_group_is_the_same_or_below() {
        let content = "4:memory:/kubepods/a/b\n0::/kubepods/a/b/init.scope\n";
        assert!(is_in(content, "kubepods/a/b") && is_in(content, "kubepods/a/b/init.scope"));
        assert!(!is_in(content, "kubepods/a/bb") && !is_in(content, "a/b") && !is_in(content, "kubepods/a/"));
        assert!(is_in(content, ""), "nothing is known of it");
        let seen_from_a_namespace = "0::/../../pod2/id/init.scope\n";
        assert!(is_in(seen_from_a_namespace, "kubepods/pod2/id"));
        for other in ["kubepods/pod3/id", "kubepods/pod2/idx", "kubepods/pod2/d", "kubepods/pod22/id", "id/x"]
        {
            assert!(!is_in(seen_from_a_namespace, other), "{other}");
        }
        assert!(!is_in("0::/\n", "kubepods/x") && !is_in("0::/..\n", "kubepods/x") && !is_in("", "x"));
    }

    #[test]
    fn rights_are_the_effective_ones() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n";
        let identity = Identity::parse(status).unwrap();
        let groups: Vec<u32> = identity.groups.iter().map(|group| group.as_raw()).collect();
        assert_eq!((identity.user.as_raw(), identity.group.as_raw(), groups), (2, 6, vec![9, 10]));
        assert_eq!(Identity::parse("Uid:\t1\nGid:\t1\t1\nGroups:\t\n"), None);
        assert_eq!(Identity::parse("Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\tx\n"), None);
    }
}
