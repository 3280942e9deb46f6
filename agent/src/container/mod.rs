//! Containers and pods of this host, whichever runtime started them.
//!
//! What is known is an immutable [`Snapshot`]; a new one takes its place when something starts, stops or turns out to
//! be called something else. Nobody who looks waits for a runtime.

mod asking;
mod attribute;
mod cgroup_path;
pub mod discovery;
mod known;
mod look;
mod merge;
mod meters;
mod process;
mod runtime;
pub mod source;
mod state;
mod tree;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

pub use self::{
    attribute::Attribute,
    runtime::{PodsConfig, sources},
};

/// Who started a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runtime {
    /// containerd, by its CRI or without.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// What its control group is called does not tell.
    Unknown,
}

impl Runtime {
    /// The word in labels and selectors.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Unknown => "unknown",
        }
    }
}

/// What a container is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It holds the namespaces of a pod and does nothing else.
    Sandbox,
    /// Anything else.
    Workload,
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number in the host's PID namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Unique identity.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Address, if it has one of its own.
    pub ip: String,
}

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The runtime's identity of it, in full.
    pub id: String,
    /// What it is called: in its pod, or by docker and podman. Empty while nobody has told.
    pub name: String,
    /// Who started it.
    pub runtime: Runtime,
    /// What it is there for.
    pub role: Role,
    /// The pod that it belongs to.
    pub pod: Option<Arc<Pod>>,
    /// The image, as it was asked for.
    pub image: String,
    /// Labels of its own.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its own.
    pub annotations: BTreeMap<String, String>,
    /// Its first process; none when that is not visible from here.
    pub process: Option<Process>,
    /// Its control group: a path as in the label `cgroup`, but without the slash in front.
    pub cgroup: String,
    /// The kernel's identity of that, where the unified hierarchy has it.
    pub cgroup_id: Option<u64>,
    /// Why its processes are not those that this kernel runs, as with gVisor and Kata.
    pub sandboxed: Option<String>,
    /// Whether it is in the host's network namespace, as far as that is known.
    pub host_network: Option<bool>,
    /// When it was started, as far as that is known.
    pub started: Option<SystemTime>,
}

/// All containers of a moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Rises with every difference; 0 while nobody has looked.
    pub generation: u64,
    /// All of them, sandboxes included, by id.
    pub containers: Vec<Arc<Container>>,
    by_cgroup: HashMap<String, Owner>,
}

/// Whom a control group belongs to.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A container; also all groups below its own.
    Container(Arc<Container>),
    /// A pod, and none of its containers.
    Pod(Arc<Pod>),
}

impl Snapshot {
    /// One of these containers.
    pub fn new(generation: u64, mut containers: Vec<Arc<Container>>) -> Self {
        containers.sort_by(|a, b| a.id.cmp(&b.id));
        let mut by_cgroup = HashMap::new();
        for container in &containers {
            by_cgroup.insert(container.cgroup.clone(), Owner::Container(Arc::clone(container)));
            // The group of a pod is the one above that of its containers, where it is called so.
            if let (Some(pod), Some((above, _))) = (&container.pod, container.cgroup.rsplit_once('/'))
                && cgroup_path::is_pod(above)
            {
                by_cgroup.entry(above.to_owned()).or_insert_with(|| Owner::Pod(Arc::clone(pod)));
            }
        }
        Self { generation, containers, by_cgroup }
    }

    /// Whom a control group belongs to: by its own path, or by that of the closest one above it. With or without a
    /// slash in front.
    pub fn owner(&self, cgroup: &str) -> Option<&Owner> {
        let mut path = cgroup.strip_prefix('/').unwrap_or(cgroup);
        loop {
            match (self.by_cgroup.get(path), path.rsplit_once('/')) {
                // What is below a pod and in none of its containers is the pod's.
                (Some(owner), _) => return Some(owner),
                (None, Some((above, _))) => path = above,
                (None, None) => return None,
            }
        }
    }
}

/// Where the newest snapshot is found.
#[derive(Clone, Debug)]
pub struct Directory(watch::Receiver<Arc<Snapshot>>);

/// Where new snapshots are put.
pub type Publisher = watch::Sender<Arc<Snapshot>>;

impl Directory {
    /// An empty one, and the door for its content.
    pub fn new() -> (Publisher, Self) {
        let (publisher, receiver) = watch::channel(Arc::default());
        (publisher, Self(receiver))
    }

    /// One that stays empty.
    pub fn none() -> Self {
        Self::new().1
    }

    /// The newest snapshot.
    pub fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }

    /// Its generation, without taking hold of it.
    pub fn generation(&self) -> u64 {
        self.0.borrow().generation
    }

    /// Waits until somebody has looked, or for so long.
    pub async fn settled(&mut self, patience: Duration) {
        let looked = self.0.wait_for(|snapshot| snapshot.generation > 0);
        // Nobody may look at all.
        let _late = tokio::time::timeout(patience, looked).await;
    }

    /// Waits for one that has not been seen through this handle; false when there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
