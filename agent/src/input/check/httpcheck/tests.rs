//! Checks against servers on real sockets that do what servers should not.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::{
    accumulator::{MemoryAccumulator, OwnedValue},
    input::check::HelperError,
};

mod hostile;
mod redirects;
mod secure;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A server on a port of its own that treats each connection so. Its requests can be read.
fn server(serve: impl Fn(&mut TcpStream, &str) + Send + 'static) -> (u16, Receiver<String>) {
    served_on("127.0.0.1:0", serve)
}

fn served_on(
    address: &str,
    serve: impl Fn(&mut TcpStream, &str) + Send + 'static,
) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = head(&mut stream);
            if sender.send(request.clone()).is_err() {
                return;
            }
            serve(&mut stream, &request);
        }
    });
    (port, requests)
}

/// A server that says the same to everybody.
fn says(answer: &'static [u8]) -> (u16, Receiver<String>) {
    server(move |stream, _| {
        let _ = stream.write_all(answer);
    })
}

/// A port where nobody listens, for as long as its socket is kept.
fn closed() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// Reads until the end of the head, and no further.
fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn settings(port: u16) -> Settings {
    let timeout = Duration::from_secs(20);
    Settings { url: format!("http://127.0.0.1:{port}/"), timeout, ..Settings::default() }
}

fn collect(check: &mut HttpCheck) -> Result<MemoryAccumulator, InputError> {
    let mut acc = MemoryAccumulator::new();
    check.collect(&CollectContext::new(Duration::from_secs(60)), &mut acc)?;
    Ok(acc)
}

fn check(settings: Settings) -> MemoryAccumulator {
    let acc = collect(&mut HttpCheck::new(settings).unwrap()).unwrap();
    assert_eq!(acc.number("executed", &[]), Some(1.0), "whatever it found");
    acc
}

/// The reason why it is down, or that it is up.
fn verdict(acc: &MemoryAccumulator) -> String {
    let reasons: Vec<_> = acc.samples().iter().filter(|sample| sample.name == "down").collect();
    match (acc.number("up", &[]), &reasons[..]) {
        (Some(1.0), []) => "up".to_owned(),
        (Some(0.0), [reason]) => reason.labels[0].1.clone(),
        other => panic!("{other:?}"),
    }
}

/// The reason why a target with these settings is down, or that it is up.
fn outcome(settings: Settings) -> String {
    verdict(&check(settings))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn an_answer_is_measured_phase_by_phase() {
    let (port, requests) = says(OK);
    let began = Instant::now();
    let acc = check(Settings { url: format!("http://127.0.0.1:{port}/a/b?c=d"), ..settings(port) });
    let most = began.elapsed().as_secs_f64();
    assert_eq!(verdict(&acc), "up");
    assert_eq!((acc.number("status_code", &[]), acc.number("redirects", &[])), (Some(200.0), Some(0.0)));
    assert_eq!((acc.number("body_bytes", &[]), acc.number("body_truncated", &[])), (Some(5.0), Some(0.0)));
    let total = acc.number("total_seconds", &[]).unwrap();
    let phases: f64 = ["connect", "first_byte", "transfer"]
        .map(|phase| acc.number("duration_seconds", &[phase]).unwrap())
        .iter()
        .sum();
    assert!(0.0 < phases && phases <= total && total <= most, "{phases} {total} {most}");
    for none in ["resolve", "tls"] {
        assert_eq!(acc.number("duration_seconds", &[none]), None, "there was no such phase");
    }
    let request = requests.recv().unwrap().to_lowercase();
    assert!(request.starts_with("get /a/b?c=d http/1.1\r\n"), "{request}");
    for line in [format!("host: 127.0.0.1:{port}"), "connection: close".to_owned()] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
    assert!(request.contains("\r\nuser-agent: pitot/") && !request.contains("content-length"), "{request}");
}

#[test]
fn what_is_sent_is_what_was_configured() {
    let (port, requests) = server(|stream, request| {
        let mut body = [0; 4];
        if request.starts_with("POST") {
            stream.read_exact(&mut body).unwrap();
            assert_eq!(&body, b"ping");
        }
        stream.write_all(OK).unwrap();
    });
    let sending = Settings {
        method: "POST".to_owned(),
        headers: texts(&["Host: example.test", "X-Own: a:b", "User-Agent: probe"]),
        body: "ping".to_owned(),
        ..settings(port)
    };
    assert_eq!(outcome(sending), "up");
    let request = requests.recv().unwrap().to_lowercase();
    for line in ["host: example.test", "x-own: a:b", "user-agent: probe", "content-length: 4"] {
        assert_eq!(request.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {request}");
    }
    assert_eq!(request.matches("\r\nhost:").count(), 1);
    // An answer to HEAD has the length of a body, and no body.
    let acc = check(Settings { method: "HEAD".to_owned(), ..settings(port) });
    assert_eq!((verdict(&acc), acc.number("body_bytes", &[])), ("up".to_owned(), Some(0.0)));
}

#[test]
fn an_address_of_ipv6_is_asked() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return eprintln!("no IPv6 here") };
    drop(listener);
    let (port, requests) = served_on("[::1]:0", |stream, _| stream.write_all(OK).unwrap());
    assert_eq!(outcome(Settings { url: format!("http://[::1]:{port}"), ..settings(port) }), "up");
    assert!(requests.recv().unwrap().to_lowercase().contains(&format!("host: [::1]:{port}\r\n")));
}

#[test]
fn codes_and_bodies_decide() {
    let (port, _requests) = says(b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nnot\xffready");
    let acc = check(settings(port));
    assert_eq!((verdict(&acc), acc.number("status_code", &[])), ("status".to_owned(), Some(503.0)));
    assert!(acc.number("total_seconds", &[]).is_some(), "there was an answer");
    let expected = || Settings { expected_codes: texts(&["5xx"]), ..settings(port) };
    assert_eq!(outcome(expected()), "up");
    assert_eq!(outcome(Settings { body_regex: "^not.ready$".to_owned(), ..expected() }), "up");
    assert_eq!(outcome(Settings { body_regex: "^ready".to_owned(), ..expected() }), "body");
    assert_eq!(outcome(Settings { body_not_regex: "ready".to_owned(), ..expected() }), "body");
    assert_eq!(outcome(Settings { body_not_regex: "error".to_owned(), ..expected() }), "up");
    // Patterns see what was read, and no more.
    let cut = Settings { body_not_regex: "ready".to_owned(), body_limit: 3, ..expected() };
    let acc = check(cut);
    assert_eq!((verdict(&acc), acc.number("body_truncated", &[])), ("up".to_owned(), Some(1.0)));
}

#[test]
fn a_body_may_end_with_its_connection() {
    let (port, _requests) = says(b"HTTP/1.0 200 OK\r\n\r\nold school");
    let acc = check(settings(port));
    assert_eq!((verdict(&acc), acc.number("body_bytes", &[])), ("up".to_owned(), Some(10.0)));
    let (port, _requests) = says(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(outcome(settings(port)), "up");
    let chunks =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n";
    let (port, _requests) = says(chunks);
    let acc = check(Settings { body_regex: "^abcde$".to_owned(), ..settings(port) });
    assert_eq!((verdict(&acc), acc.number("body_bytes", &[])), ("up".to_owned(), Some(5.0)));
}

#[test]
fn checks_are_counted_by_what_they_found() {
    let (port, _requests) = says(OK);
    let mut check = HttpCheck::new(settings(port)).unwrap();
    collect(&mut check).unwrap();
    collect(&mut check).unwrap();
    let mut next = HttpCheck::new(Settings { expected_codes: texts(&["404"]), ..settings(port) }).unwrap();
    next.update_from(&mut check);
    let acc = collect(&mut next).unwrap();
    assert_eq!(acc.number("checks_total", &["up"]), Some(2.0));
    assert_eq!(acc.number("checks_total", &["status"]), Some(1.0));
    assert_eq!(acc.number("checks_total", &["refused"]), None);
    let histogram = acc.samples().iter().find(|sample| sample.name == "seconds").unwrap();
    assert!(matches!(&histogram.value, OwnedValue::Histogram(seconds) if seconds.count() == 3));
    // What was not executed changes no counter, and says so.
    let mut acc = MemoryAccumulator::new();
    next.generate_error_metrics(&HelperError::Failed("x".to_owned()), &mut acc);
    assert_eq!((acc.number("executed", &[]), acc.number("up", &[])), (Some(0.0), None));
    assert_eq!(acc.number("checks_total", &["up"]), Some(2.0));
}

#[test]
fn a_blank_one_executes_what_another_one_asks() {
    let (port, _requests) = says(OK);
    let mut agent = HttpCheck::new(settings(port)).unwrap();
    let request = agent.serialize_request().unwrap();
    assert!(request.timeout > settings(port).timeout, "a target that does not answer is a result");
    let mut helper = HttpCheck::default();
    for _ in 0..3 {
        let inside = Inside::host(Duration::from_secs(60)).unwrap();
        let mut response = wire::Response::new();
        helper.execute_request(&request.body, &inside, &mut response).unwrap();
        let mut acc = MemoryAccumulator::new();
        agent.process_response(&response.into_bytes().unwrap(), &mut acc).unwrap();
        assert_eq!(verdict(&acc), "up");
    }
    let made = || PREPARED.take(|known| known.body == request.body).is_some();
    assert_eq!((made(), made()), (true, false), "made once");
    assert!(
        helper
            .execute_request(b"{}", &Inside::host(Duration::ZERO).unwrap(), &mut wire::Response::new())
            .is_err()
    );
}

#[test]
fn a_response_that_lies_changes_nothing_but_its_own_samples() {
    let mut agent = HttpCheck::new(settings(1)).unwrap();
    let mut response = wire::Response::new();
    response.put(&DEF, &DOWN, &[b"no such reason"], 1.0).unwrap();
    response.put(&DEF, &TOTAL, &[], f64::NAN).unwrap();
    response.put(&DEF, &TOTAL, &[], -1.0).unwrap();
    response.put(&DEF, &CHECKS, &[b"up"], 1e9).unwrap();
    response.put(&DEF, &EXECUTED, &[], 0.0).unwrap();
    response.put(&DEF, &FAILURES, &[b"died"], 7.0).unwrap();
    let mut acc = MemoryAccumulator::new();
    agent.process_response(&response.into_bytes().unwrap(), &mut acc).unwrap();
    assert_eq!(acc.number("checks_total", &["up"]), Some(0.0));
    assert_eq!(acc.number("executed", &[]), Some(1.0));
    assert!(acc.samples().iter().all(|sample| !matches!(sample.name.as_str(), "failures_total" | "down")));
    assert_eq!(agent.kept.seconds.count(), 0);
    let error = agent.process_response(&wire::Response::failure("broken"), &mut acc).unwrap_err();
    assert_eq!(error.reason(), "failed");
}

#[test]
fn a_request_has_a_bound() {
    let long = Settings { body: "x".repeat(110_000), ..settings(1) };
    assert!(HttpCheck::new(long).unwrap_err().0.contains("100 KiB at most"));
}

#[test]
fn nobody_is_down_because_the_caller_has_no_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut check = HttpCheck::new(settings(port)).unwrap();
    let error =
        check.collect(&CollectContext::new(Duration::from_millis(100)), &mut MemoryAccumulator::new());
    assert!(error.unwrap_err().to_string().contains("`deadline`"));
    let brief = Settings { timeout: Duration::from_millis(100), ..settings(port) };
    assert_eq!(outcome(brief), "timeout");
}

#[test]
fn a_name_without_an_address_is_not_asked() {
    let settings = Settings { url: "http://no-such-name.invalid/".to_owned(), ..settings(1) };
    // There may be no name server here, or none that answers.
    if let Ok(acc) =
        collect(&mut HttpCheck::new(Settings { timeout: Duration::from_secs(2), ..settings }).unwrap())
    {
        assert_eq!(verdict(&acc), "resolve");
        assert_eq!(acc.number("duration_seconds", &["connect"]), None);
    }
}
