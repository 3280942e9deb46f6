//! Whom a check trusts.

use std::sync::{Arc, LazyLock};

use rustls::{
    RootCertStore,
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use x509_parser::certificate::X509Certificate;

static MOZILLA: LazyLock<Arc<RootCertStore>> =
    LazyLock::new(|| Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()));

/// The certificates that are trusted.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    /// Authorities, whose signatures are trusted.
    pub(super) roots: Arc<RootCertStore>,
    /// Those that were given, each of which a target may also show as its own.
    given: Arc<[CertificateDer<'static>]>,
}

impl Trust {
    /// In the certificates of a PEM text, or those of Mozilla where it is empty.
    pub(super) fn of(pem: &str) -> Result<Self, String> {
        if pem.is_empty() {
            return Ok(Self { roots: Arc::clone(&MOZILLA), given: Arc::default() });
        }
        let (mut roots, mut given) = (RootCertStore::empty(), Vec::new());
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("`ca_file` is not PEM: {error}"))?;
            roots
                .add(certificate.clone())
                .map_err(|error| format!("`ca_file` has a wrong certificate: {error}"))?;
            given.push(certificate);
        }
        if roots.is_empty() {
            return Err("`ca_file` has no certificate: it begins with -----BEGIN CERTIFICATE-----".to_owned());
        }
        Ok(Self { roots: Arc::new(roots), given: given.into() })
    }

    /// Whether a target shows a certificate that was given itself. Those that sign themselves often say that they
    /// are an authority, and such a one is refused as that of a server though nobody else could vouch for it.
    pub(super) fn was_given(&self, shown: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let is_for =
            |name| ParsedCertificate::try_from(shown).and_then(|shown| verify_server_name(&shown, name));
        self.given.iter().any(|given| given == shown)
            && is_for(name).is_ok()
            && x509_parser::parse_x509_certificate(shown)
                .is_ok_and(|(_, shown)| is_valid(&shown, now) && is_for_servers(&shown))
    }
}

fn is_valid(certificate: &X509Certificate<'_>, now: UnixTime) -> bool {
    let validity = certificate.validity();
    i64::try_from(now.as_secs())
        .is_ok_and(|now| (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now))
}

/// Whether a certificate is for servers, which it is also when it does not say what it is for.
fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    certificate.extended_key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.server_auth))
}
