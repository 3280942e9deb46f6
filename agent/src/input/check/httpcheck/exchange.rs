//! A request and its answer, phase by phase, and the redirects between them.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    header::{HOST, HeaderValue, LOCATION, TRANSFER_ENCODING},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::yield_now,
};

use super::{
    super::{
        Inside,
        reach::{self, Failure, Patience, Reason},
    },
    limited::Limited,
    plan::Plan,
    redirect::{Hop, ascii, redirects},
    tls::{self, Seen, Tls},
};

/// The longest head of an answer, and what of it is buffered.
const MOST_HEAD: usize = 64 << 10;
/// Headers of an answer. Each takes memory before its head is read, so they have a bound of their own.
const MOST_HEADERS: usize = 1024;
/// What may come beside the body: heads, certificates, and the frames of both protocols.
const MOST_BESIDE: u64 = 512 << 10;
/// The most bytes that come for one of the body: a chunk may hold one byte, and its length takes five more.
const FRAMING: u64 = 8;

/// A part of the time that a check takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Tls,
    FirstByte,
    Transfer,
}

impl Phase {
    pub(super) const ALL: [Self; 5] =
        [Self::Resolve, Self::Connect, Self::Tls, Self::FirstByte, Self::Transfer];
    pub(super) const WORDS: &[&str] = &["resolve", "connect", "tls", "first_byte", "transfer"];

    pub(super) const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// What was found out, as far as it went.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) phases: [Option<Duration>; Phase::ALL.len()],
    /// How long it took in all; none unless there was a whole answer.
    pub(super) total: Option<Duration>,
    pub(super) status: Option<u16>,
    /// Bytes of the body that were read, and whether there were more, or may have been.
    pub(super) body: Option<(u64, bool)>,
    pub(super) redirects: u32,
    pub(super) seen: Option<Seen>,
}

impl Found {
    /// Notes a phase that began then. What a check goes through several times is added up.
    fn note(&mut self, phase: Phase, began: Instant) {
        *self.phases[phase as usize].get_or_insert_default() += began.elapsed();
    }
}

/// Asks, and follows as many redirects as the plan wants. What is found out on the way is there also when it fails.
pub(super) async fn check(
    plan: &Plan,
    tls: &mut Option<Tls>,
    inside: &Inside,
    patience: Patience,
    found: &mut Found,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut hop =
        Hop { uri: plan.uri.clone(), method: plan.method.clone(), body: plan.body.clone(), is_own: true };
    loop {
        let addresses = resolve(&hop, inside, patience, found)?;
        let connecting = Instant::now();
        let stream = reach::connect(&addresses, patience).await?;
        found.note(Phase::Connect, connecting);
        let most = MOST_BESIDE + FRAMING * u64::from(plan.settings.body_limit);
        let stream = Limited::new(stream, most);
        let turn = if hop.is_secure() {
            let tls = match &mut *tls {
                Some(tls) => tls,
                none => none.insert(Tls::new(&plan.trust, plan.settings.verify).map_err(Failure::Unknown)?),
            };
            let shaking = Instant::now();
            let given = &plan.settings.server_name;
            let name = if hop.is_own && !given.is_empty() { given } else { hop.host() };
            let name = tls::server_name(name).ok_or(Reason::Tls)?;
            let shaken = tls.connector.connect(name, stream).await.map_err(tls::failure);
            found.seen = tls.seen();
            let stream = shaken?;
            found.note(Phase::Tls, shaking);
            talk(stream, plan, &hop, found).await?
        } else {
            talk(stream, plan, &hop, found).await?
        };
        match turn {
            Turn::Redirected(location) if found.redirects < plan.settings.redirects => {
                let status = location.status();
                let location = location.headers().get(LOCATION).map(|to| ascii(to.as_bytes()));
                hop = location.and_then(|to| hop.next(status, &to)).ok_or(Reason::Redirect)?;
                found.redirects += 1;
            }
            Turn::Redirected(_) => return Err(Reason::Redirect.into()),
            Turn::Answered(body) => {
                found.total = Some(began.elapsed());
                return judge(plan, found, &body);
            }
        }
    }
}

/// The addresses of whom a hop asks.
fn resolve(
    hop: &Hop,
    inside: &Inside,
    patience: Patience,
    found: &mut Found,
) -> Result<Vec<SocketAddr>, Failure> {
    let host = hop.host().trim_start_matches('[').trim_end_matches(']');
    let with_port = |address| SocketAddr::new(address, hop.port());
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![with_port(address)]);
    }
    let began = Instant::now();
    let addresses = reach::addresses(inside, host, patience)?;
    found.note(Phase::Resolve, began);
    Ok(addresses.into_iter().map(with_port).collect())
}

/// What became of a request.
enum Turn {
    /// An answer, with as much of its body as is looked at.
    Answered(Vec<u8>),
    /// Ask somebody else.
    Redirected(Response<()>),
}

async fn talk<S>(stream: S, plan: &Plan, hop: &Hop, found: &mut Found) -> Result<Turn, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(plan, hop)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD).max_headers(MOST_HEADERS);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
    let exchange = async move {
        let asked = Instant::now();
        let response = sender.send_request(request).await.map_err(|error| failure(&error))?;
        found.note(Phase::FirstByte, asked);
        let (head, body) = response.into_parts();
        let status = head.status;
        found.status = Some(status.as_u16());
        if plan.settings.redirects > 0 && redirects(status) && head.headers.contains_key(LOCATION) {
            return Ok(Turn::Redirected(Response::from_parts(head, ())));
        }
        let received = Instant::now();
        let ends_with_connection =
            body.size_hint().exact().is_none() && !head.headers.contains_key(TRANSFER_ENCODING);
        match transfer(body, plan, ends_with_connection, found).await {
            Ok(body) => {
                found.note(Phase::Transfer, received);
                Ok(Turn::Answered(body))
            }
            // That is known, whatever became of the rest.
            Err(_) if !plan.expects(status.as_u16()) => Err(Reason::Status.into()),
            Err(failure) => Err(failure),
        }
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        turn = &mut exchange => return turn,
        // What it brought before it ended may still be on the way.
        _ = &mut connection => {}
    }
    exchange.await
}

fn request(plan: &Plan, hop: &Hop) -> Result<Request<Full<Bytes>>, Failure> {
    let path = hop.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(hop.body.clone()));
    *request.method_mut() = hop.method.clone();
    *request.uri_mut() = path.parse().map_err(|_| Reason::Redirect)?;
    let headers = request.headers_mut();
    let authority = hop.uri.authority().map_or("", |authority| authority.as_str());
    headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| Reason::Redirect)?);
    if hop.is_own {
        // One of the same name takes the place of this one.
        headers.extend(plan.headers.clone());
    } else {
        headers.extend(plan.anonymous.clone());
    }
    Ok(request)
}

/// Reads the body, up to the limit. What may follow is not waited for: it can be a stream of events that says nothing.
async fn transfer(
    mut body: Incoming,
    plan: &Plan,
    ends_with_connection: bool,
    found: &mut Found,
) -> Result<Vec<u8>, Failure> {
    let limit = plan.settings.body_limit as usize;
    let (mut kept, mut read) = (Vec::new(), 0);
    loop {
        if read == limit {
            found.body = Some((read as u64, !is_at_end(&mut body, ends_with_connection).await));
            return Ok(kept);
        }
        let Some(frame) = body.frame().await else { break };
        let data = match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => data,
            // Trailers.
            Ok(Err(_)) => continue,
            // Many servers do not say goodbye in TLS.
            Err(error) if ends_with_connection && is_end(&error) => break,
            Err(error) => return Err(failure(&error)),
        };
        let taken = data.len().min(limit - read);
        read += taken;
        if plan.looks_at_body() {
            kept.extend_from_slice(&data[..taken]);
        }
        if taken < data.len() {
            found.body = Some((read as u64, true));
            return Ok(kept);
        }
    }
    found.body = Some((read as u64, false));
    Ok(kept)
}

/// Whether it is known that no more of a body follows.
async fn is_at_end(body: &mut Incoming, ends_with_connection: bool) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let moment = async {
        // One for the connection to go on with what it has read, one for what the kernel has.
        for _ in 0..2 {
            yield_now().await;
        }
    };
    tokio::select! {
        biased;
        frame = body.frame() => match frame {
            None => true,
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(error)) => ends_with_connection && is_end(&error),
        },
        () = moment => false,
    }
}

fn judge(plan: &Plan, found: &Found, body: &[u8]) -> Result<(), Failure> {
    if !found.status.is_some_and(|status| plan.expects(status)) {
        return Err(Reason::Status.into());
    }
    if plan.looks_at_body() {
        let text = String::from_utf8_lossy(body);
        let is_there = plan.found.as_ref().is_none_or(|regex| regex.is_match(&text));
        let is_not = plan.not_found.as_ref().is_none_or(|regex| !regex.is_match(&text));
        if !(is_there && is_not) {
            return Err(Reason::Body.into());
        }
    }
    Ok(())
}

/// The error of a socket that is behind one of HTTP.
fn cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        source = error.source();
    }
    None
}

/// A connection over TLS that ended without a goodbye.
fn is_end(error: &hyper::Error) -> bool {
    cause(error).is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// What an error of HTTP says of the target.
fn failure(error: &hyper::Error) -> Failure {
    if let Some(cause) = cause(error) {
        return match cause.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code).into(),
            None if tls::is_at_fault(cause) => Reason::Tls.into(),
            None => io::Error::from(cause.kind()).into(),
        };
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Reason::Closed.into()
    } else {
        Reason::Protocol.into()
    }
}
