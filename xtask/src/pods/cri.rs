//! The few calls to a runtime that kubelet would make.

use std::path::Path;

use anyhow::{Context, Result};
use prost::Message;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::messages::{
    Container, Created, Empty, ListSandboxes, OfContainer, OfSandbox, Sandbox, Sandboxes, StatusOfContainer,
    StatusOfSandbox, StatusReply, Version,
};

/// A connection to the socket of a runtime.
#[derive(Debug)]
pub(super) struct Cri {
    runtime: Runtime,
    channel: Channel,
}

impl Cri {
    /// One that connects when it is used, and again when the runtime was restarted.
    pub(super) fn new(socket: &Path) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display()))?;
        let channel = {
            let _context = runtime.enter();
            endpoint.connect_lazy()
        };
        Ok(Self { runtime, channel })
    }

    /// Whether it answers.
    pub(super) fn version(&self) -> Result<Version> {
        self.call("Version", Version::default())
    }

    pub(super) fn run_sandbox(&self, config: &Sandbox) -> Result<String> {
        let request = super::messages::RunSandbox { config: Some(config.clone()) };
        let reply: OfSandbox = self.call("RunPodSandbox", request)?;
        Ok(reply.id)
    }

    pub(super) fn run_container(&self, pod: &str, config: Container, sandbox: &Sandbox) -> Result<String> {
        let request = super::messages::CreateContainer {
            pod: pod.to_owned(),
            config: Some(config),
            sandbox: Some(sandbox.clone()),
        };
        let Created { id } = self.call("CreateContainer", request)?;
        self.call::<_, Empty>("StartContainer", OfContainer { id: id.clone() })?;
        Ok(id)
    }

    pub(super) fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.call::<_, Empty>("StopPodSandbox", OfSandbox { id: id.to_owned() }).map(drop)
    }

    pub(super) fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.call::<_, Empty>("RemovePodSandbox", OfSandbox { id: id.to_owned() }).map(drop)
    }

    /// The identities of all.
    pub(super) fn sandboxes(&self) -> Result<Vec<String>> {
        let listed: Sandboxes = self.call("ListPodSandbox", ListSandboxes {})?;
        Ok(listed.items.into_iter().map(|sandbox| sandbox.id).collect())
    }

    /// What containerd says of a sandbox beyond the standard, and its address.
    pub(super) fn sandbox(&self, id: &str) -> Result<(Value, String)> {
        let request = StatusOfSandbox { id: id.to_owned(), verbose: true };
        let reply: StatusReply = self.call("PodSandboxStatus", request)?;
        let address = reply.status.and_then(|status| status.network).unwrap_or_default().ip;
        Ok((serde_json::from_str(reply.info.get("info").context("no verbose status")?)?, address))
    }

    /// The same of a container.
    pub(super) fn container(&self, id: &str) -> Result<Value> {
        let request = StatusOfContainer { id: id.to_owned(), verbose: true };
        let reply: super::messages::ContainerReply = self.call("ContainerStatus", request)?;
        Ok(serde_json::from_str(reply.info.get("info").context("no verbose status")?)?)
    }

    fn call<Q, A>(&self, method: &str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"))?;
        let mut client = Grpc::new(self.channel.clone());
        let reply = self.runtime.block_on(async {
            client.ready().await?;
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            anyhow::Ok(client.unary(Request::new(request), path, codec).await?.into_inner())
        });
        reply.with_context(|| format!("{method} fails"))
    }
}
