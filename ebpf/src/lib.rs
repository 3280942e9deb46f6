// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the programs share: writing to banks, reading kernel fields, and the licence.
#![no_std]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "the bpf target has no AtomicU64::fetch_add")]

pub mod bank;
pub mod iter;
pub mod kernel;
pub mod owner;
pub mod table;

/// Never reached: the verifier rejects a program that could panic, because this loops.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The licence that every object carries.
#[macro_export]
macro_rules! object {
    () => {
        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 4] = *b"GPL\0";
    };
}
