use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread::JoinHandle,
    time::Instant,
};

use super::*;
use crate::output::{Encoder, Gzip, fixture};

/// Serves the frame of the encoders' tests; `slow` never answers and `nosuch` is refused.
struct Fake;

impl Door for Fake {
    fn scrape(&self, want: Want) -> Pin<Box<dyn Future<Output = Result<Page, Refused>> + Send + '_>> {
        Box::pin(async move {
            match want.names.first().map(String::as_str) {
                Some("slow") => std::future::pending().await,
                Some("nosuch") => return Err(Refused::BadRequest("no input is called nosuch".into())),
                Some("busy") => return Err(Refused::Unavailable("not yet".into())),
                // More than the buffers of a loopback connection hold.
                Some("huge") => return Ok(Page { body: vec![b'#'; 64 << 20].into(), gzip: false }),
                _ => {}
            }
            let body = Encoder::new().encode(want.format, &[fixture::every_kind().frame()]);
            let small = want.gzip.then(|| Gzip::new().compress(&body)).flatten();
            Ok(Page { gzip: small.is_some(), body: small.unwrap_or(body) })
        })
    }
    fn status(&self) -> Vec<u8> {
        b"{}".to_vec()
    }
    fn landing(&self) -> String {
        "<p>fake</p>".to_owned()
    }
    fn healthy(&self) -> Result<(), String> {
        Err("it aches".to_owned())
    }
}

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(bounds: Bounds) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                serve_within(listener, Arc::new(Fake), stopped, bounds).await;
            });
        });
        Self { address, stop, thread }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn ask(&self, request: &str) -> Reply {
        let mut stream = self.connect();
        write!(stream, "{request}\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Reply::of(&bytes)
    }

    fn stop(self) {
        self.stop.send(true).unwrap();
        self.thread.join().unwrap();
    }
}

struct Reply {
    /// In lower case.
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        Self { head, body: bytes[end..].to_vec() }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    fn has(&self, status: u16, line: &str) {
        assert!(self.head.starts_with(&format!("http/1.1 {status}")), "{}", self.head);
        assert!(self.head.contains(line), "{}", self.head);
    }
}

/// One request on a connection that stays open.
fn exchange(stream: &mut TcpStream) -> Reply {
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut bytes = [0; 1024];
    let read = stream.read(&mut bytes).unwrap();
    Reply::of(&bytes[..read])
}

#[test]
fn a_scraper_gets_its_format() {
    let server = Server::start(Bounds::default());
    let text = server.ask("GET /metrics HTTP/1.1");
    text.has(200, "content-type: text/plain; version=0.0.4; charset=utf-8\r\n");
    text.has(200, "vary: accept, accept-encoding\r\n");
    text.has(200, &format!("content-length: {}\r\n", text.body.len()));
    assert!(text.text().starts_with("# HELP node_things_total"));
    let open = server.ask("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0");
    open.has(200, "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n");
    assert!(open.text().ends_with("\n# EOF\n"));
    let proto = server.ask(
        "GET /metrics HTTP/1.1\r\nAccept: application/vnd.google.protobuf;\
         proto=io.prometheus.client.MetricFamily;encoding=delimited",
    );
    proto.has(200, "content-type: application/vnd.google.protobuf;");
    assert!(proto.body.len() > 100);
    server.stop();
}

#[test]
fn a_page_is_compressed_for_those_who_want_it() {
    let server = Server::start(Bounds::default());
    let plain = server.ask("GET /metrics HTTP/1.1");
    let small = server.ask("GET /metrics HTTP/1.1\r\nAccept-Encoding: gzip");
    small.has(200, "content-encoding: gzip\r\n");
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(&*small.body).read_to_end(&mut body).unwrap();
    assert_eq!(body, plain.body);
    server.stop();
}

#[test]
fn other_paths_and_methods_are_answered() {
    let server = Server::start(Bounds::default());
    server.ask("GET /status HTTP/1.1").has(200, "content-type: application/json\r\n");
    let health = server.ask("GET /healthz HTTP/1.1");
    health.has(503, "");
    assert_eq!(health.text(), "it aches\n");
    let landing = server.ask("GET / HTTP/1.1");
    landing.has(200, "content-type: text/html; charset=utf-8\r\n");
    assert!(landing.text().contains("<p>fake</p>") && landing.text().contains("href=\"/metrics\""));
    let lost = server.ask("GET /nosuch HTTP/1.1");
    lost.has(404, "");
    assert!(lost.text().contains("/metrics"));
    server.ask("POST /metrics HTTP/1.1\r\nContent-Length: 0").has(405, "allow: get, head\r\n");
    let head = server.ask("HEAD /metrics HTTP/1.1");
    let length = server.ask("GET /metrics HTTP/1.1").body.len();
    head.has(200, &format!("content-length: {length}\r\n"));
    assert_eq!(head.body, b"");
    server.stop();
}

#[test]
fn a_refused_scrape_says_why() {
    let bounds = Bounds { scrape: Duration::from_millis(50), ..Bounds::default() };
    let server = Server::start(bounds);
    let unknown = server.ask("GET /metrics?collect[]=nosuch HTTP/1.1");
    unknown.has(400, "");
    assert_eq!(unknown.text(), "no input is called nosuch\n");
    server.ask("GET /metrics?collect[]=busy HTTP/1.1").has(503, "");
    server.ask("GET /metrics?collect%5B%5D=slow HTTP/1.1").has(503, "");
    server.stop();
}

#[test]
fn connections_are_bounded_and_given_back() {
    let server = Server::start(Bounds { connections: 2, ..Bounds::default() });
    let mut first = server.connect();
    let mut second = server.connect();
    exchange(&mut first).has(200, "");
    exchange(&mut second).has(200, "");
    let mut bytes = Vec::new();
    server.connect().read_to_end(&mut bytes).unwrap();
    let refused = Reply::of(&bytes);
    refused.has(503, "connection: close\r\n");
    assert_eq!(refused.text(), "too many connections\n");
    // Kept alive.
    exchange(&mut first).has(200, "");
    drop(first);
    let begun = Instant::now();
    loop {
        let mut stream = server.connect();
        // One that is refused may find its request unread and reset the connection.
        let asked = stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut bytes = Vec::new();
        if asked.is_ok() && stream.read_to_end(&mut bytes).is_ok() && bytes.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    server.stop();
}

#[test]
fn a_slow_client_is_cut_off() {
    let short = Duration::from_millis(200);
    let patience = Patience { head: short, answer: short, idle: short * 8 };
    let server = Server::start(Bounds { patience, ..Bounds::default() });
    let closed_after = |stream: &mut TcpStream| {
        let begun = Instant::now();
        let mut bytes = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut bytes);
        begun.elapsed()
    };
    // A head that does not end, and none at all.
    for head in ["GET / HT", ""] {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        assert!((short / 2..short * 7).contains(&closed_after(&mut stream)));
    }
    // Idle has its own bound, and a head after it its own again.
    let mut stream = server.connect();
    exchange(&mut stream).has(200, "");
    assert!(closed_after(&mut stream) > short * 7);
    let mut stream = server.connect();
    exchange(&mut stream).has(200, "");
    stream.write_all(b"G").unwrap();
    assert!(closed_after(&mut stream) < short * 7);
    // A page that is not taken does not keep its place.
    let mut stream = server.connect();
    stream.write_all(b"GET /metrics?collect[]=huge HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (wake, nap) = std::sync::mpsc::channel::<()>();
    assert!(nap.recv_timeout(short * 4).is_err());
    drop(wake);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.len() < 64 << 20, "{}", bytes.len());
    server.stop();
}

#[test]
fn time_that_a_collection_takes_does_not_count_against_the_client() {
    let short = Duration::from_millis(100);
    let patience = Patience { head: short, answer: short, idle: short };
    let server = Server::start(Bounds { patience, scrape: short * 5, ..Bounds::default() });
    server.ask("GET /metrics?collect[]=slow HTTP/1.1").has(503, "");
    server.stop();
}

#[test]
fn stopping_closes_idle_connections_and_cuts_off_slow_ones() {
    let server = Server::start(Bounds::default());
    let mut idle = server.connect();
    exchange(&mut idle).has(200, "");
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_millis(400));
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0);

    let server = Server::start(Bounds::default());
    let mut slow = server.connect();
    slow.write_all(b"GET /metrics?collect[]=slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (address, begun) = (server.address, Instant::now());
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(TcpStream::connect(address).is_err());
}
