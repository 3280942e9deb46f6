//! Servers that send one elsewhere.

use super::*;

/// A server that sends to another place, until it is asked for `/end`.
fn sends_to(code: u16, place: impl Fn(&str) -> String + Send + 'static) -> (u16, Receiver<String>) {
    server(move |stream, request| {
        let path = request.split(' ').nth(1).unwrap().to_owned();
        if path == "/end" {
            stream.write_all(OK).unwrap();
        } else {
            let place = place(&path);
            write!(stream, "HTTP/1.1 {code} Go\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    })
}

fn following(port: u16, redirects: u32) -> Settings {
    Settings { redirects, ..settings(port) }
}

#[test]
fn a_redirect_is_an_answer_unless_it_is_followed() {
    let (port, _requests) = sends_to(302, |_| "/end".to_owned());
    let acc = check(settings(port));
    assert_eq!((verdict(&acc), acc.number("status_code", &[])), ("status".to_owned(), Some(302.0)));
    assert_eq!(outcome(Settings { expected_codes: texts(&["302"]), ..settings(port) }), "up");
    let acc = check(following(port, 1));
    assert_eq!((verdict(&acc), acc.number("status_code", &[])), ("up".to_owned(), Some(200.0)));
    assert_eq!(acc.number("redirects", &[]), Some(1.0));
}

#[test]
fn redirects_are_followed_so_far_and_no_further() {
    let (port, requests) = sends_to(301, |path| format!("{path}x"));
    let acc = check(following(port, 3));
    assert_eq!((verdict(&acc), acc.number("redirects", &[])), ("redirect".to_owned(), Some(3.0)));
    assert_eq!(acc.number("status_code", &[]), Some(301.0));
    assert_eq!(requests.try_iter().count(), 4);
    for nowhere in ["ftp://127.0.0.1/", "http://", "http://user:secret@127.0.0.1/", "http://\u{e9}/"] {
        let (port, _requests) = sends_to(301, move |_| nowhere.to_owned());
        let acc = check(following(port, 3));
        assert_eq!((verdict(&acc), acc.number("redirects", &[])), ("redirect".to_owned(), Some(0.0)));
    }
    let (port, _requests) = says(b"HTTP/1.1 304 Not Modified\r\n\r\n");
    assert_eq!(outcome(following(port, 3)), "status");
    let (port, _requests) = says(b"HTTP/1.1 302 Where\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(outcome(following(port, 3)), "status", "an answer like any other without a place to go");
}

#[test]
fn other_letters_lead_somewhere() {
    let (port, requests) = sends_to(302, |path| match path {
        "/" => "/caf\u{e9}".to_owned(),
        _ => "/end".to_owned(),
    });
    assert_eq!(outcome(following(port, 2)), "up");
    let asked: Vec<_> =
        requests.try_iter().map(|request| request.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(asked, ["/", "/caf%C3%A9", "/end"]);
}

#[test]
fn others_get_no_headers_of_the_target() {
    let (other, theirs) = says(OK);
    let (port, own) = sends_to(307, move |path| match path {
        "/" => "/again".to_owned(),
        _ => format!("http://127.0.0.1:{other}/there"),
    });
    let headers = texts(&["Authorization: Bearer secret", "Host: own.test", "X-Own: 1"]);
    let acc = check(Settings { headers, ..following(port, 2) });
    assert_eq!((verdict(&acc), acc.number("redirects", &[])), ("up".to_owned(), Some(2.0)));
    for _ in 0..2 {
        let request = own.recv().unwrap().to_lowercase();
        assert!(request.contains("bearer secret") && request.contains("host: own.test"), "{request}");
    }
    let request = theirs.recv().unwrap().to_lowercase();
    assert!(request.contains(&format!("host: 127.0.0.1:{other}\r\n")), "{request}");
    for secret in ["secret", "own.test", "x-own"] {
        assert!(!request.contains(secret), "{request}");
    }
}
