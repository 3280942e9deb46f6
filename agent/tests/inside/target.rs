//! A container, as far as checks can tell: processes with mounts and numbers of their own.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use pitot::{
    container::{Container, Process, Role, Runtime},
    pod::Target,
};

/// One that runs, until it is dropped.
pub(crate) struct Running {
    child: Child,
    pid: u32,
}

impl Running {
    /// Runs a script as a user, in its own PID and mount namespace with a `/tmp` of its own.
    pub(crate) fn start(user: u32, script: &str) -> Self {
        let user = user.to_string();
        let inner = format!("{script}\nsleep 1000 & echo ready; wait");
        let outer = "mount -t tmpfs -o size=8m,mode=1777 of-the-target /tmp; mount -t proc proc /proc; \
            exec setpriv --reuid \"$1\" --regid \"$1\" --clear-groups sh -c \"$0\"";
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount", "--net", "--ipc", "--uts"]);
        command.args(["--propagation", "private", "sh", "-c", outer, &inner, &user]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Self { child, pid }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What discovery would say of it.
    pub(crate) fn target(&self) -> Target {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap();
        let cgroup =
            read("cgroup").lines().last().and_then(|line| line.splitn(3, ':').nth(2).map(str::to_owned));
        let stat = read("stat");
        let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
        Target::Container(Arc::new(Container {
            id: format!("container-{}", self.pid),
            name: String::new(),
            runtime: Runtime::Unknown,
            role: Role::Workload,
            pod: None,
            image: String::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            process: Some(Process { pid: self.pid, started }),
            cgroup: cgroup.unwrap().trim_start_matches('/').to_owned(),
            cgroup_id: None,
            sandboxed: None,
            host_network: None,
            started: None,
        }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The change of user has undone what would end it with its parent.
        let first = i32::try_from(self.pid).unwrap();
        let _gone =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL);
        let _gone = (self.child.kill(), self.child.wait());
    }
}
