// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Iterators: programs that run when their file is read, once for each object of a kind.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_seq_write;

/// What an iterator's program gets. Of every kind, it begins with `meta` and the object, both pointers; `meta`
/// begins with the file that is read.
#[derive(Clone, Copy)]
pub struct IterContext(*mut c_void);

impl IterContext {
    /// From the argument of the program.
    pub fn new(context: *mut c_void) -> Self {
        Self(context)
    }

    /// The object; null once, when there are no more.
    #[inline(always)]
    pub fn object(self) -> *const u8 {
        self.pointer(1)
    }

    /// What the kernel says about the pass: its `bpf_iter_meta`.
    #[inline(always)]
    pub fn meta(self) -> *const u8 {
        self.pointer(0)
    }

    /// Gives a record to the reader. What finds no room in the kernel's buffer is asked for once more, at the
    /// next read.
    #[inline(always)]
    pub fn write<T>(self, record: &T) {
        let meta: *const u8 = self.pointer(0);
        // SAFETY: `meta` is never null, and the verifier knows its type.
        let file: *mut c_void = unsafe { meta.cast::<*mut c_void>().read_volatile() };
        // SAFETY: the record is on the stack for the whole call.
        unsafe { bpf_seq_write(file.cast(), (&raw const *record).cast(), size_of::<T>() as u32) };
    }

    #[inline(always)]
    fn pointer(self, n: usize) -> *const u8 {
        // SAFETY: the verifier checks that the context has such a member.
        unsafe { self.0.cast::<*const u8>().add(n).read_volatile() }
    }
}
