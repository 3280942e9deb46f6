//! System calls without a safe wrapper.

use std::io;

/// Makes a system call with all arguments zero. Only for calls that fail or do nothing then.
pub(crate) fn call(number: i64) {
    // SAFETY: the callers' numbers have no effect with null arguments but an error.
    let _error = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
}

/// Gives the calling thread a real-time priority: no ordinary task comes before it, and none of the same
/// priority takes the CPU from it.
pub(crate) fn become_fifo() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a live value; 0 means the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a call without arguments through the 32-bit table, as 32-bit programs do.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_32_bit(number: u32) -> u32 {
    let result;
    // SAFETY: a trap that changes nothing but the registers named here; the caller's call has no effect.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("eax") number => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}
