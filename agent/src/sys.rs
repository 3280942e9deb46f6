//! The few C library calls without a safe crate.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Gives freed memory back to the kernel. Loading programs takes megabytes that are never needed again.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions; it only returns unused pages of the allocator.
    unsafe {
        libc::malloc_trim(0);
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
