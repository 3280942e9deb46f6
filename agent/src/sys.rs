//! The few calls without a safe crate.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use tokio::io::unix::AsyncFd;

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

/// A descriptor that the runtime can wait for. Only inside a runtime.
pub(crate) fn awaitable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is open, and the same one, for as long as its owner lives.
    let registered = unsafe { AsyncFd::register(descriptor) };
    registered.map_err(Into::into)
}
