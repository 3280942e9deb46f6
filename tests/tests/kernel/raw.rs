//! System calls without a safe wrapper.

use std::{fs::File, io, os::fd::AsRawFd};

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

/// Gives a file to a free loop device; returns the device's number.
pub(crate) fn attach_loop(file: &File) -> io::Result<i32> {
    const GET_FREE: u64 = 0x4C82;
    let control = File::open("/dev/loop-control")?;
    loop {
        // SAFETY: takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        match set_loop(number, file) {
            Ok(()) => return Ok(number),
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
}

fn set_loop(number: i32, file: &File) -> io::Result<()> {
    const SET_FD: u64 = 0x4C00;
    let device = File::options().read(true).write(true).open(format!("/dev/loop{number}"))?;
    // SAFETY: the argument is a number, that of an open file.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), SET_FD, file.as_raw_fd()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a loop device of a number and gives it a file.
pub(crate) fn make_loop(number: i32, file: &File) -> io::Result<()> {
    const ADD: u64 = 0x4C80;
    control_loop(ADD, number)?;
    set_loop(number, file)
}

/// Removes a loop device that has no file.
pub(crate) fn remove_loop(number: i32) -> io::Result<()> {
    const REMOVE: u64 = 0x4C81;
    control_loop(REMOVE, number)
}

fn control_loop(request: u64, number: i32) -> io::Result<()> {
    let control = File::open("/dev/loop-control")?;
    // SAFETY: the argument is a number.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), request, number) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Discards a part of a block device.
pub(crate) fn discard(device: &File, from: u64, bytes: u64) -> io::Result<()> {
    const DISCARD: u64 = 0x1277;
    let range = [from, bytes];
    // SAFETY: the argument points to two live numbers.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), DISCARD, range.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes its file from a loop device.
pub(crate) fn detach_loop(number: i32) -> io::Result<()> {
    const CLR_FD: u64 = 0x4C01;
    let device = File::open(format!("/dev/loop{number}"))?;
    // SAFETY: takes no argument.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), CLR_FD) };
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
