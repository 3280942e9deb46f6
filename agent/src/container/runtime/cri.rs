//! A runtime by its CRI, as kubelets talk to it: containerd, CRI-O, and docker by its adapter.

mod client;
mod messages;
mod say;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use self::{
    client::{Client, trouble},
    messages::{
        Container, ContainerEventResponse, Filter, GetEventsRequest, ImageSpec, ImageStatusRequest,
        ImageStatusResponse, ListContainersResponse, ListPodSandboxResponse, ListRequest,
        PodSandboxStatusRequest, PodSandboxStatusResponse, STARTED, VersionRequest, VersionResponse,
    },
    say::{Sandbox, image_name},
};
use super::{
    FEW,
    listen::{Listener, Told},
    place::Place,
    trouble::Trouble,
};
use crate::container::{
    Runtime,
    source::{Description, Found},
};

const VERSION: &str = "/runtime.v1.RuntimeService/Version";
const LIST_SANDBOXES: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const SANDBOX_STATUS: &str = "/runtime.v1.RuntimeService/PodSandboxStatus";
const EVENTS: &str = "/runtime.v1.RuntimeService/GetContainerEvents";
const IMAGE_STATUS: &str = "/runtime.v1.ImageService/ImageStatus";

/// How long one question may ask about single pods after the lists: what is not known by then is asked later.
const SINGLE: Duration = Duration::from_secs(1);
/// When it is.
const LATER: Duration = Duration::from_secs(2);
/// Images and containers that are remembered.
const REMEMBERED: usize = 4096;

/// A runtime that speaks the CRI.
#[derive(Debug)]
pub(super) struct Cri {
    client: Client,
    runtime: Runtime,
    /// Pods by their sandboxes.
    sandboxes: HashMap<String, Sandbox>,
    /// Names of images of which containers know digests only.
    images: HashMap<String, String>,
    /// Those that it did not know when it was asked.
    missed: BTreeSet<String>,
    /// Those of which something is to be asked, and when.
    later: Option<(Instant, Vec<String>)>,
    events: Option<Listener>,
}

impl Cri {
    /// Asks who listens there.
    pub(super) async fn meet(place: Place) -> Result<Self, Trouble> {
        let mut client = Client::new(place);
        let hello = VersionRequest { version: "v1".to_owned() };
        let known: VersionResponse = client.ask(VERSION, hello).await.map_err(|trouble| match trouble {
            Trouble::Refused(why) => {
                Trouble::Refused(format!("speaks gRPC, and not the CRI of version v1: {why}"))
            }
            trouble => trouble,
        })?;
        tracing::info!(
            socket = client.place().name(),
            runtime = known.runtime_name,
            version = known.runtime_version,
            "a container runtime"
        );
        let runtime = match known.runtime_name.as_str() {
            "containerd" => Runtime::Containerd,
            "cri-o" => Runtime::Crio,
            // By its adapter.
            "docker" => Runtime::Docker,
            _ => Runtime::Unknown,
        };
        Ok(Self {
            client,
            runtime,
            sandboxes: HashMap::new(),
            images: HashMap::new(),
            missed: BTreeSet::new(),
            later: None,
            events: None,
        })
    }

    pub(super) const fn calls(&self) -> u64 {
        self.client.calls()
    }

    /// Whether it may be its container. Where control groups have no systemd, those of all runtimes look alike, and
    /// pass for containerd's.
    pub(super) fn may_know(&self, found: &Found) -> bool {
        match found.runtime {
            Runtime::Unknown => true,
            Runtime::Containerd => self.runtime != Runtime::Crio,
            runtime => runtime == self.runtime || self.runtime == Runtime::Unknown,
        }
    }

    /// Asks whether it is there.
    pub(super) async fn ping(&mut self) -> Result<(), Trouble> {
        let _known: VersionResponse =
            self.client.ask(VERSION, VersionRequest { version: "v1".to_owned() }).await?;
        Ok(())
    }

    /// Describes those that it knows.
    pub(super) async fn describe(&mut self, found: &[Found]) -> Result<Vec<Description>, Trouble> {
        let described = if found.len() <= FEW { self.few(found).await } else { self.many(found).await }?;
        for found in found {
            if described.iter().any(|description| description.id == found.id) {
                self.missed.remove(&found.id);
            } else {
                if self.missed.len() >= REMEMBERED {
                    self.missed.clear();
                }
                self.missed.insert(found.id.clone());
            }
        }
        Ok(described)
    }

    /// Waits for news of those that it did not know, and of those of which it did not know all.
    pub(super) async fn changed(&mut self) -> Vec<String> {
        let events = self.events.get_or_insert_with(|| follow(self.client.place().clone()));
        let later = self.later.as_ref().map(|(at, _)| *at);
        let due = async {
            match later {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            loop {
                let id = events.next().await;
                if self.missed.remove(&id) {
                    return id;
                }
            }
        };
        tokio::select! {
            id = news => vec![id],
            () = due => self.later.take().map(|(_, ids)| ids).unwrap_or_default(),
        }
    }

    /// One after another: one call for a container of a known pod, two for a new pod.
    async fn few(&mut self, found: &[Found]) -> Result<Vec<Description>, Trouble> {
        let mut all = Vec::new();
        for found in found {
            // The first thing of a pod that appears is its sandbox.
            let is_known = found
                .pod
                .as_ref()
                .is_some_and(|uid| self.sandboxes.values().any(|sandbox| sandbox.pod.uid == *uid));
            let is_pod = self.knows(&found.id);
            let mut described = None;
            if is_pod || !is_known {
                described = self.pod(found).await?;
            }
            if described.is_none() {
                described = self.container(found).await?;
            }
            if described.is_none() && is_known && !is_pod {
                described = self.pod(found).await?;
            }
            all.extend(described);
        }
        Ok(all)
    }

    /// The sandbox that was found, if it is one.
    async fn pod(&mut self, found: &Found) -> Result<Option<Description>, Trouble> {
        if !self.knows(&found.id) {
            self.learn(&found.id).await?;
        }
        let known = self.sandboxes.get(&found.id);
        Ok(known.map(|sandbox| sandbox.describe(&found.id, self.runtime)))
    }

    /// The container that was found, if it is one.
    async fn container(&mut self, found: &Found) -> Result<Option<Description>, Trouble> {
        let filter = Some(Filter { id: found.id.clone() });
        let list: ListContainersResponse = self.client.ask(LIST_CONTAINERS, ListRequest { filter }).await?;
        let Some(container) = list.containers.into_iter().find(|container| container.id == found.id) else {
            return Ok(None);
        };
        if !self.knows(&container.pod_sandbox_id) {
            self.learn(&container.pod_sandbox_id).await?;
        }
        self.complete(container).await.map(Some)
    }

    /// All of them from its lists, and what the lists do not say for as long as there is time.
    async fn many(&mut self, found: &[Found]) -> Result<Vec<Description>, Trouble> {
        let wanted: BTreeSet<&str> = found.iter().map(|found| found.id.as_str()).collect();
        let all = || ListRequest { filter: None };
        let sandboxes: ListPodSandboxResponse = self.client.ask(LIST_SANDBOXES, all()).await?;
        let mut containers: ListContainersResponse = self.client.ask(LIST_CONTAINERS, all()).await?;
        containers.containers.retain(|container| wanted.contains(container.id.as_str()));
        let until = Instant::now() + SINGLE;
        let mut later = Vec::new();
        let mut described = Vec::new();
        let mut known = std::mem::take(&mut self.sandboxes);
        for listed in sandboxes.items {
            let id = listed.id.clone();
            let is_wanted = wanted.contains(id.as_str());
            // Those that are not listed any more are forgotten.
            if let Some(sandbox) = known.remove(&id) {
                self.sandboxes.insert(id.clone(), sandbox);
            }
            if !is_wanted && !containers.containers.iter().any(|container| container.pod_sandbox_id == id) {
                continue;
            }
            if !self.knows(&id) && Instant::now() < until {
                self.learn(&id).await?;
            }
            let sandbox = self.sandboxes.entry(id.clone()).or_insert_with(|| Sandbox::listed(listed));
            if is_wanted {
                described.push(sandbox.describe(&id, self.runtime));
                later.extend((!sandbox.is_complete).then_some(id));
            }
        }
        for container in containers.containers {
            if Instant::now() < until && self.knows(&container.pod_sandbox_id) {
                described.push(self.complete(container).await?);
            } else {
                later.push(container.id.clone());
                described.push(self.say(container));
            }
        }
        if !later.is_empty() {
            let (_, waiting) = self.later.get_or_insert_with(|| (Instant::now() + LATER, Vec::new()));
            waiting.append(&mut later);
        }
        Ok(described)
    }

    /// Whether all is known about a sandbox.
    fn knows(&self, id: &str) -> bool {
        self.sandboxes.get(id).is_some_and(|sandbox| sandbox.is_complete)
    }

    /// Learns all about a sandbox, if there is one.
    async fn learn(&mut self, id: &str) -> Result<(), Trouble> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned() };
        let answer: PodSandboxStatusResponse = match self.client.ask(SANDBOX_STATUS, request).await {
            Err(Trouble::Unknown(_)) => return Ok(()),
            answer => answer?,
        };
        if self.sandboxes.len() >= REMEMBERED {
            self.sandboxes.clear();
        }
        if let Some(status) = answer.status {
            self.sandboxes.insert(id.to_owned(), Sandbox::of(status));
        }
        Ok(())
    }

    /// What is said of a container, with what its list does not say.
    async fn complete(&mut self, container: Container) -> Result<Description, Trouble> {
        let digest = container.image.as_ref().filter(|image| image_name(image).is_none());
        if let Some(digest) = digest.map(|image| image.image.clone())
            && !digest.is_empty()
            && !self.images.contains_key(&digest)
        {
            self.learn_image(digest).await?;
        }
        Ok(self.say(container))
    }

    /// What one of its names is. Where there is none, the digest stays unnamed.
    async fn learn_image(&mut self, digest: String) -> Result<(), Trouble> {
        let image = ImageSpec { image: digest.clone(), ..ImageSpec::default() };
        let request = ImageStatusRequest { image: Some(image) };
        let answer = match self.client.ask::<_, ImageStatusResponse>(IMAGE_STATUS, request).await {
            // It may do without that service.
            Err(Trouble::Unknown(_) | Trouble::Refused(_)) => None,
            answer => answer?.image,
        };
        if self.images.len() >= REMEMBERED {
            self.images.clear();
        }
        let name = answer.and_then(|image| image.repo_tags.into_iter().next());
        self.images.insert(digest, name.unwrap_or_default());
        Ok(())
    }

    fn say(&self, container: Container) -> Description {
        let sandbox = self.sandboxes.get(&container.pod_sandbox_id);
        say::container(container, sandbox, &self.images, self.runtime)
    }
}

/// Follows what is started there.
fn follow(place: Place) -> Listener {
    async fn attempt(place: Place, told: Told) -> Result<(), Trouble> {
        let mut client = Client::new(place);
        let mut events = client.listen::<_, ContainerEventResponse>(EVENTS, GetEventsRequest {}).await?;
        while let Some(event) = events.message().await.map_err(|status| trouble(&status))? {
            if event.container_event_type == STARTED {
                // What does not fit is asked for in other ways.
                drop(told.try_send(event.container_id));
            }
        }
        Ok(())
    }
    Listener::spawn(move |told| attempt(place.clone(), told))
}

#[cfg(test)]
mod tests;
