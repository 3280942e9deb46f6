//! The HTTP door: `/metrics` for scrapers, `/status` and `/` for people, `/healthz` for probes.

mod want;

use std::{
    convert::Infallible,
    future::Future,
    io::Write as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, VARY},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

pub use self::want::Want;
use super::{
    negotiate::Format,
    patience::{Patience, Patient},
};

/// What the door opens to.
pub trait Door: Send + Sync {
    /// One collection, shared by scrapers that arrive together.
    fn scrape(&self, want: Want) -> Pin<Box<dyn Future<Output = Result<Page, Refused>> + Send + '_>>;
    /// State of the agent and its inputs, as JSON.
    fn status(&self) -> Vec<u8>;
    /// What the landing page says below its links, as HTML.
    fn landing(&self) -> String;
    /// Why the agent is not well, if it is not.
    fn healthy(&self) -> Result<(), String>;
    /// Reads the configuration again, where that may be asked for.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Reload> + Send + '_>> {
        Box::pin(async { Reload::Off })
    }
}

/// What a request to reload brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It may not be asked for: status 403.
    Off,
    /// It is done: what changed, as JSON.
    Done(Vec<u8>),
    /// What runs stays as it is, because of these problems, as JSON: status 422.
    Refused(Vec<u8>),
    /// The agent cannot do it now: status 503.
    Unavailable(String),
}

/// A page in the wanted format.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its bytes, shared by all who get it.
    pub body: Bytes,
    /// Whether they are compressed.
    pub gzip: bool,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request asks for something that there is not, such as an unknown input: status 400.
    #[error("{0}")]
    BadRequest(String),
    /// The agent cannot answer now: status 503.
    #[error("{0}")]
    Unavailable(String),
}

/// Bounds of the door.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    connections: usize,
    patience: Patience,
    /// To make a page, whatever the scraper says it would wait.
    scrape: Duration,
    /// To finish what is under way when the agent stops.
    stop: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 64,
            patience: Patience {
                head: Duration::from_secs(5),
                answer: Duration::from_secs(30),
                // Longer than the usual scrape intervals, so that a scraper keeps its connection.
                idle: Duration::from_secs(120),
            },
            scrape: Duration::from_secs(60),
            stop: Duration::from_millis(500),
        }
    }
}

/// Bytes of a request's head, at most.
const HEAD_BYTES: usize = 16 * 1024;
/// Pause after a failed accept: out of descriptors, it would fail again at once.
const BACK_OFF: Duration = Duration::from_millis(100);
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 21\r\n\r\ntoo many connections\n";
const REFUSED: &str = "pitot_agent_http_connections_refused_total";
const ACCEPT_ERRORS: &str = "pitot_agent_http_accept_errors_total";

/// Serves the door until `stop` becomes true or its sender is gone; what is under way then has 500 ms.
/// Connections past 64 are answered 503 and closed.
pub async fn serve(listener: TcpListener, door: Arc<dyn Door>, stop: watch::Receiver<bool>) {
    serve_within(listener, door, stop, Bounds::default()).await;
}

async fn serve_within(
    listener: TcpListener,
    door: Arc<dyn Door>,
    mut stop: watch::Receiver<bool>,
    bounds: Bounds,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            // Finished ones are taken out first, so that the set counts those that are open.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < bounds.connections => {
                    connections.spawn(converse(stream, Arc::clone(&door), stop.clone(), bounds));
                }
                Ok((stream, _)) => refuse(stream),
                Err(error) => {
                    metrics::counter!(ACCEPT_ERRORS).increment(1);
                    tracing::debug!(%error, "accept failed");
                    sleep(BACK_OFF).await;
                }
            },
        }
    }
    drop(listener);
    // Those that are still open afterwards are cut off when the set is dropped.
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(bounds.stop, finish).await.is_err() {
        tracing::debug!(open = connections.len(), "connections cut off");
    }
}

/// Waits for the word to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to say it.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn refuse(stream: TcpStream) {
    metrics::counter!(REFUSED).increment(1);
    // The send buffer of a new connection is empty: this neither blocks nor needs to be awaited.
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(BUSY);
    }
}

async fn converse(stream: TcpStream, door: Arc<dyn Door>, mut stop: watch::Receiver<bool>, bounds: Bounds) {
    // The last, short segment of a page would wait for an acknowledgement otherwise.
    let _ = stream.set_nodelay(true);
    let ours = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Patient::new(stream, bounds.patience, Arc::clone(&ours)));
    let service = service_fn(|request: Request<Incoming>| {
        let (door, ours) = (&door, &ours);
        async move {
            ours.store(true, Ordering::Relaxed);
            let response = answer(&request, door.as_ref(), bounds.scrape).await;
            ours.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: &Request<Incoming>, door: &dyn Door, bound: Duration) -> Answer {
    const TEXT: &str = "text/plain; charset=utf-8";
    const JSON: &str = "application/json";
    if request.uri().path() == "/-/reload" {
        if request.method() != Method::POST {
            let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only POST reloads\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        return match timeout(bound, door.reload()).await {
            Ok(Reload::Off) => {
                reply(StatusCode::FORBIDDEN, TEXT, "`reload.endpoint` is off in the configuration\n")
            }
            Ok(Reload::Done(changes)) => reply(StatusCode::OK, JSON, changes),
            Ok(Reload::Refused(problems)) => reply(StatusCode::UNPROCESSABLE_ENTITY, JSON, problems),
            Ok(Reload::Unavailable(why)) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
            Err(_) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the reload takes too long\n"),
        };
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are served\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let want = Want::of(request);
            let format = want.format;
            let page = timeout(bound, door.scrape(want)).await;
            match page.unwrap_or_else(|_| Err(Refused::Unavailable("the collection takes too long".into()))) {
                Ok(page) => metrics(page, format),
                Err(Refused::BadRequest(why)) => reply(StatusCode::BAD_REQUEST, TEXT, why + "\n"),
                Err(Refused::Unavailable(why)) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
            }
        }
        "/status" => reply(StatusCode::OK, JSON, door.status()),
        "/healthz" => match door.healthy() {
            Ok(()) => reply(StatusCode::OK, TEXT, "ok\n"),
            Err(why) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
        },
        "/" => reply(StatusCode::OK, "text/html; charset=utf-8", landing(&door.landing())),
        _ => reply(StatusCode::NOT_FOUND, TEXT, "not found: there are /metrics, /status, /healthz and /\n"),
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = body.into();
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}

fn metrics(page: Page, format: Format) -> Answer {
    let mut response = reply(StatusCode::OK, format.content_type(), page.body);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if page.gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn landing(body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>pitot</title></head><body>\n\
         <h1>pitot {}</h1>\n<ul><li><a href=\"/metrics\">/metrics</a></li>\
         <li><a href=\"/status\">/status</a></li><li><a href=\"/healthz\">/healthz</a></li></ul>\n\
         {body}\n</body></html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests;
