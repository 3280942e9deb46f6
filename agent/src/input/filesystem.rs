//! Mounted file systems: their size, what is free, and whether they answer at all.

mod prober;

use std::{
    ffi::{CString, OsStr},
    fmt::Write,
    io::ErrorKind,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use self::prober::{Answer, Prober, STUCK, Stat, TIMED_OUT, Target, ask};
use super::{CollectContext, Input, InputDef, InputError, Pattern};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, OptionDef, OptionValue, Source, Unit},
    source::{Content, File, Roots, SourceError, mountinfo},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "filesystem",
    about: "Space and inodes of every mounted file system; one that hangs costs only its own series.",
    prefix: "node_",
    source: Source::Files(&["proc:1/mountinfo", "proc:self/mountinfo"]),
    cost: "one file, and a system call per mount that is not excluded; network and FUSE mounts are asked from \
        a second thread, and at most 16 threads are ever left waiting for mounts that hang",
    metrics: &[&AVAIL, &DEVICE_ERROR, &FILES, &FILES_FREE, &FREE, &MOUNT_INFO, &PURGEABLE, &READONLY, &SIZE],
    options: &[
        OptionDef {
            key: "mount_points_exclude",
            default: OptionValue::Regex(MOUNT_POINTS),
            help: "Mount points to leave out.",
        },
        OptionDef {
            key: "fs_types_exclude",
            default: OptionValue::Regex(FS_TYPES),
            help: "Types of file systems to leave out.",
        },
    ],
    open: |cx| {
        let points = cx.options.pattern("mount_points_exclude");
        let types = cx.options.pattern("fs_types_exclude");
        Ok(Box::new(Filesystem::new(cx.roots).without(points, types)))
    },
};

/// What existing dashboards do not expect to see.
const MOUNT_POINTS: &str =
    "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";
const FS_TYPES: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs\
    |iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs\
    |tracefs)$";

/// File systems that answer from memory. All others may wait for a server, a daemon or a failed device.
pub(super) const PROMPT: &[&[u8]] = &[
    b"bpf",
    b"btrfs",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"devpts",
    b"devtmpfs",
    b"erofs",
    b"exfat",
    b"ext2",
    b"ext3",
    b"ext4",
    b"f2fs",
    b"hugetlbfs",
    b"iso9660",
    b"mqueue",
    b"nsfs",
    b"overlay",
    b"proc",
    b"pstore",
    b"ramfs",
    b"rootfs",
    b"securityfs",
    b"squashfs",
    b"sysfs",
    b"tmpfs",
    b"tracefs",
    b"vfat",
    b"xfs",
];

/// Held back from the deadline, for what remains to be done once the last mount was waited for.
const MARGIN: Duration = Duration::from_millis(20);

const LABELS: &[Label] = &[
    Label::bounded("device", 1),
    Label::bounded("mountpoint", 1000),
    Label::bounded("fstype", 1),
    Label::bounded("device_error", 1),
];
const MOUNT_LABELS: &[Label] = &[
    Label::bounded("device", 1),
    Label::bounded("major", 1),
    Label::bounded("minor", 1),
    Label::bounded("mountpoint", 1000),
];

static AVAIL: Metric =
    Metric::gauge("filesystem_avail_bytes", "Space that an ordinary user may still fill.", LABELS)
        .unit(Unit::Bytes);
static DEVICE_ERROR: Metric = Metric::gauge(
    "filesystem_device_error",
    "Whether the file system failed to tell its numbers, or to answer in time.",
    LABELS,
);
static FILES: Metric = Metric::gauge("filesystem_files", "Inodes of the file system, used and free.", LABELS);
static FILES_FREE: Metric =
    Metric::gauge("filesystem_files_free", "Inodes of the file system that are free.", LABELS);
static FREE: Metric =
    Metric::gauge("filesystem_free_bytes", "Free space, with what is reserved for root.", LABELS)
        .unit(Unit::Bytes);
static MOUNT_INFO: Metric =
    Metric::info("filesystem_mount_info", "Which device, by its numbers, is mounted where.", MOUNT_LABELS);
static PURGEABLE: Metric = Metric::gauge(
    "filesystem_purgeable_bytes",
    "Space that could be purged; Linux has no such thing, so it is always 0.",
    LABELS,
)
.unit(Unit::Bytes);
static READONLY: Metric =
    Metric::gauge("filesystem_readonly", "Whether the mount or its file system is read-only.", LABELS);
static SIZE: Metric =
    Metric::gauge("filesystem_size_bytes", "Size of the file system.", LABELS).unit(Unit::Bytes);

/// Reads `/proc/1/mountinfo` and asks every mount.
#[derive(Debug)]
pub struct Filesystem {
    table: File,
    /// Used instead once the first process's table turned out to be hidden.
    own_table: Option<File>,
    rootfs: PathBuf,
    points: Pattern,
    types: Pattern,
    /// What the table said when the mounts below were made from it.
    known: Vec<u8>,
    mounts: Vec<Mount>,
    prober: Prober,
}

/// A mount that is reported.
#[derive(Debug)]
struct Mount {
    device: Box<[u8]>,
    point: Box<[u8]>,
    fstype: Box<[u8]>,
    major: Box<[u8]>,
    minor: Box<[u8]>,
    read_only: ReadOnly,
    target: Arc<Target>,
    /// It may hang, or the way to it leads through one that may.
    may_hang: bool,
    answer: Answer,
}

/// Whether the host cannot write to a mount.
///
/// The table says it, but is not read again for a file system that turns read-only after an error: asking
/// the mount tells. A sandboxed agent may see the whole host read-only, though, so only a change counts.
#[derive(Debug)]
struct ReadOnly {
    in_table: bool,
    when_first_asked: Option<bool>,
}

impl ReadOnly {
    fn now(&mut self, asked: bool) -> bool {
        let first = *self.when_first_asked.get_or_insert(asked);
        self.in_table || asked && !first
    }
}

impl Filesystem {
    /// Of the host whose trees these are, without the mounts that are left out by default.
    pub fn new(roots: &Roots) -> Self {
        Self {
            table: roots.proc("1/mountinfo"),
            own_table: Some(roots.proc("self/mountinfo")),
            rootfs: roots.rootfs.clone(),
            points: Pattern::new(MOUNT_POINTS),
            types: Pattern::new(FS_TYPES),
            known: Vec::new(),
            mounts: Vec::new(),
            prober: Prober::new(&STUCK, ask),
        }
    }

    /// With other mount points and types left out.
    pub fn without(self, points: Pattern, types: Pattern) -> Self {
        Self { points, types, ..self }
    }

    /// Makes the list of mounts anew when the table has changed.
    fn update_mounts(&mut self) -> Result<(), SourceError> {
        // Asking whether it changed is far cheaper than reading it: the kernel walks every mount for that.
        if !self.known.is_empty() && !self.table.may_have_changed() {
            return Ok(());
        }
        let mut read = self.table.read_to_end();
        if matches!(&read, Err(SourceError::Io { error, .. }) if is_hidden(error.kind())) {
            if let Some(own) = self.own_table.take() {
                self.table = own;
            }
            read = self.table.read_to_end();
        }
        let content = read?;
        if self.known == content.bytes() {
            return Ok(());
        }
        // What was known does not outlive a table that cannot be understood.
        self.known.clear();
        self.mounts.clear();
        self.mounts = mounts(content, &self.rootfs, &self.points, &self.types)?;
        self.known.extend_from_slice(content.bytes());
        Ok(())
    }

    fn stuck(&self) -> impl Iterator<Item = (&Mount, Instant)> {
        STUCK.list().into_iter().filter_map(|stuck| {
            let mount = self.mounts.iter().find(|mount| mount.target == stuck.target)?;
            Some((mount, stuck.since))
        })
    }
}

fn is_hidden(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::PermissionDenied)
}

impl Default for Filesystem {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Filesystem {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.update_mounts()?;
        let Self { mounts, prober, .. } = self;
        let asked = mounts.iter().enumerate().filter(|(_, mount)| mount.may_hang);
        prober.begin(asked.map(|(index, mount)| (index, &mount.target)));
        // While the prober is at the doubtful ones.
        for mount in mounts.iter_mut().filter(|mount| !mount.may_hang) {
            mount.answer = ask(&mount.target);
        }
        let until = cx.deadline.checked_sub(MARGIN).unwrap_or(cx.deadline);
        prober.finish(until, |index, answer| mounts[index].answer = answer);
        for mount in mounts {
            deliver(mount, acc);
        }
        Ok(())
    }

    fn debug_info(&self) -> serde_json::Value {
        let stuck: Vec<_> = self
            .stuck()
            .map(|(mount, since)| {
                serde_json::json!({
                    "mountpoint": String::from_utf8_lossy(&mount.point),
                    "fstype": String::from_utf8_lossy(&mount.fstype),
                    "seconds": since.elapsed().as_secs(),
                })
            })
            .collect();
        serde_json::json!({
            "mounts": self.mounts.len(),
            "asked_from_a_thread": self.mounts.iter().filter(|mount| mount.may_hang).count(),
            "stuck": stuck,
            "blocked_threads": STUCK.list().len(),
        })
    }

    fn degraded(&self) -> Option<String> {
        let mut words = String::new();
        for (mount, _) in self.stuck() {
            let lead = if words.is_empty() { "no answer from" } else { "," };
            // Writing to a string does not fail.
            let _ = write!(words, "{lead} {}", String::from_utf8_lossy(&mount.point));
        }
        (!words.is_empty()).then_some(words)
    }
}

fn deliver(mount: &mut Mount, acc: &mut dyn Accumulator) {
    let error = match mount.answer {
        Answer::Stat(_) => "",
        Answer::Failed(words) => words,
    };
    let labels: &[&[u8]] = &[&mount.device, &mount.point, &mount.fstype, error.as_bytes()];
    acc.put(&DEVICE_ERROR, labels, !error.is_empty());
    let Answer::Stat(Stat { size, free, available, files, files_free, read_only }) = mount.answer else {
        acc.put(&READONLY, labels, mount.read_only.in_table);
        return;
    };
    acc.put(&READONLY, labels, mount.read_only.now(read_only));
    acc.put(&SIZE, labels, size);
    acc.put(&FREE, labels, free);
    acc.put(&AVAIL, labels, available);
    acc.put(&FILES, labels, files);
    acc.put(&FILES_FREE, labels, files_free);
    acc.put(&PURGEABLE, labels, 0.0);
    acc.put(&MOUNT_INFO, &[&mount.device, &mount.major, &mount.minor, &mount.point], 1.0);
}

/// The mounts of the table that are reported.
fn mounts(
    content: Content<'_>,
    rootfs: &Path,
    points: &Pattern,
    types: &Pattern,
) -> Result<Vec<Mount>, SourceError> {
    let mut doubtful = Vec::new();
    let mut mounts: Vec<Mount> = Vec::new();
    for line in content.lines() {
        let parsed = mountinfo::parse_line(line);
        let parsed = parsed.ok_or_else(|| content.malformed("a mount", line))?;
        let inside = mountinfo::unescape(parsed.point);
        let point = mountinfo::strip_root(&inside, rootfs);
        if !PROMPT.contains(&parsed.fstype) {
            doubtful.push(point.to_vec());
        }
        if points.matches(point) || types.matches(parsed.fstype) {
            continue;
        }
        let path = rootfs.join(Path::new(OsStr::from_bytes(point.strip_prefix(b"/").unwrap_or(point))));
        let path = CString::new(path.into_os_string().into_vec());
        let path = path.map_err(|_| content.malformed("a path", line))?;
        let mount = Mount {
            device: parsed.device.into(),
            point: point.into(),
            fstype: parsed.fstype.into(),
            major: parsed.major.into(),
            minor: parsed.minor.into(),
            read_only: ReadOnly { in_table: parsed.read_only, when_first_asked: None },
            target: Arc::new(Target { id: parsed.id, path }),
            may_hang: false,
            answer: Answer::Failed(TIMED_OUT),
        };
        // Mounted over its like: only the later one can be seen, and their series would be the same.
        let same = |other: &Mount| {
            (&other.device, &other.point, &other.fstype) == (&mount.device, &mount.point, &mount.fstype)
        };
        match mounts.iter().position(same) {
            Some(covered) => mounts[covered] = mount,
            None => mounts.push(mount),
        }
    }
    for mount in &mut mounts {
        mount.may_hang = doubtful.iter().any(|point| mountinfo::is_below(&mount.point, point));
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::accumulator::MemoryAccumulator;

    /// A host's tree: its root is a directory in which `/data` exists and `/gone` does not.
    const TABLE: &str = "\
        24 29 0:22 / /sys rw - sysfs sysfs rw\n\
        29 1 259:2 / / rw,relatime shared:1 - ext4 /dev/dm-2 errors=remount-ro\n\
        40 29 0:33 / /misc rw - autofs auto rw\n\
        41 29 0:40 / /da\\040ta ro,nosuid - tmpfs tmpfs rw,size=4k\n\
        42 29 0:41 / /da\\040ta rw,nosuid - tmpfs tmpfs rw,size=8k\n\
        43 29 0:42 / /mnt/nfs rw - nfs4 server:/x rw\n\
        44 43 8:1 / /mnt/nfs/below rw - xfs /dev/sda1 rw\n\
        45 29 8:2 / /mnt/nfs2 rw - xfs /dev/sda2 ro\n";

    fn tree(table: &str) -> (tempfile::TempDir, Filesystem) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/1")).unwrap();
        fs::create_dir_all(dir.path().join("da ta")).unwrap();
        fs::write(dir.path().join("proc/1/mountinfo"), table).unwrap();
        let procfs = dir.path().join("proc");
        let roots = Roots { procfs, rootfs: dir.path().to_owned(), ..Roots::default() };
        (dir, Filesystem::new(&roots))
    }

    fn collect(input: &mut Filesystem) -> Result<MemoryAccumulator, InputError> {
        let mut acc = MemoryAccumulator::new();
        input.collect(&CollectContext::new(Duration::from_secs(5)), &mut acc)?;
        Ok(acc)
    }

    #[test]
    fn a_read_only_view_of_the_host_is_not_a_read_only_host() {
        let unknown = |in_table| ReadOnly { in_table, when_first_asked: None };
        let mut sandboxed = unknown(false);
        assert!(!sandboxed.now(true) && !sandboxed.now(true));
        let mut failing = unknown(false);
        assert!(!failing.now(false) && failing.now(true) && !failing.now(false));
        assert!(unknown(true).now(true) && unknown(true).now(false));
    }

    #[test]
    fn mounts_are_reported_under_the_names_of_the_host() {
        let (_dir, mut input) = tree(TABLE);
        let acc = collect(&mut input).unwrap();
        let root = ["/dev/dm-2", "/", "ext4", ""];
        assert_eq!(acc.number("filesystem_device_error", &root), Some(0.0));
        assert!(acc.number("filesystem_size_bytes", &root) > Some(0.0));
        assert_eq!(acc.number("filesystem_mount_info", &["/dev/dm-2", "259", "2", "/"]), Some(1.0));
        // The later of two that cover each other.
        assert_eq!(acc.number("filesystem_readonly", &["tmpfs", "/da ta", "tmpfs", ""]), Some(0.0));
        assert_eq!(acc.number("filesystem_mount_info", &["tmpfs", "0", "41", "/da ta"]), Some(1.0));
        let gone = ["/dev/sda2", "/mnt/nfs2", "xfs", "no such file or directory"];
        assert_eq!(acc.number("filesystem_device_error", &gone), Some(1.0));
        assert_eq!(acc.number("filesystem_readonly", &gone), Some(1.0));
        assert_eq!(acc.number("filesystem_size_bytes", &gone), None);
        assert!(acc.samples().iter().all(|sample| sample.labels[1].1 != "/sys"));
        assert_eq!(acc.samples().len(), 2 * 9 + 3 * 2);
    }

    #[test]
    fn what_lies_below_a_doubtful_mount_is_doubtful() {
        let (_dir, mut input) = tree(TABLE);
        collect(&mut input).unwrap();
        let doubtful: Vec<_> = input.mounts.iter().filter(|mount| mount.may_hang).collect();
        let points: Vec<&[u8]> = doubtful.iter().map(|mount| &*mount.point).collect();
        assert_eq!(points, [&b"/mnt/nfs"[..], b"/mnt/nfs/below"]);
    }

    #[test]
    fn a_changed_table_is_read_anew_and_a_wrong_one_is_an_error() {
        let (dir, mut input) = tree(TABLE);
        collect(&mut input).unwrap();
        let table = dir.path().join("proc/1/mountinfo");
        fs::write(&table, "29 1 259:2 / / ro - ext4 /dev/dm-2 rw\n").unwrap();
        assert_eq!(collect(&mut input).unwrap().samples().len(), 9);
        fs::write(&table, "29 1 259 / / ro - ext4 /dev/dm-2 rw\n").unwrap();
        for _ in 0..2 {
            assert!(matches!(collect(&mut input), Err(InputError::Source(_))));
        }
    }

    #[test]
    fn a_hidden_table_is_replaced_by_the_own_one() {
        let (dir, mut input) = tree(TABLE);
        let proc = dir.path().join("proc");
        fs::rename(proc.join("1"), proc.join("self")).unwrap();
        assert!(!collect(&mut input).unwrap().samples().is_empty());
        fs::remove_dir_all(proc.join("self")).unwrap();
        let (_dir, mut none) = tree("");
        assert!(collect(&mut none).unwrap().samples().is_empty());
    }
}
