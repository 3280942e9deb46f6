//! Views of kernel maps: their pages, mapped and read in place, without a system call.

use std::{
    num::NonZeroUsize,
    ops::Deref,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The words of an mmapable array map. Other processors change them at any time, so they are only ever
/// seen as atomics.
pub struct View {
    pages: NonNull<AtomicU64>,
    words: usize,
}

impl View {
    /// Maps the first `words` words of an array map with `BPF_F_MMAPABLE`.
    pub fn new(map: impl AsFd, words: usize) -> nix::Result<Self> {
        Self::map(map, words, ProtFlags::PROT_READ)
    }

    fn map(map: impl AsFd, words: usize, access: ProtFlags) -> nix::Result<Self> {
        let bytes =
            words.checked_mul(size_of::<u64>()).and_then(NonZeroUsize::new).ok_or(nix::Error::EINVAL)?;
        // SAFETY: a new mapping at an address of the kernel's choice cannot touch memory of ours.
        let pages = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self { pages: pages.cast(), words })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the kernel mapped that many bytes, page-aligned, and keeps the pages as long as they are
        // mapped, which is as long as `self` lives; only atomic access is handed out.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr(), self.words) }
    }
}

impl View {
    /// The sum of one word over all banks.
    pub fn sum(&self, bank_words: usize, word: usize) -> u64 {
        self.words().chunks_exact(bank_words).map(|bank| bank[word].load(Ordering::Relaxed)).sum()
    }
}

/// A view that can be written. Programs write the same words: who writes one, and when, is for the user to say.
pub struct WritableView(View);

impl WritableView {
    /// Maps the first `words` words of an array map with `BPF_F_MMAPABLE`.
    pub fn new(map: impl AsFd, words: usize) -> nix::Result<Self> {
        Ok(Self(View::map(map, words, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?))
    }

    /// Writes one word.
    pub fn store(&self, word: usize, value: u64) {
        self.words()[word].store(value, Ordering::Release);
    }
}

impl Deref for WritableView {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nobody can hold a reference into it any more.
        let unmapped = unsafe { munmap(self.pages.cast(), self.words * size_of::<u64>()) };
        debug_assert!(unmapped.is_ok());
    }
}

// SAFETY: the view owns its mapping, which is valid in every thread.
unsafe impl Send for View {}
