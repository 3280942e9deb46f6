//! A check that does what a test tells it, the worst included.

use std::{
    io::{self, Read},
    net::TcpStream,
    os::{
        fd::BorrowedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    process::Command,
    time::Duration,
};

use pitot::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Label, Metric, Namespace, Source},
    input::{
        CollectContext, Input, InputDef, InputError, Unsupported,
        check::{
            EXECUTED, FAILURES, Inside, Known, NetworkMode, PodInput, Request, dialcheck, disk, httpcheck,
            wire,
        },
    },
};

pub(crate) static NET: CheckDef =
    CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false };
pub(crate) static FILES: CheckDef = CheckDef { namespaces: &[], as_target: true, executes: false };
pub(crate) static PIDS: CheckDef =
    CheckDef { namespaces: &[Namespace::Pid], as_target: true, executes: false };
pub(crate) static EXEC: CheckDef = CheckDef {
    namespaces: &[Namespace::Net, Namespace::Pid, Namespace::Mount, Namespace::Ipc, Namespace::Uts],
    as_target: true,
    executes: true,
};

static VALUE: Metric = Metric::gauge("value", "What came of it.", &[]);
static COUNT: Metric = Metric::counter("count_total", "Something that is counted.", &[]);
static TEXT: Metric = Metric::gauge("text", "What was said.", &[Label::bounded("text", 9)]);

pub(crate) static DEF: InputDef = InputDef {
    name: "scripted",
    about: "Does what a test tells it.",
    prefix: "scripted_",
    source: Source::Check(&NET),
    cost: "nothing",
    metrics: &[&EXECUTED, &FAILURES, &VALUE, &COUNT, &TEXT],
    options: &[],
    open: |_| Err(Unsupported("only for tests".to_owned())),
};

pub(crate) static CHECKS: &[Known] = &[
    Known { def: &DEF, blank: || Box::new(Scripted) },
    Known { def: &httpcheck::DEF, blank: || Box::<httpcheck::HttpCheck>::default() },
    Known { def: &disk::DEF, blank: || Box::<disk::Disk>::default() },
    Known { def: &dialcheck::DEF, blank: || Box::<dialcheck::DialCheck>::default() },
];

/// A request for it.
pub(crate) fn request(script: &str, timeout: Duration) -> Request {
    Request { input: DEF.name.to_owned(), body: script.into(), timeout }
}

#[derive(Debug)]
struct Scripted;

impl Input for Scripted {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, _acc: &mut dyn Accumulator) -> Result<(), InputError> {
        Err(InputError::Other("only in a helper".to_owned()))
    }
}

impl PodInput for Scripted {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        Err(InputError::Other("only in a helper".to_owned()))
    }

    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError> {
        let script = String::from_utf8_lossy(body);
        let value =
            perform(&script, inside, response).map_err(|error| InputError::Other(error.to_string()))?;
        response.put(&DEF, &VALUE, &[], value).unwrap();
        Ok(())
    }
}

fn perform(script: &str, inside: &Inside, response: &mut wire::Response) -> io::Result<f64> {
    let (what, argument) = script.split_once(' ').unwrap_or((script, ""));
    Ok(match what {
        // Who answers in this network namespace.
        "who" => who()? as f64,
        "echo" => argument.parse().unwrap_or(0.0),
        "dial" => f64::from(u8::from(TcpStream::connect(argument).is_ok())),
        "fail" => return Err(io::Error::other(argument.to_owned())),
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
        // What follows the path only makes it another request.
        "statfs" => {
            let found = inside.root.find(argument.split(' ').next().unwrap_or_default())?;
            nix::sys::statfs::fstatfs(&found)?.blocks() as f64
        }
        "panic" => panic!("as told"),
        "nan" => {
            response.put(&DEF, &COUNT, &[], f64::NAN).unwrap();
            0.0
        }
        "inside" => inside.root.read(argument, 1 << 20)?.len() as f64,
        "outside" => std::fs::read(argument)?.len() as f64,
        "write" => std::fs::File::options().append(true).open(argument).map(|_| 0.0)?,
        // As somebody who has taken the helper over, so without what `Dir` allows.
        "change" => {
            use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            openat2(&inside.root, argument, flags, Mode::RUSR, ResolveFlags::empty()).map(|_| 0.0)?
        }
        "list" => std::fs::read_dir(argument)?.count() as f64,
        "processes" => {
            let names = inside.procfs.as_ref().unwrap().names(".", 1000)?;
            names.iter().filter(|name| name.parse::<u32>().is_ok()).count() as f64
        }
        "above" => {
            let names = inside.process.names("..", 1000)?;
            names.iter().filter(|name| name.parse::<u32>().is_ok()).count() as f64
        }
        "comm" => {
            let name = inside.process.read("comm", 100)?;
            response.put(&DEF, &TEXT, &[name.trim_ascii_end()], 1.0).unwrap();
            0.0
        }
        "take" => vec![1_u8; argument.parse().unwrap()].iter().map(|byte| f64::from(*byte)).sum(),
        "call" => call(argument)?,
        "run" => {
            let output = Command::new("/bin/sh").arg("-c").arg(argument).output()?;
            response.put(&DEF, &TEXT, &[output.stdout.trim_ascii_end()], 1.0).unwrap();
            f64::from(output.status.code().unwrap_or(-1))
        }
        "say" => say(argument)?,
        other => return Err(io::Error::other(format!("no such script: {other}"))),
    })
}

fn who() -> io::Result<u64> {
    let mut inode = [0; 8];
    let address = SocketAddr::from_abstract_name(crate::target::NAME)?;
    UnixStream::connect_addr(&address)?.read_exact(&mut inode)?;
    Ok(u64::from_le_bytes(inode))
}

/// A system call, with arguments that hurt nobody where it is allowed. Its error number, or 0.
#[expect(unsafe_code, reason = "calls that no check makes")]
fn call(name: &str) -> io::Result<f64> {
    let call = syscalls::Sysno::iter().find(|call| call.name() == name);
    let number = i64::from(call.ok_or_else(|| io::Error::other("no such call"))?.id());
    // SAFETY: null and zero are harmless to every call that the tests name.
    let result = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
    let error = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    Ok(if result < 0 { f64::from(error) } else { 0.0 })
}

/// Says something to the agent behind the helper's back.
#[expect(unsafe_code, reason = "the connection is not the check's own")]
fn say(what: &str) -> io::Result<f64> {
    let header = |version: u8, kind: u8, sequence: u32, length: u32| {
        let mut bytes = b"pitH".to_vec();
        bytes.extend([version, kind]);
        bytes.extend(sequence.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes
    };
    let bytes = match what {
        "noise" => vec![b'x'; 1 << 20],
        "version" => header(9, 4, 1, 0),
        "long" => header(1, 4, 1, u32::MAX),
        "short" => [header(1, 4, 1, 100), vec![0; 50]].concat(),
        "sequence" => header(1, 4, 77, 0),
        "kind" => header(1, 2, 1, 8).into_iter().chain([0; 8]).collect(),
        "empty" => header(1, 4, 1, 0),
        "twice" => header(1, 4, 1, 10).into_iter().chain(*b"pitR\x01\x01\0\0\0\0").chain([0; 30]).collect(),
        "leaving" => header(1, 5, 0, 0),
        other => panic!("{other}"),
    };
    for number in 3..64 {
        // SAFETY: a number that is not open is an error of the call.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        if rustix::net::sockopt::socket_type(descriptor).is_ok() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                rest = &rest[rustix::io::write(descriptor, rest)?..];
            }
        }
    }
    if what == "short" {
        // SAFETY: it has no preconditions.
        unsafe { libc::_exit(0) };
    }
    // What the helper itself would say does not come.
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}
