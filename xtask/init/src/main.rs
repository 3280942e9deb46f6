//! The first process of a test machine: makes the few things that a host's user space makes, runs what
//! follows ` -- ` on the kernel's command line (several programs with ` ; ` in between), says how each
//! ended, and switches the machine off.
//!
//! A failed step is reported and not fatal: what needed it says more about it than this could.
#![expect(clippy::disallowed_methods, reason = "starting programs is what it is for")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{fd::AsRawFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::{Command, Stdio},
};

use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket},
        termios::tcdrain,
    },
    unistd::sync,
};

/// The kernel's messages have the first port for themselves.
const PORT: &str = "/dev/ttyS1";
/// Type, place and options. The disk comes after the modules, see below.
const MOUNTS: [(&str, &str, &str); 7] = [
    ("devtmpfs", "/dev", ""),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("bpf", "/sys/fs/bpf", "mode=0700"),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("tmpfs", "/tmp", ""),
];
/// A disk with ext4, if the machine has one.
const DISK: &str = "/dev/vda";
/// Pages that the sockets of TCP may take: those of a machine as small as this do not suffice to fill a table
/// with connections.
const TCP_PAGES: (&str, &str) = ("/proc/sys/net/ipv4/tcp_mem", "100000 100000 100000");
/// For the tests: every window has to be exact, as this kernel's tracepoints miss nothing.
const VARIABLES: [(&str, &str); 3] = [("PATH", "/bin"), ("HOME", "/tmp"), ("PITOT_TEST_WINDOWS", "1")];
/// Status of a program that could not be started, as in a shell.
const NOT_STARTED: i32 = 127;

fn main() {
    let mut troubles: Vec<String> = MOUNTS
        .iter()
        .filter_map(|&(kind, place, options)| mounted(kind, kind, place, options).err())
        .collect();
    let Ok(mut out) = OpenOptions::new().read(true).write(true).open(PORT) else { off() };
    troubles.extend(load_modules());
    if fs::exists(DISK).is_ok_and(|exists| exists) {
        troubles.extend(mounted(DISK, "ext4", "/var/tmp", "").err());
    }
    troubles.extend(raise_loopback().err().map(|error| format!("lo: {error}")));
    let (limits, pages) = TCP_PAGES;
    troubles.extend(fs::write(limits, pages).err().map(|error| format!("{limits}: {error}")));
    for trouble in troubles {
        say(&mut out, &format!("VMINIT {trouble}"));
    }
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    // Not the arguments: the kernel passes those that it does not know itself as well.
    let wanted = line.split_once(" -- ").map_or("", |(_, wanted)| wanted);
    let mut worst = 0;
    for command in wanted.split(" ; ") {
        say(&mut out, &format!("VMRUN {}", command.trim()));
        let code = run(command, &out).unwrap_or_else(|error| {
            say(&mut out, &format!("VMINIT {error}"));
            NOT_STARTED
        });
        say(&mut out, &format!("VMEND code={code}"));
        worst = worst.max(code);
    }
    say(&mut out, &format!("VMEXIT code={worst}"));
    let _drained = tcdrain(&out);
    off()
}

fn mounted(source: &str, kind: &str, place: &str, options: &str) -> Result<(), String> {
    let _exists = fs::create_dir_all(place);
    mount(Some(source), place, Some(kind), MsFlags::empty(), Some(options))
        .map_err(|error| format!("mount {kind} at {place}: {error}"))
}

/// In the order of their names.
fn load_modules() -> Vec<String> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir("/modules").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let load = |path: &PathBuf| {
        let file = File::open(path)?;
        finit_module(&file, c"", ModuleInitFlags::empty()).map_err(io::Error::from)
    };
    paths.iter().filter_map(|path| Some(format!("{}: {}", path.display(), load(path).err()?))).collect()
}

/// Sends `RTM_NEWLINK` with `IFF_UP` for the first interface, which is lo.
fn raise_loopback() -> nix::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::new();
    let mut word = |value: u32| message.extend(value.to_ne_bytes());
    word(32);
    word(u32::from(RTM_NEWLINK) | u32::from(NLM_F_REQUEST) << 16);
    // Sequence and sender; family and type; then the interface, its flags and which of them change.
    for value in [0, 0, 0, 1, IFF_UP, IFF_UP] {
        word(value);
    }
    let route = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, route)?;
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map(drop)
}

/// Runs a program; its status, or 128 and the signal that ended it.
fn run(command: &str, out: &File) -> io::Result<i32> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or(io::ErrorKind::NotFound)?;
    let status = Command::new(program)
        .args(words)
        .envs(VARIABLES)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out.try_clone()?)
        .status()?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

fn say(out: &mut File, line: &str) {
    let _closed = writeln!(out, "{line}");
}

/// Switches off. Should even this fail, whoever started the machine loses patience with it.
fn off() -> ! {
    sync();
    let _failed = reboot(RebootMode::RB_POWER_OFF);
    loop {
        std::thread::park();
    }
}
