//! Servers with certificates.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use super::*;

/// The start of 2040 and of 2020, in seconds since the Unix epoch.
const IN_2040: f64 = 2_208_988_800.0;
const IN_2020: f64 = 1_577_836_800.0;

/// Who signs certificates here.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2050, 1, 1);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server for that name whose certificate ends with the year.
fn serves(authority: &CertifiedIssuer<'_, KeyPair>, name: &str, year: i32, answer: &'static [u8]) -> u16 {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2015, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    serves_with(certificate.der(), &key, answer)
}

/// A server that shows this certificate.
fn serves_with(certificate: &CertificateDer<'_>, key: &KeyPair, answer: &'static [u8]) -> u16 {
    let chain = vec![certificate.clone().into_owned()];
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            head(&mut stream);
            // It ends without a goodbye.
            let _ = stream.write_all(answer).and_then(|()| stream.flush());
        }
    });
    port
}

fn secure(port: u16) -> Settings {
    Settings { url: format!("https://127.0.0.1:{port}/"), ..settings(port) }
}

#[test]
fn a_certificate_that_is_trusted_is_told_with_its_end() {
    let authority = authority();
    let port = serves(&authority, "127.0.0.1", 2040, OK);
    let mut check = HttpCheck::new(Settings { authorities: authority.pem(), ..secure(port) }).unwrap();
    // What is kept for the next check does not keep it from looking.
    for _ in 0..2 {
        let acc = collect(&mut check).unwrap();
        assert_eq!((verdict(&acc), acc.number("tls_verified", &[])), ("up".to_owned(), Some(1.0)));
        assert_eq!(acc.number("tls_certificate_expiry_timestamp_seconds", &[]), Some(IN_2040));
        assert!(acc.number("duration_seconds", &["tls"]) > Some(0.0));
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_as_well() {
    let (ours, theirs) = (authority(), authority());
    let port = serves(&theirs, "127.0.0.1", 2040, OK);
    for authorities in [ours.pem(), String::new()] {
        let acc = check(Settings { authorities: authorities.clone(), ..secure(port) });
        assert_eq!((verdict(&acc), acc.number("tls_verified", &[])), ("certificate".to_owned(), Some(0.0)));
        assert_eq!(acc.number("tls_certificate_expiry_timestamp_seconds", &[]), Some(IN_2040));
        assert_eq!(acc.number("status_code", &[]), None);
        let acc = check(Settings { verify: false, authorities, ..secure(port) });
        assert_eq!((verdict(&acc), acc.number("tls_verified", &[])), ("up".to_owned(), Some(0.0)));
        assert_eq!(acc.number("tls_certificate_expiry_timestamp_seconds", &[]), Some(IN_2040));
    }
}

#[test]
fn a_certificate_has_its_time_and_its_name() {
    let authority = authority();
    let trusting = |port: u16| Settings { authorities: authority.pem(), ..secure(port) };
    let acc = check(trusting(serves(&authority, "127.0.0.1", 2020, OK)));
    assert_eq!(verdict(&acc), "certificate");
    assert_eq!(acc.number("tls_certificate_expiry_timestamp_seconds", &[]), Some(IN_2020));
    let port = serves(&authority, "app.test", 2040, OK);
    assert_eq!(outcome(trusting(port)), "certificate");
    assert_eq!(outcome(Settings { server_name: "app.test".to_owned(), ..trusting(port) }), "up");
}

/// A certificate for that name that signs itself, and says that it is an authority.
fn of_itself(change: impl FnOnce(&mut CertificateParams)) -> (CertifiedIssuer<'static, KeyPair>, u16) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2015, 1, 1), date_time_ymd(2040, 1, 1));
    change(&mut params);
    let own = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let port = serves_with(own.der(), own.key(), OK);
    (own, port)
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_where_it_was_given() {
    let (own, port) = of_itself(|_| {});
    let acc = check(Settings { authorities: own.pem(), ..secure(port) });
    assert_eq!((verdict(&acc), acc.number("tls_verified", &[])), ("up".to_owned(), Some(1.0)));
    let (other, _) = of_itself(|_| {});
    for authorities in [other.pem(), String::new()] {
        assert_eq!(outcome(Settings { authorities, ..secure(port) }), "certificate", "it was not given");
    }
    let other_name = "app.test".to_owned();
    let for_another = Settings { authorities: own.pem(), server_name: other_name, ..secure(port) };
    assert_eq!(outcome(for_another), "certificate", "it is for another one");
    let (old, port) = of_itself(|params| params.not_after = date_time_ymd(2020, 1, 1));
    assert_eq!(outcome(Settings { authorities: old.pem(), ..secure(port) }), "certificate", "it has ended");
    let (early, port) = of_itself(|params| params.not_before = date_time_ymd(2039, 1, 1));
    assert_eq!(outcome(Settings { authorities: early.pem(), ..secure(port) }), "certificate", "it is early");
    let for_clients = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let (client, port) = of_itself(for_clients);
    assert_eq!(outcome(Settings { authorities: client.pem(), ..secure(port) }), "certificate", "of a client");
}

#[test]
fn a_body_may_end_without_a_goodbye() {
    let authority = authority();
    let trusting = |port: u16| Settings { authorities: authority.pem(), ..secure(port) };
    let old = serves(&authority, "127.0.0.1", 2040, b"HTTP/1.1 200 OK\r\n\r\nold school");
    let acc = check(trusting(old));
    assert_eq!((verdict(&acc), acc.number("body_bytes", &[])), ("up".to_owned(), Some(10.0)));
    let cut = serves(&authority, "127.0.0.1", 2040, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut");
    assert_eq!(outcome(trusting(cut)), "closed");
}

#[test]
fn who_speaks_no_tls_fails_at_it() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer).unwrap();
        });
        assert_eq!(outcome(secure(port)), "tls", "to hang up is a way to say no");
        served.join().unwrap();
    }
}
