//! Pods as they are asked for, and as they run.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{cri::Cri, image, sweep};

/// A pod that is wanted.
#[derive(Clone, Debug, Default)]
pub struct PodSpec {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Labels, beside those that every pod has.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// No network of its own: that of the host.
    pub host_network: bool,
    /// All containers see each other's processes.
    pub share_pid: bool,
    /// Control groups are called as systemd calls them.
    pub systemd_cgroup: bool,
    /// Containers, in the order of their start.
    pub containers: Vec<ContainerSpec>,
}

impl PodSpec {
    /// One with nothing in it.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { name: name.to_owned(), namespace: namespace.to_owned(), ..Self::default() }
    }

    /// With one more container.
    pub fn with(mut self, container: ContainerSpec) -> Self {
        self.containers.push(container);
        self
    }

    /// With a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a kernel parameter.
    pub fn sysctl(mut self, name: &str, value: &str) -> Self {
        self.sysctls.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With an annotation.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// A container that is wanted.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// Command; that of the image if empty.
    pub command: Vec<String>,
    /// Folders of the host, read-only, and where they appear.
    pub mounts: Vec<(PathBuf, String)>,
    /// Its root file system cannot be written to.
    pub read_only: bool,
    /// The user that it runs as, unless root.
    pub user: Option<u32>,
}

impl ContainerSpec {
    /// One with the usual tools that runs a line of shell.
    pub fn shell(name: &str, line: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: image::BUSYBOX.to_owned(),
            command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// One that answers `GET /` on a port with a text of its own.
    pub fn web(name: &str, port: u16, text: &str) -> Self {
        let line =
            format!("mkdir -p /www && echo '{text}' > /www/index.html && exec httpd -f -p {port} -h /www");
        Self::shell(name, &line)
    }

    /// The same with nothing inside but the server, and a root file system that cannot be written to. What it serves
    /// is a folder of the host.
    pub fn distroless(name: &str, port: u16, served: PathBuf) -> Self {
        let port = port.to_string();
        let command = ["/httpd", "-f", "-p", &port, "-h", "/www"].map(str::to_owned).to_vec();
        Self {
            name: name.to_owned(),
            image: image::DISTROLESS.to_owned(),
            command,
            mounts: vec![(served, "/www".to_owned())],
            read_only: true,
            ..Self::default()
        }
    }
}

/// A pod that runs.
#[derive(Debug)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Identity.
    pub uid: String,
    /// Its address, unless it has the host's network.
    pub address: String,
    /// What holds its namespaces.
    pub sandbox: Running,
    /// Its containers, in the order in which they were asked for.
    pub containers: Vec<Running>,
    /// Its own control group, above those of its containers.
    pub cgroup: String,
    pub(super) cri: Arc<Cri>,
}

impl Pod {
    /// Ends it at once, and removes it.
    pub fn delete(self) -> Result<()> {
        self.cri.stop_sandbox(&self.sandbox.id)?;
        self.cri.remove_sandbox(&self.sandbox.id)?;
        // As kubelet does.
        sweep::remove_cgroups(&self.cgroup);
        Ok(())
    }
}

/// A container that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// The identity that its runtime gave it.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its first process, as the host sees it.
    pub pid: u32,
    /// Its control group in the unified hierarchy, without a slash in front.
    pub cgroup: String,
}

impl Running {
    /// By what a runtime says of it.
    pub(super) fn new(id: &str, name: &str, pid: &Value) -> Result<Self> {
        let pid = pid.as_u64().and_then(|pid| pid.try_into().ok()).filter(|pid| *pid > 0);
        let pid: u32 = pid.with_context(|| format!("container {id} does not run"))?;
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .with_context(|| format!("the first process of {id}, {pid}, is gone"))?;
        let unified = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let cgroup = unified.with_context(|| format!("{pid} is in no group of the unified hierarchy"))?;
        Ok(Self { id: id.to_owned(), name: name.to_owned(), pid, cgroup: cgroup.to_owned() })
    }

    /// Whether its first process still is there, and no zombie.
    pub fn is_running(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
    }
}
