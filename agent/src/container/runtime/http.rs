//! One question and one answer over HTTP, on a connection of their own.

use std::pin::pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode,
    body::{Body, Incoming},
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::timeout,
};

use super::{
    ANSWER, CALL,
    trouble::{Trouble, cause},
};

/// What is asked for.
pub(super) struct Ask<'a> {
    /// The path and what follows it.
    pub(super) target: &'a str,
    /// Whose it is, for the servers that serve several.
    pub(super) host: &'a str,
    /// What gives the right to ask.
    pub(super) token: Option<&'a str>,
}

impl<'a> Ask<'a> {
    /// Without a right that would have to be shown.
    pub(super) fn of(target: &'a str) -> Self {
        Self { target, host: "localhost", token: None }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Trouble> {
        let wrong = |error: &dyn std::error::Error| Trouble::Refused(format!("{}: {error}", self.target));
        let mut request = Request::get(self.target)
            .header(HOST, self.host)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("pitot/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| wrong(&error))?;
        if let Some(token) = self.token {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| wrong(&error))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// Asks, and returns the whole answer of a success.
pub(super) async fn get<S>(stream: S, ask: &Ask<'_>) -> Result<Bytes, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    timeout(CALL, exchange(stream, ask)).await.unwrap_or(Err(Trouble::Slow))
}

async fn exchange<S>(stream: S, ask: &Ask<'_>) -> Result<Bytes, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = ask.request()?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| Trouble::gone(&error))?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| Trouble::gone(&error))?;
        let status = response.status();
        let body = whole(response.into_body()).await?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    });
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end as soon as the last byte has come, or before the first one has.
        _ = connection => answer.await,
    }
}

/// All of a body, if it is not too long.
async fn whole<B>(body: B) -> Result<Bytes, Trouble>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Trouble::Long),
        Err(error) => Err(Trouble::Gone(cause(&*error))),
    }
}

fn refused(status: StatusCode, body: &[u8]) -> Trouble {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().filter(|char| !char.is_control()).take(200).collect();
    let said = format!("{status}: {text}");
    if status == StatusCode::NOT_FOUND { Trouble::Unknown(said) } else { Trouble::Refused(said) }
}

/// An answer that goes on: one document per line, or one after another.
#[derive(Debug)]
pub(super) struct Stream {
    body: Incoming,
    /// Drives the connection, and ends with this.
    _connection: JoinSet<()>,
}

impl Stream {
    /// Asks for one. Only the beginning has to come in time.
    pub(super) async fn open<S>(stream: S, ask: &Ask<'_>) -> Result<Self, Trouble>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let request = ask.request()?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| Trouble::gone(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error ends the body too, where it is noticed.
            drop(connection.await);
        });
        let response = timeout(CALL, sender.send_request(request)).await.map_err(|_| Trouble::Slow)?;
        let response = response.map_err(|error| Trouble::gone(&error))?;
        match response.status() {
            status if status.is_success() => Ok(Self { body: response.into_body(), _connection: driver }),
            status => Err(refused(status, b"")),
        }
    }

    /// The next bytes; an error when there will be none. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Result<Bytes, Trouble> {
        loop {
            match self.body.frame().await {
                None => return Err(Trouble::Gone("the stream has ended".to_owned())),
                Some(Err(error)) => return Err(Trouble::gone(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(data);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        runtime::Builder,
    };

    use super::*;

    /// Runs something that waits, on the thread of the test.
    pub(in super::super) fn now<T>(task: impl Future<Output = T>) -> T {
        Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(task)
    }

    /// A server that answers one request with these bytes, and what it was asked.
    fn server(answer: impl AsRef<[u8]> + Send + 'static) -> (DuplexStream, tokio::task::JoinHandle<String>) {
        let (here, mut there) = tokio::io::duplex(1 << 16);
        let served = tokio::spawn(async move {
            let mut asked = vec![0; 4096];
            let length = there.read(&mut asked).await.expect("a request");
            asked.truncate(length);
            // Whoever has enough closes.
            drop(there.write_all(answer.as_ref()).await);
            String::from_utf8(asked).expect("text")
        });
        (here, served)
    }

    #[test]
    fn an_answer_is_a_success_of_bounded_length() {
        now(async {
            let (stream, asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]");
            let ask = Ask { target: "/pods?x=1", host: "node:10250", token: Some("secret") };
            assert_eq!(get(stream, &ask).await.expect("an answer"), "[]");
            let asked = asked.await.expect("asked").to_lowercase();
            assert!(asked.starts_with("get /pods?x=1 http/1.1\r\n"), "{asked}");
            assert!(asked.contains("host: node:10250\r\n"), "{asked}");
            assert!(asked.contains("authorization: bearer secret\r\n"), "{asked}");

            let (stream, _) = server("HTTP/1.1 200 OK\r\n\r\nuntil the end");
            assert_eq!(get(stream, &Ask::of("/")).await.expect("an answer"), "until the end");

            let mut long = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            long.resize(ANSWER + 100, b'x');
            let (stream, _) = server(long);
            assert_eq!(get(stream, &Ask::of("/")).await, Err(Trouble::Long));
        });
    }

    #[test]
    fn what_is_no_answer_says_why() {
        now(async {
            let (stream, _) = server("HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno such");
            assert_eq!(
                get(stream, &Ask::of("/")).await,
                Err(Trouble::Unknown("404 Not Found: no such".to_owned()))
            );

            let (stream, _) = server("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno\r\n");
            let refused = get(stream, &Ask::of("/")).await;
            assert_eq!(refused, Err(Trouble::Refused("403 Forbidden: no".to_owned())));

            let (stream, _) = server("\0\0\x12\x04\0\0\0\0\0");
            assert!(matches!(get(stream, &Ask::of("/")).await, Err(Trouble::Gone(_))));

            let (stream, _) = server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[");
            assert!(matches!(get(stream, &Ask::of("/")).await, Err(Trouble::Gone(_))));

            let ask = Ask { token: Some("two\nlines"), ..Ask::of("/") };
            let (stream, _) = server("");
            assert!(matches!(get(stream, &ask).await, Err(Trouble::Refused(_))));
        });
    }
}
