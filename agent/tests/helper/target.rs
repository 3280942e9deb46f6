//! Containers, as far as a helper can tell: a process in namespaces of its own that answers under a name.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    process::{Child, Command, Stdio},
    sync::Arc,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
};
use pitot::{
    container::{Container, Process, Role, Runtime},
    pod::Target,
};

use crate::fuse;

/// What makes this binary one.
pub(crate) const COMMAND: &str = "be-a-target";
/// The abstract name under which it answers: one for each network namespace.
pub(crate) const NAME: &[u8] = b"pitot-target";

/// Asks one to go to another network namespace when it is told.
pub(crate) const MOVES: &str = "moves";

/// The port of its loopback device on which it answers over HTTP.
pub(crate) const PORT: u16 = 7777;

/// Is a target until its parent ends.
pub(crate) fn run(arguments: &[String]) {
    set_pdeathsig(Signal::SIGKILL).unwrap();
    let has = |what: &str| arguments.iter().any(|argument| argument == what);
    let kinds = [
        ("net", CloneFlags::CLONE_NEWNET),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("pid", CloneFlags::CLONE_NEWPID),
    ];
    let flags =
        kinds.iter().filter(|(kind, _)| has(kind)).fold(CloneFlags::empty(), |all, (_, one)| all | *one);
    unshare(flags).unwrap();
    if has(fuse::SILENT) {
        fuse::start();
    }
    if has("pid") {
        // Only a child is inside.
        let rest: Vec<&String> =
            arguments.iter().filter(|argument| kinds.iter().all(|kind| kind.0 != **argument)).collect();
        let mut child = Command::new(env::current_exe().unwrap())
            .arg(COMMAND)
            .args(rest)
            .args(["inner", if has("net") { "networked" } else { "" }])
            .spawn()
            .unwrap();
        println_of(child.id());
        child.wait().unwrap();
        return;
    }
    if has("net") || has("networked") {
        // Root's namespaces begin with a loopback device that is down.
        let _without = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        // As container runtimes do it.
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", PORT)) {
            std::thread::spawn(move || listener.incoming().for_each(serve_http));
        }
    }
    if let Some(user) = arguments.iter().find_map(|argument| argument.strip_prefix("user=")) {
        let user: u32 = user.parse().unwrap();
        nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(user + 1)]).unwrap();
        nix::unistd::setgid(nix::unistd::Gid::from_raw(user)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(user)).unwrap();
        set_pdeathsig(Signal::SIGKILL).unwrap();
    }
    let inode =
        fs::metadata("/proc/self/ns/net").map_or(0, |file| std::os::unix::fs::MetadataExt::ino(&file));
    if has(crate::network::SERVES) {
        crate::network::serve(inode);
    }
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME).unwrap());
    if !has("inner") {
        println_of(std::process::id());
    }
    if has(MOVES) {
        std::thread::spawn(move || answer(&listener.unwrap(), inode));
        let _told = std::io::stdin().read(&mut [0]);
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        println_of(0);
    } else if let Ok(listener) = listener {
        answer(&listener, inode);
    }
    loop {
        std::thread::park();
    }
}

fn answer(listener: &UnixListener, inode: u64) {
    for connection in listener.incoming() {
        let _gone = connection.unwrap().write_all(&inode.to_le_bytes());
    }
}

fn serve_http(connection: std::io::Result<TcpStream>) {
    if let Ok(mut connection) = connection {
        let _request = connection.read(&mut [0; 1024]);
        let _gone =
            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
}

fn println_of(pid: u32) {
    let mut out = std::io::stdout();
    out.write_all(format!("{pid}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// One that runs, until it is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) container: Container,
    /// Of its network namespace.
    pub(crate) inode: u64,
}

impl Running {
    /// With these namespaces of its own (`net`, `pid`, ..), `user=N`, and servers if it is asked for.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        if arguments.contains(&MOVES) || arguments.contains(&fuse::SILENT) {
            command.stdin(Stdio::piped());
        }
        let mut child = command.arg(COMMAND).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let pid: u32 = line.trim().parse().unwrap();
        // The inner one of two prints nothing: wait for its name.
        let inode = crate::crew::inode(pid, "net");
        while arguments.contains(&"net") && !answers(pid) {
            assert!(fs::metadata(format!("/proc/{pid}/ns/net")).is_ok(), "it has ended");
            std::thread::yield_now();
        }
        Self { child, container: container(pid), inode }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.container.process.unwrap().pid
    }

    /// Has it go to another network namespace, and waits for that.
    pub(crate) fn go(&mut self) {
        drop(self.child.stdin.take());
        let _said = self.child.stdout.as_mut().unwrap().read(&mut [0]).unwrap();
        assert_ne!(crate::crew::inode(self.pid(), "net"), self.inode);
    }

    /// Ends the daemon of its file system that hangs.
    pub(crate) fn release(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn target(&self) -> Target {
        Target::Container(Arc::new(self.container.clone()))
    }

    /// Ends it, and waits for that.
    pub(crate) fn end(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        let _gone = nix::sys::signal::kill(pid, Signal::SIGKILL);
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn answers(pid: u32) -> bool {
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    sockets.contains("@pitot-target")
}

/// What discovery would say of a process.
pub(crate) fn container(pid: u32) -> Container {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let cgroup =
        cgroup.lines().last().unwrap().splitn(3, ':').nth(2).unwrap().trim_start_matches('/').to_owned();
    Container {
        id: format!("container-{pid}"),
        name: String::new(),
        runtime: Runtime::Unknown,
        role: Role::Workload,
        pod: None,
        image: String::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        process: Some(Process { pid, started: started(pid) }),
        cgroup,
        cgroup_id: None,
        sandboxed: None,
        host_network: None,
        started: None,
    }
}

/// When a process started, in ticks since boot.
pub(crate) fn started(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap()
}
