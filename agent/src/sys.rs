//! The few C library calls without a safe crate.

/// Gives freed memory back to the kernel. Loading programs takes megabytes that are never needed again.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions; it only returns unused pages of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}
