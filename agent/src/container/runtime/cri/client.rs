//! Calls over gRPC on a unix socket.

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::time::timeout;
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::container::runtime::{
    ANSWER, CALL,
    place::Place,
    trouble::{Trouble, cause},
};

/// A runtime's socket, and the connection to it once there is one.
#[derive(Debug)]
pub(super) struct Client {
    place: Place,
    channel: Option<Channel>,
    calls: u64,
}

impl Client {
    pub(super) const fn new(place: Place) -> Self {
        Self { place, channel: None, calls: 0 }
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    pub(super) const fn calls(&self) -> u64 {
        self.calls
    }

    async fn grpc(&mut self) -> Result<Grpc<Channel>, Trouble> {
        let channel = if let Some(channel) = &self.channel {
            channel.clone()
        } else {
            // A connection of its own tells best why there is none; the channel's words are less clear.
            drop(self.place.connect().await?);
            let place = self.place.clone();
            let connector = service_fn(move |_| {
                let place = place.clone();
                async move { place.connect().await.map(TokioIo::new) }
            });
            // The name is for the headers only; the connector knows where to go.
            let endpoint = Endpoint::from_static("http://localhost");
            let channel = endpoint.connect_with_connector(connector).await;
            self.channel.insert(channel.map_err(|error| Trouble::gone(&error))?).clone()
        };
        let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER);
        grpc.ready().await.map_err(|error| Trouble::gone(&error))?;
        Ok(grpc)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask<Q, A>(&mut self, method: &'static str, question: Q) -> Result<A, Trouble>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.calls += 1;
        let mut request = Request::new(question);
        // So that the runtime stops, too.
        request.set_timeout(CALL);
        let asked = async {
            let codec = ProstCodec::<Q, A>::default();
            let mut grpc = self.grpc().await?;
            grpc.unary(request, PathAndQuery::from_static(method), codec)
                .await
                .map_err(|status| trouble(&status))
        };
        let answer = timeout(CALL, asked).await.unwrap_or(Err(Trouble::Slow));
        if answer.as_ref().is_err_and(Trouble::ends_talk) {
            self.channel = None;
        }
        answer.map(tonic::Response::into_inner)
    }

    /// Asks for answers without end. The first of them may be long in coming.
    pub(super) async fn listen<Q, A>(
        &mut self,
        method: &'static str,
        question: Q,
    ) -> Result<Streaming<A>, Trouble>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.calls += 1;
        let codec = ProstCodec::<Q, A>::default();
        let mut grpc = timeout(CALL, self.grpc()).await.map_err(|_| Trouble::Slow)??;
        let path = PathAndQuery::from_static(method);
        let stream = grpc.server_streaming(Request::new(question), path, codec).await;
        stream.map(tonic::Response::into_inner).map_err(|status| trouble(&status))
    }
}

/// What a failed call means.
pub(super) fn trouble(status: &Status) -> Trouble {
    let text = || if status.message().is_empty() { cause(status) } else { status.message().to_owned() };
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => Trouble::Slow,
        Code::Unavailable => Trouble::Gone(text()),
        Code::OutOfRange => Trouble::Long,
        // Of a connection that broke, the library does not know what to say.
        Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => {
            Trouble::Gone(cause(status))
        }
        // So CRI-O says that there is no such container.
        Code::NotFound | Code::Unknown => Trouble::Unknown(text()),
        Code::Unimplemented => Trouble::Refused(format!("unimplemented: {}", text())),
        code => Trouble::Refused(format!("{code}: {}", text())),
    }
}
