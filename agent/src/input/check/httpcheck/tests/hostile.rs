//! Servers that break off, lie, and never end.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use socket2::SockRef;

use super::*;

/// Writes the same until the other side has had enough, and says how much that was.
fn flood(stream: &mut TcpStream, what: &[u8]) -> u64 {
    let mut sent = 0;
    while stream.write_all(what).is_ok() {
        sent += what.len() as u64;
    }
    sent
}

#[test]
fn nobody_who_listens_is_refused() {
    let (_socket, port) = closed();
    let acc = check(settings(port));
    assert_eq!(verdict(&acc), "refused");
    assert!(acc.samples().iter().all(|sample| !sample.name.ends_with("seconds") || sample.name == "seconds"));
    assert_eq!(acc.number("checks_total", &["refused"]), Some(1.0));
}

#[test]
fn who_breaks_off_has_closed_or_reset() {
    let (port, _requests) = server(|_, _| {});
    assert_eq!(outcome(settings(port)), "closed");
    let (port, _requests) = says(b"HTTP/1.1 200 OK\r\nContent-Le");
    assert_eq!(outcome(settings(port)), "closed");
    let (port, _requests) = server(|stream, _| {
        SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    assert_eq!(outcome(settings(port)), "reset");
}

#[test]
fn a_wrong_length_is_no_answer() {
    let (port, _requests) = says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    let acc = check(settings(port));
    assert_eq!((verdict(&acc), acc.number("total_seconds", &[])), ("closed".to_owned(), None));
    assert_eq!(acc.number("status_code", &[]), Some(200.0), "that came");
    assert_eq!(acc.number("body_bytes", &[]), None);
    for wrong in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    ] {
        let (port, _requests) = says(wrong);
        assert_eq!(outcome(settings(port)), "protocol", "{}", String::from_utf8_lossy(wrong));
    }
}

#[test]
fn a_code_decides_even_when_the_body_breaks_off() {
    let (port, _requests) = says(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nshort");
    assert_eq!(outcome(settings(port)), "status");
}

#[test]
fn what_is_not_http_is_another_protocol() {
    for wrong in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        let (port, _requests) = says(wrong);
        assert_eq!(outcome(settings(port)), "protocol", "{}", String::from_utf8_lossy(wrong));
    }
}

#[test]
fn wrong_chunks_are_another_protocol() {
    for (chunks, reason) in [
        (&b"zz\r\nabc\r\n"[..], "protocol"),
        (b"ffffffffffffffffff\r\nabc\r\n", "protocol"),
        (b"3\r\nabcdef\r\n0\r\n\r\n", "protocol"),
        (b"5\r\nabc", "closed"),
        (b"3\r\nabc\r\n", "closed"),
    ] {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = [&head[..], chunks].concat();
        let (port, _requests) = server(move |stream, _| stream.write_all(&answer).unwrap());
        assert_eq!(outcome(settings(port)), reason, "{}", String::from_utf8_lossy(chunks));
    }
}

#[test]
fn a_body_without_end_is_left_unread() {
    let (sender, receiver) = channel();
    let (port, _requests) = server(move |stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").unwrap();
        sender.send(flood(stream, &vec![b'x'; 64 << 10])).unwrap();
    });
    let acc = check(settings(port));
    assert_eq!((verdict(&acc), acc.number("body_truncated", &[])), ("up".to_owned(), Some(1.0)));
    assert_eq!(acc.number("body_bytes", &[]), Some(65536.0));
    assert!(receiver.recv().unwrap() < 1 << 30, "what was sent is what the kernel took");
}

#[test]
fn a_stream_is_not_waited_for_beyond_the_limit() {
    for (head, body_limit) in [
        ("Transfer-Encoding: chunked\r\n\r\n", 0),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 5),
        ("Content-Length: 9\r\n\r\nhello", 5),
        ("Connection: close\r\n\r\nhello", 5),
    ] {
        let (_sender, never) = channel::<()>();
        let (port, _requests) = server(move |stream, _| {
            write!(stream, "HTTP/1.1 200 OK\r\n{head}").unwrap();
            let _ = never.recv();
        });
        let acc = check(Settings { body_limit, ..settings(port) });
        assert_eq!(verdict(&acc), "up", "{head}");
        assert_eq!(acc.number("body_bytes", &[]), Some(body_limit.into()), "{head}");
        assert_eq!(acc.number("body_truncated", &[]), Some(1.0), "more may follow: {head}");
    }
}

#[test]
fn a_body_of_just_the_limit_is_whole() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let (port, _requests) = says(answer);
        for (body_limit, is_cut) in [(5, 0.0), (4, 1.0), (0, 1.0)] {
            let acc = check(Settings { body_limit, ..settings(port) });
            let all = (verdict(&acc), acc.number("body_bytes", &[]), acc.number("body_truncated", &[]));
            assert_eq!(all, ("up".to_owned(), Some(body_limit.into()), Some(is_cut)));
        }
    }
    let (port, _requests) = says(b"HTTP/1.1 204 No Content\r\n\r\n");
    let acc = check(Settings { body_limit: 0, ..settings(port) });
    assert_eq!((verdict(&acc), acc.number("body_truncated", &[])), ("up".to_owned(), Some(0.0)));
}

#[test]
fn many_headers_are_an_answer_up_to_a_bound() {
    for (count, what) in [(1000, "up"), (1100, "protocol")] {
        let headers = "X-Many: x\r\n".repeat(count);
        let (port, _requests) = server(move |stream, _| {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n");
        });
        assert_eq!(outcome(settings(port)), what, "{count}");
    }
}

#[test]
fn nothing_that_never_ends_is_read_to_its_end() {
    for (head, what) in [
        ("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n"),
        ("HTTP/1.1 200 OK\r\nX-Long: ", "and more"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "more=1;"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-More: and more\r\n"),
    ] {
        let (sender, receiver) = channel();
        let (port, _requests) = server(move |stream, _| {
            stream.write_all(head.as_bytes()).unwrap();
            sender.send(flood(stream, what.repeat(1000).as_bytes())).unwrap();
        });
        assert_eq!(outcome(settings(port)), "protocol", "{head}{what}");
        assert!(receiver.recv().unwrap() < 64 << 20, "what was sent is what the kernel took");
    }
}

#[test]
fn one_byte_after_the_other_is_waited_for_no_longer_than_allowed() {
    let drip = |what: &'static [u8]| {
        server(move |stream, _| {
            for byte in what.iter().chain(std::iter::repeat(&b'x')) {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                let (_sender, never) = channel::<()>();
                let _ = never.recv_timeout(Duration::from_millis(5));
            }
        })
    };
    for what in [&b"HTTP/1.1 200 OK\r\nX-Slow: "[..], b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"] {
        let (port, _requests) = drip(what);
        let acc = check(Settings { timeout: Duration::from_millis(400), ..settings(port) });
        assert_eq!((verdict(&acc), acc.number("total_seconds", &[])), ("timeout".to_owned(), None));
        assert!(acc.number("duration_seconds", &["connect"]).is_some(), "that phase ended");
    }
}

/// Pieces of answers that nearly make sense.
const PIECES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 302 Found\r\n",
    "HTTP/1.1 100 Continue\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 999 What\r\n",
    "HTTP/2 200\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 99\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Location: /\r\n",
    "Location: ../..//\r\n",
    "Connection: upgrade\r\n",
    "Upgrade: h2c\r\n",
    ": \r\n",
    "\r\n",
    "\n",
    "\r",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "ffff\r\n",
    "abc",
    "\0",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

#[test]
fn whatever_is_answered_is_a_verdict() {
    let answer = Arc::new(Mutex::new(String::new()));
    let said = Arc::clone(&answer);
    let (port, requests) = server(move |stream, _| {
        let said = said.lock().unwrap().clone();
        let _ = stream.write_all(said.as_bytes());
    });
    let pieces = proptest::collection::vec(proptest::sample::select(PIECES), 0..8);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(150));
    let done = runner.run(&pieces, |pieces| {
        *answer.lock().unwrap() = pieces.concat();
        let asking = Settings { redirects: 2, body_regex: "a".to_owned(), ..settings(port) };
        let verdict = outcome(asking);
        prop_assert!(verdict != "timeout", "the server closes: {pieces:?}");
        Ok(())
    });
    done.unwrap();
    drop(requests);
}
