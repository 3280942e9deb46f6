//! The few calls without a safe crate.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::{ForkResult, Pid},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Gives freed memory back to the kernel. Loading programs takes megabytes that are never needed again.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions; it only returns unused pages of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has the kernel kill a program that is about to be started once the thread that starts it ends: whoever is to end the
/// program may be ended first.
pub(crate) fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, set_parent_process_death_signal};

    let ask = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: between fork and exec it makes one system call, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(ask);
    }
}

/// Opens a directory of a kernfs tree (cgroup2) by the 64-bit identity that the kernel gives its nodes, as
/// `open_by_handle_at` does: no path is searched, and one that was removed is `ESTALE`.
pub(crate) fn open_by_identity(tree: BorrowedFd<'_>, identity: u64) -> io::Result<OwnedFd> {
    /// `struct file_handle` with the handle of a kernfs node (`FILEID_KERNFS`).
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        node: [u8; 8],
    }
    let mut handle = Handle { bytes: 8, kind: 0xfe, node: identity.to_ne_bytes() };
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the handle has the layout of the C struct with eight bytes of payload, and outlives the call.
    let fd = unsafe { libc::open_by_handle_at(tree.as_raw_fd(), (&raw mut handle).cast(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

const BPF_OBJ_PIN: i32 = 6;
const BPF_LINK_CREATE: i32 = 28;
const BPF_TRACE_ITER: u32 = 28;
/// `BPF_CGROUP_ITER_DESCENDANTS_PRE`
const DESCENDANTS: u32 = 2;

/// `bpf_iter_link_info.cgroup`
#[repr(C)]
struct Over {
    order: u32,
    cgroup_fd: u32,
    cgroup_id: u64,
}

/// `bpf_attr.link_create` of an iterator.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    unused: u32,
}

/// `bpf_attr` of `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjectPin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Attaches an iterator over a control group and all below it. aya has no way to say over which.
pub(crate) fn iterate_cgroups(program: impl AsFd, root: impl AsFd) -> io::Result<OwnedFd> {
    let over = Over { order: DESCENDANTS, cgroup_fd: number(&root), cgroup_id: 0 };
    let request = LinkCreate {
        prog_fd: number(&program),
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        iter_info: (&raw const over).addr() as u64,
        iter_info_len: u32::try_from(size_of::<Over>()).unwrap_or(0),
        unused: 0,
    };
    // SAFETY: the request is of the kind that the command takes, and what it points to lives until the end.
    let link =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const request, size_of_val(&request)) };
    let link = i32::try_from(link).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Pins a BPF object that aya does not know.
pub(crate) fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let request = ObjectPin { path: path.as_ptr().addr() as u64, fd: number(&object), flags: 0 };
    // SAFETY: as above.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, &raw const request, size_of_val(&request)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

/// A descriptor for which the runtime can wait until it is ready for something. Only inside a runtime.
pub(crate) fn awaitable(descriptor: OwnedFd, what: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is open, and the same one, for as long as its owner lives.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, what) };
    registered.map_err(Into::into)
}

/// Makes a copy of this process, which has one thread: the one that calls. None is returned in the copy.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: callers are processes of one thread, or leave by `execve` or `_exit` with nothing but system calls.
    let forked = unsafe { nix::unistd::fork() }?;
    Ok(match forked {
        ForkResult::Parent { child } => Some(child),
        ForkResult::Child => None,
    })
}

/// The same, as a child of this process's own parent, which is the one that waits for it. Only for processes of one
/// thread.
pub(crate) fn fork_sibling() -> io::Result<Option<Pid>> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without a stack of its own the copy goes on on a copy of this one, as after `fork`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Some(Pid::from_raw(pid))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process on the spot: nothing that it shares with the one it was copied from is flushed or freed.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: it has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Makes `number` another name of an open descriptor, which a program that is executed next inherits.
pub(crate) fn place(descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: callers name numbers that nothing in this process owns.
    let placed = unsafe { libc::dup2(descriptor.as_raw_fd(), number) };
    if placed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes a descriptor that whoever executed this program left under this number. None when there is none.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: asking for the flags of a number has no effect.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: it is open, and called first of all in `main`, before anything else opens or owns descriptors.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor but these, which are to be in ascending order. What owned them must never be dropped:
/// this is for processes that end by [`leave`].
pub(crate) fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut first = 0;
    for next in kept.iter().copied().chain([RawFd::MAX]) {
        if next > first {
            close_range(first, next - 1)?;
        }
        first = next.saturating_add(1);
    }
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: see `close_all_but`.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(error);
    }
    // Before Linux 5.9. The limit is the most that can be open: it is lowered afterwards.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let last = last.min(RawFd::try_from(most).unwrap_or(1 << 20));
    for number in first..=last {
        // SAFETY: as above.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Rights of Landlock's first version on files: everything that there is but reading files and folders.
static CHANGES: u64 = 0x1fff & !(1 << 2) & !(1 << 3);

/// From now on this process changes no file, whoever it belongs to, and executes none. Before Linux 5.13, or where it
/// is off, nothing happens.
pub(crate) fn forbid_changes() -> io::Result<()> {
    // SAFETY: the attributes are one number, which outlives the call.
    let rules = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const CHANGES, size_of_val(&CHANGES), 0)
    };
    let rules = match i32::try_from(rules) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(rules) if rules >= 0 => unsafe { OwnedFd::from_raw_fd(rules) },
        _ => {
            let error = io::Error::last_os_error();
            let is_missing = matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP));
            return if is_missing { Ok(()) } else { Err(error) };
        }
    };
    // SAFETY: the set has no rules, so nothing of what it handles is allowed.
    let restricted = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    if restricted == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
