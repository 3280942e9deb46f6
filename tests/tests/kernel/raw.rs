//! System calls without a safe wrapper.

use std::{fs::File, io, net::UdpSocket, os::fd::AsRawFd};

use nix::unistd::{ForkResult, Pid, fork};

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

/// A child of one thread that does some work and ends with the status that this returns. The work takes no memory
/// and no lock: another thread may have held it at the moment of the fork.
pub(crate) fn child(work: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the child does nothing that is not safe after a fork (see above), and does not return.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        // SAFETY: ends the child at once, without anything that is to be done at an exit.
        ForkResult::Child => unsafe { libc::_exit(work()) },
    }
}

/// Work of a child that is killed.
pub(crate) fn wait_for_ever() -> i32 {
    loop {
        // SAFETY: takes no argument.
        unsafe { libc::pause() };
    }
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

/// A request about the network device of that name.
fn device_request(name: &str) -> libc::ifreq {
    // SAFETY: numbers and arrays of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}

/// Switches a network device on, in the network namespace of the calling thread.
pub(crate) fn bring_up(name: &str) -> io::Result<()> {
    let mut request = device_request(name);
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the pointer is to a live request.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a network device whose packets are written and read here, and that goes when the file is closed.
pub(crate) fn open_tun(name: &str) -> io::Result<File> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = device_request(name);
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
    // SAFETY: the pointer is to a live request.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if result == 0 { Ok(tun) } else { Err(io::Error::last_os_error()) }
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

/// Pages of its own.
pub(crate) struct Mapping {
    address: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    /// New memory, in small pages.
    pub(crate) fn anonymous(length: usize) -> io::Result<Self> {
        let mapping = Self::new(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        // A kernel without huge pages knows no such advice.
        let _unknown = mapping.advise(libc::MADV_NOHUGEPAGE);
        Ok(mapping)
    }

    /// The beginning of a file, each page for itself.
    pub(crate) fn of_file(file: &File, length: usize) -> io::Result<Self> {
        let mapping = Self::new(length, libc::MAP_PRIVATE, file.as_raw_fd())?;
        mapping.advise(libc::MADV_RANDOM)?;
        Ok(mapping)
    }

    fn new(length: usize, flags: i32, file: i32) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, file, 0) };
        if address == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { address, length })
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is there until this value is dropped, and nobody else knows it.
        unsafe { std::slice::from_raw_parts_mut(self.address.cast(), self.length) }
    }

    /// Lets the kernel take the pages back when it needs them; they are zeros then.
    pub(crate) fn release(&self) -> io::Result<()> {
        self.advise(libc::MADV_FREE)
    }

    fn advise(&self, advice: i32) -> io::Result<()> {
        // SAFETY: a mapping of our own, and no advice that is given here takes it away.
        let result = unsafe { libc::madvise(self.address, self.length, advice) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: a mapping of our own, to which no reference is left.
        unsafe { libc::munmap(self.address, self.length) };
    }
}
