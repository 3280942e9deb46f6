//! Who can tell what containers are called: the door for clients of runtimes and of the kubelet.
//!
//! That a container runs is known from its control group, and the runtimes' own files say what most of them are
//! called. A source is asked for the rest: once about the containers that have come, all in one question, and not
//! again. What it does not know it leaves out, and it is asked again a few times, ever more slowly; when it comes back
//! after a failure, about all that it may have missed.
//!
//! What several sources say about one container is put together field by field: of those that say something the first
//! holds, in the order in which sources were given; maps are joined. So a source of pods
//! alone, as the kubelet is, fills `pod` of the containers of a pod and leaves the rest empty.
//!
//! A source lives on the thread of discovery. It may keep a connection, which it makes when it is first asked, and
//! must not wait longer than a few seconds in one call: what it does not know by then is an error, and the containers
//! stay as they were.

use std::{collections::BTreeMap, pin::Pin, time::SystemTime};

use super::{Pod, Process, Role, Runtime};

/// What comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Tells what containers are called.
pub trait Source: Send {
    /// What it is called in the agent's own metrics and in logs: `cri`, `docker`, with its socket where there may be
    /// several (`cri:/run/k3s/containerd/containerd.sock`).
    fn name(&self) -> &str;

    /// Whether it makes sense to ask it about a container. By default about all.
    fn may_know(&self, _found: &Found) -> bool {
        true
    }

    /// Describes those of these containers that it knows, with two calls of the runtime at most. An error says that it
    /// could not find out: a runtime that is down, slow or refuses.
    fn describe<'a>(&'a mut self, found: &'a [Found]) -> Later<'a, Result<Vec<Description>, String>>;

    /// Waits until it knows of containers that are to be described again, as by an event of its runtime that says that
    /// one has another name now, and gives their ids. Not for starts and stops: those are known already, and each id
    /// here is a question more. May be dropped at any time, and must not lose anything then. By default there is
    /// nothing to wait for.
    fn changed(&mut self) -> Later<'_, Vec<String>> {
        Box::pin(std::future::pending())
    }

    /// Asks whether its runtime is there, with one call that costs it next to nothing. It is asked now and then while
    /// there is nothing else to ask, so that a runtime that has gone is known before it is needed. None, as by default,
    /// when there is no such call: then it is as it was when it was last asked.
    fn ping(&mut self) -> Later<'_, Option<Result<(), String>>> {
        Box::pin(std::future::ready(None))
    }

    /// Calls that it has made so far.
    fn calls(&self) -> u64;
}

/// A container that is to be described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The runtime's identity of it, in full.
    pub id: String,
    /// Who started it, as far as its control group tells.
    pub runtime: Runtime,
    /// The pod that it belongs to, as far as its control group tells: a UID of Kubernetes, or podman's id of the pod.
    pub pod: Option<String>,
    /// Its first process, if that is visible from here.
    pub process: Option<Process>,
}

/// What a source says about a container. Whatever it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The runtime's identity of it, in full.
    pub id: String,
    /// What it is called: in its pod, or by docker and podman (without a slash in front).
    pub name: String,
    /// Who started it.
    pub runtime: Option<Runtime>,
    /// What it is there for.
    pub role: Option<Role>,
    /// The pod that it belongs to.
    pub pod: Option<Pod>,
    /// The image, as it was asked for.
    pub image: String,
    /// Labels of its own.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its own.
    pub annotations: BTreeMap<String, String>,
    /// The number of its first process.
    pub pid: Option<u32>,
    /// What its runtime handler, or whatever else starts it, is called: `runsc`, `kata-qemu`. Discovery decides
    /// whether that is a sandboxed one.
    pub handler: String,
    /// Whether it is in the host's network namespace.
    pub host_network: Option<bool>,
    /// When it was started.
    pub started: Option<SystemTime>,
}
