//! TLS of a check, and what it remembers of the certificates that it was shown.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_rustls::TlsConnector;

use super::{
    super::reach::{Failure, Reason},
    trust::Trust,
};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// Whom a certificate must be for: a host or an address, which URLs write in brackets if it is of IPv6.
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::IpAddress(address.into())),
        Err(_) => ServerName::try_from(host.to_owned()).ok(),
    }
}

/// How connections are made that end at this trust.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    guard: Arc<Guard>,
}

/// What was seen of the certificates of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// When the first of them ends, in seconds since the Unix epoch.
    pub(super) expiry: Option<i64>,
    /// Whether they are to be trusted.
    pub(super) is_trusted: bool,
}

impl Tls {
    pub(super) fn new(trust: &Trust, verify: bool) -> Result<Self, String> {
        let provider = Arc::clone(&PROVIDER);
        let judge =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&trust.roots), Arc::clone(&provider));
        let judge = judge.build().map_err(|error| format!("nobody can be trusted: {error}"))?;
        let guard = Arc::new(Guard { judge, trust: trust.clone(), verify, seen: Mutex::default() });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("no TLS: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&guard) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session shows no certificate.
        config.resumption = Resumption::disabled();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), guard })
    }

    /// What was seen since it was last asked for.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.guard.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// The error of TLS that an error of a connection is.
fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether a connection broke because of TLS.
pub(super) fn is_at_fault(error: &io::Error) -> bool {
    cause(error).is_some()
}

/// What a failed handshake says of the target.
pub(super) fn failure(error: io::Error) -> Failure {
    match cause(&error) {
        Some(Error::InvalidCertificate(_)) => Reason::Certificate.into(),
        Some(_) => Reason::Tls.into(),
        None => match Failure::from(error) {
            // To hang up on a greeting is a way to say no.
            Failure::Down(Reason::Closed) => Reason::Tls.into(),
            other => other,
        },
    }
}

/// Looks at certificates, and lets pass whom it should.
#[derive(Debug)]
struct Guard {
    judge: Arc<WebPkiServerVerifier>,
    trust: Trust,
    verify: bool,
    seen: Mutex<Option<Seen>>,
}

impl Guard {
    /// A signature by a certificate that cannot be read does not matter where none is trusted anyway.
    fn signature(
        &self,
        verdict: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verdict {
            Err(Error::InvalidCertificate(error))
                if !self.verify && !matches!(error, CertificateError::BadSignature) =>
            {
                Ok(HandshakeSignatureValid::assertion())
            }
            verdict => verdict,
        }
    }
}

impl ServerCertVerifier for Guard {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut verdict =
            self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if verdict.is_err() && self.trust.was_given(end_entity, server_name, now) {
            verdict = Ok(ServerCertVerified::assertion());
        }
        let expiry = intermediates.iter().chain([end_entity]).filter_map(expiry).min();
        let seen = Seen { expiry, is_trusted: verdict.is_ok() };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        if self.verify { verdict } else { Ok(ServerCertVerified::assertion()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(self.judge.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(self.judge.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// When a certificate ends.
fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}
