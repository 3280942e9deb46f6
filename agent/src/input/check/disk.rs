//! Free space and inodes of the file systems that the target has mounted.

mod mounts;

use std::{io, time::Duration};

use nix::sys::{
    statfs::{Statfs, fstatfs},
    statvfs::FsFlags,
};
use serde::{Deserialize, Serialize};

use self::mounts::{Mount, Mounts};
use super::{
    EXECUTED, FAILURES, HelperError, Inside, NetworkMode, PodInput, Request, collect_here, shelf::Shelf, wire,
};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Label, Metric, OptionDef, OptionValue, Source, Unit},
    input::{CollectContext, Input, InputDef, InputError, Pattern},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "disk",
    about: "Free space and inodes of the file systems that the target has mounted.",
    prefix: "pitot_disk_",
    source: Source::Check(&CheckDef { namespaces: &[], as_target: true, executes: false }),
    cost: "one file, and three system calls for each mount that is not excluded, of 64 at the most",
    metrics: &[&EXECUTED, &FAILURES, &SIZE, &FREE, &AVAIL, &FILES, &FILES_FREE, &READONLY, &LEFT_OUT],
    options: &[
        OptionDef {
            key: "mount_points_exclude",
            default: OptionValue::Regex(MOUNT_POINTS),
            help: "Mount points to leave out, as the target calls them.",
        },
        OptionDef {
            key: "fs_types_exclude",
            default: OptionValue::Regex(FS_TYPES),
            help: "Types of file systems to leave out.",
        },
        OptionDef {
            key: "timeout",
            default: OptionValue::Duration(TIMEOUT),
            help: "How long one check may take in all; after one that took longer, file systems that may wait for a \
                   server or a daemon are not asked for a while.",
        },
    ],
    open: |cx| {
        Ok(Box::new(Disk {
            points: cx.options.pattern("mount_points_exclude"),
            types: cx.options.pattern("fs_types_exclude"),
            timeout: cx.options.duration("timeout"),
            ..Disk::default()
        }))
    },
};

const TIMEOUT: Duration = Duration::from_secs(2);

/// What runtimes mount over single files of a container, and what is not there to be filled.
const MOUNT_POINTS: &str = "^/(dev|proc|sys|etc/(hosts|hostname|resolv\\.conf)|run/(containerd|credentials)/.+\
    |(var/)?run/secrets/.+|var/lib/(docker|containerd|containers/storage|kubelet)/.+)($|/)";
/// As for the input `filesystem`, but with overlays: a container writes into its own.
const FS_TYPES: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs\
    |iso9660|mqueue|nsfs|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$";

/// A table of so many bytes has ten thousand mounts.
const LONGEST: u64 = 1 << 20;
/// Once it was too late, that many checks leave out what may hang, and twice as many the next time.
const FIRST_REST: u32 = 8;
const LONGEST_REST: u32 = 256;

const LABELS: &[Label] =
    &[Label::bounded("mountpoint", mounts::MOST), Label::bounded("device", 1), Label::bounded("fstype", 1)];

static SIZE: Metric = Metric::gauge("size_bytes", "Size of the file system.", LABELS).unit(Unit::Bytes);
static FREE: Metric =
    Metric::gauge("free_bytes", "Free space, with what is reserved for root.", LABELS).unit(Unit::Bytes);
static AVAIL: Metric =
    Metric::gauge("avail_bytes", "Space that an ordinary user may still fill.", LABELS).unit(Unit::Bytes);
static FILES: Metric = Metric::gauge("files", "Inodes of the file system, used and free.", LABELS);
static FILES_FREE: Metric = Metric::gauge("files_free", "Inodes of the file system that are free.", LABELS);
static READONLY: Metric =
    Metric::gauge("readonly", "Whether the mount or its file system is read-only.", LABELS);
static LEFT_OUT: Metric = Metric::gauge(
    "left_out",
    "Mounts that are not excluded and yet not reported, by why.",
    &[Label::fixed("reason", REASONS)],
);

/// Why a mount has no numbers: `hidden` below another one, `hangs` if it may do so and a check took too long before.
const REASONS: &[&str] = &[
    "past_bound",
    "hidden",
    "name",
    "hangs",
    "denied",
    "missing",
    "stale",
    "not_connected",
    "io",
    "timeout",
    "other",
];

/// The check.
#[derive(Debug)]
pub struct Disk {
    points: Pattern,
    types: Pattern,
    timeout: Duration,
    /// Checks to come that ask nobody who may hang.
    rest: u32,
    /// How long the next such time is.
    next_rest: u32,
}

/// What the helper is told.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    points: String,
    types: String,
    prompt_only: bool,
}

/// Excluded mount points and types by the body of their request.
static PREPARED: Shelf<(Vec<u8>, [Pattern; 2])> = Shelf::new();

impl Default for Disk {
    fn default() -> Self {
        Self {
            points: Pattern::new(MOUNT_POINTS),
            types: Pattern::new(FS_TYPES),
            timeout: TIMEOUT,
            rest: 0,
            next_rest: FIRST_REST,
        }
    }
}

impl Input for Disk {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        collect_here(self, cx, acc)
    }

    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for Disk {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        let settings = Settings {
            points: self.points.as_str().to_owned(),
            types: self.types.as_str().to_owned(),
            prompt_only: self.rest > 0,
        };
        Request::new(&DEF, &settings, self.timeout)
    }

    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError> {
        let Settings { points, types, prompt_only } = Request::settings(body)?;
        let table = inside.process.read("mountinfo", LONGEST).map_err(InputError::other)?;
        let known = PREPARED.take(|(known, _)| known == body).map(|(_, excluded)| excluded);
        let excluded = known.unwrap_or_else(|| [Pattern::new(&points), Pattern::new(&types)]);
        let mounts = Mounts::of(&table, &excluded).map_err(InputError::other)?;
        PREPARED.put((body.to_vec(), excluded));
        report(&mounts, inside, prompt_only, response).map_err(InputError::other)
    }

    fn process_response(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), HelperError> {
        wire::deliver(&DEF, response, acc)?;
        acc.put(&EXECUTED, &[], true);
        match self.rest.checked_sub(1) {
            Some(rest) => self.rest = rest,
            None => self.next_rest = FIRST_REST,
        }
        Ok(())
    }

    fn generate_error_metrics(&mut self, error: &HelperError, acc: &mut dyn Accumulator) {
        // A call on a dead server cannot be taken back: the helper is gone with all its numbers. Who is alone to
        // blame is not known, so all that may hang are left out, which leaves the others their numbers.
        // As long as a call hangs, the next attempt is refused before it makes another one that does.
        if matches!(error, HelperError::Timeout(_) | HelperError::Stuck) && self.rest == 0 {
            self.rest = self.next_rest;
            self.next_rest = LONGEST_REST.min(self.next_rest * 2);
        }
        acc.put(&EXECUTED, &[], false);
    }
}

fn report(
    mounts: &Mounts,
    inside: &Inside,
    prompt_only: bool,
    response: &mut wire::Response,
) -> Result<(), wire::WireError> {
    let mut left_out = [0_u32; REASONS.len()];
    let mut leave_out = |reason: &str, count: u32| {
        let at = REASONS.iter().position(|known| *known == reason).unwrap_or(REASONS.len() - 1);
        left_out[at] += count;
    };
    leave_out("past_bound", mounts.past_bound);
    leave_out("hidden", mounts.hidden);
    leave_out("name", mounts.unnamed);
    for mount in &mounts.list {
        if prompt_only && mount.may_hang {
            leave_out("hangs", 1);
            continue;
        }
        match ask(mount, inside) {
            Ok(Some(stat)) => put(mount, &stat, response)?,
            Ok(None) => leave_out("hidden", 1),
            Err(error) => leave_out(kind(&error), 1),
        }
    }
    for (reason, count) in REASONS.iter().zip(left_out) {
        response.put(&DEF, &LEFT_OUT, &[reason.as_bytes()], f64::from(count))?;
    }
    Ok(())
}

/// What the file system says, if the mount is what is seen at its place.
fn ask(mount: &Mount, inside: &Inside) -> io::Result<Option<Statfs>> {
    let found = inside.root.find(&mount.point)?;
    if mounts::number_of(&found).is_some_and(|number| number != mount.id) {
        return Ok(None);
    }
    Ok(Some(fstatfs(&found)?))
}

fn put(mount: &Mount, stat: &Statfs, response: &mut wire::Response) -> Result<(), wire::WireError> {
    let block = stat.block_size() as f64;
    let read_only = mount.read_only || stat.flags().contains(FsFlags::ST_RDONLY);
    let labels = [mount.point.as_bytes(), mount.device.as_bytes(), mount.fstype.as_bytes()];
    let values = [
        (&SIZE, stat.blocks() as f64 * block),
        (&FREE, stat.blocks_free() as f64 * block),
        (&AVAIL, stat.blocks_available() as f64 * block),
        (&FILES, stat.files() as f64),
        (&FILES_FREE, stat.files_free() as f64),
        (&READONLY, f64::from(u8::from(read_only))),
    ];
    values.into_iter().try_for_each(|(metric, value)| response.put(&DEF, metric, &labels, value))
}

fn kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "denied",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "missing",
        io::ErrorKind::StaleNetworkFileHandle => "stale",
        io::ErrorKind::NotConnected => "not_connected",
        io::ErrorKind::TimedOut => "timeout",
        _ if error.raw_os_error() == Some(libc::EIO) => "io",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
