// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Reading kernel structs at offsets that the agent resolved from the running kernel's BTF.

/// A setting or a field offset: a read-only global that the agent fills in before the load, so that the
/// verifier sees a constant.
#[macro_export]
macro_rules! setting {
    ($($(#[$meta:meta])* $name:ident: $type:ty;)+) => {
        $($(#[$meta])*
        #[unsafe(no_mangle)]
        static $name: $type = 0;)+
    };
}

/// The value of a [`setting!`].
#[macro_export]
macro_rules! get {
    ($name:ident) => {
        // SAFETY: a static of our own; volatile because its value arrives after compilation.
        unsafe { core::ptr::read_volatile(&raw const $name) }
    };
}

/// Reads a field of a kernel struct in a BTF-typed program.
///
/// # Safety
/// `base` is a BTF pointer that the verifier tracks: it checks the offset, and a bad address reads as zero.
#[inline(always)]
pub unsafe fn field<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the verifier proves it or rejects the program.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}
