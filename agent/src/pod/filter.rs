//! What a helper may ask of the kernel.
//!
//! Two lists. A check may read, wait and use sockets, and whatever else is asked is refused; what only somebody asks
//! who has taken it over ends it. A program of a target gets what programs get in containers, and no more.

use std::collections::BTreeMap;

use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, ENOSYS, EPERM, NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use syscalls::Sysno;

/// What a check may ask without a look at the arguments.
const PLAIN: &[&str] = &[
    // memory
    "brk",
    "madvise",
    "mremap",
    "munmap",
    // descriptors
    "close",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "fstat",
    "lseek",
    "pipe2",
    "pread64",
    "read",
    "readv",
    "write",
    "writev",
    // files, which are those of the target
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fchdir",
    "fstatfs",
    "getdents64",
    "newfstatat",
    "openat2",
    "readlinkat",
    "statfs",
    "statx",
    // sockets
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socketpair",
    // waiting
    "alarm",
    "clock_gettime",
    "clock_nanosleep",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "eventfd2",
    "futex",
    "gettimeofday",
    "nanosleep",
    "poll",
    "ppoll",
    "restart_syscall",
    "sched_yield",
    "setitimer",
    "timerfd_create",
    "timerfd_settime",
    // itself
    "exit",
    "exit_group",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getrandom",
    "gettid",
    "getuid",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "set_robust_list",
    "sigaltstack",
];

/// What nobody asks but somebody who wants out, or at others. It ends a check.
const HOSTILE: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "chroot",
    "clone",
    "clone3",
    "delete_module",
    "execve",
    "execveat",
    "finit_module",
    "fork",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pidfd_send_signal",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "request_key",
    "setns",
    "swapoff",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
    "vfork",
];

/// Of these, what a program needs to start another one.
const STARTING: &[&str] = &["clone", "execve", "execveat", "fork", "vfork"];

/// What is refused to a program of a target on top of that: what only an administrator asks.
const ADMINISTRATION: &[&str] = &[
    "adjtimex",
    "clock_adjtime",
    "clock_settime",
    "lookup_dcookie",
    "mbind",
    "migrate_pages",
    "move_pages",
    "nfsservctl",
    "seccomp",
    "set_mempolicy",
    "setdomainname",
    "sethostname",
    "settimeofday",
    "syslog",
    "uselib",
    "vhangup",
];

/// Flags of `clone` that make namespaces.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Flags of `openat` that do more than read. The last one is `__O_TMPFILE`.
const WRITING: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | 0o20_000_000;

/// Requests of `ioctl` that sockets and pipes are used with.
const FIONBIO: u64 = 0x5421;
const FIONREAD: u64 = 0x541b;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The lists, as programs for the kernel. Made once, by the spawner.
#[derive(Debug)]
pub(super) struct Filters {
    checks: BpfProgram,
    hostile: BpfProgram,
    programs: BpfProgram,
}

impl Filters {
    pub(super) fn new() -> Result<Self, Error> {
        let refused = SeccompAction::Errno(EPERM.unsigned_abs());
        let unknown = SeccompAction::Errno(ENOSYS.unsigned_abs());
        Ok(Self {
            checks: program(of_checks()?, refused, SeccompAction::Allow)?,
            hostile: program(plain(HOSTILE), SeccompAction::Allow, SeccompAction::KillProcess)?,
            // A C library takes `ENOSYS` for a reason to try the older call.
            programs: program(of_programs()?, unknown, SeccompAction::Allow)?,
        })
    }

    /// From now on, for this process and all that it starts.
    pub(super) fn apply(&self, executes: bool) -> Result<(), Error> {
        if executes {
            return apply_filter(&self.programs);
        }
        // The stricter answer counts. This one first: the other does not let filters be added.
        apply_filter(&self.hostile)?;
        apply_filter(&self.checks)
    }
}

fn program(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, listed, arch)?.try_into()?)
}

/// Numbers of the calls that this architecture has.
fn plain(names: &[&str]) -> Rules {
    let known = names.iter().filter_map(|name| name.parse::<Sysno>().ok());
    known.map(|call| (i64::from(call.id()), Vec::new())).collect()
}

fn of_checks() -> Result<Rules, Error> {
    let mut rules = plain(PLAIN);
    let mut add = |number: i64, argument: u8, allowed: &[(SeccompCmpOp, u64)]| -> Result<(), Error> {
        let rules = rules.entry(number).or_default();
        for (operator, value) in allowed {
            rules.push(SeccompRule::new(vec![condition(argument, operator.clone(), *value)?])?);
        }
        Ok(())
    };
    // No code that was not there before.
    add(libc::SYS_mmap, 2, &[without(libc::PROT_EXEC)])?;
    add(libc::SYS_mprotect, 2, &[without(libc::PROT_EXEC)])?;
    add(libc::SYS_openat, 2, &[without(WRITING)])?;
    #[cfg(target_arch = "x86_64")]
    add(libc::SYS_open, 1, &[without(WRITING)])?;
    add(libc::SYS_ioctl, 1, &[FIONBIO, FIONREAD].map(equal))?;
    add(libc::SYS_socket, 0, &[AF_UNIX, AF_INET, AF_INET6].map(|family| equal(word(family))))?;
    for protocol in [NETLINK_ROUTE, NETLINK_SOCK_DIAG] {
        let netlink = vec![
            condition(0, SeccompCmpOp::Eq, word(AF_NETLINK))?,
            condition(2, SeccompCmpOp::Eq, word(protocol))?,
        ];
        rules.entry(libc::SYS_socket).or_default().push(SeccompRule::new(netlink)?);
    }
    Ok(rules)
}

fn of_programs() -> Result<Rules, Error> {
    let refused =
        |name: &str| ADMINISTRATION.contains(&name) || (HOSTILE.contains(&name) && !STARTING.contains(&name));
    let mut rules: Rules = Sysno::iter()
        .filter(|call| !refused(call.name()))
        .map(|call| (i64::from(call.id()), Vec::new()))
        .collect();
    let (operator, value) = without(NAMESPACES);
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![condition(0, operator, value)?])?]);
    Ok(rules)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}

fn word(value: i32) -> u64 {
    value.cast_unsigned().into()
}

fn equal(value: u64) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::Eq, value)
}

/// None of these bits.
fn without(bits: i32) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::MaskedEq(word(bits)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_of_calls_that_exist_and_do_not_contradict() {
        // Names of other architectures are known to nobody here; most are to everybody.
        let unknown = |names: &[&str]| names.iter().filter(|name| name.parse::<Sysno>().is_err()).count();
        assert!(unknown(PLAIN) <= 6 && unknown(HOSTILE) <= 4, "{} {}", unknown(PLAIN), unknown(HOSTILE));
        assert!(PLAIN.iter().all(|name| !HOSTILE.contains(name)));
        assert!(STARTING.iter().all(|name| HOSTILE.contains(name)));
    }

    #[test]
    fn programs_fit_the_kernel() {
        let filters = Filters::new().unwrap();
        for program in [&filters.checks, &filters.hostile, &filters.programs] {
            assert!((10..4096).contains(&program.len()), "{}", program.len());
        }
    }
}
