//! Whom to believe that it is the kubelet, and what to show it.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use crate::container::runtime::trouble::Trouble;

/// Bytes of a token or of certificates.
const LONGEST: u64 = 1 << 20;

/// Whom to believe.
#[derive(Debug)]
pub(super) enum Trust {
    /// Who has a certificate of one of these.
    File(PathBuf),
    /// Whoever answers.
    Anybody,
    /// Nobody was named. Those whom browsers trust do not sign certificates of kubelets.
    Nobody,
}

impl Trust {
    /// How to connect to one that is trusted. The file may have been renewed.
    pub(super) fn connector(&self) -> Result<TlsConnector, Trouble> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Trouble::Refused(error.to_string()))?;
        let builder = match self {
            Self::File(file) => builder.with_root_certificates(roots(file)?),
            Self::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
            Self::Nobody => {
                return Err(Trouble::Refused(
                    "who signs its certificate? say so in `kubelet_ca_file`, or `kubelet_insecure = true`"
                        .to_owned(),
                ));
            }
        };
        Ok(TlsConnector::from(Arc::new(builder.with_no_client_auth())))
    }
}

fn roots(file: &Path) -> Result<RootCertStore, Trouble> {
    let wrong = |error: String| Trouble::Refused(format!("{}: {error}", file.display()));
    let text = read(file)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("has no certificate".to_owned()));
    }
    Ok(roots)
}

/// The token in a file.
pub(super) fn secret(file: &Path) -> Result<String, Trouble> {
    let text = String::from_utf8(read(file)?)
        .map_err(|_| Trouble::Refused(format!("{}: is not text", file.display())))?;
    Ok(text.trim().to_owned())
}

fn read(file: &Path) -> Result<Vec<u8>, Trouble> {
    let wrong = |error: &dyn std::fmt::Display| Trouble::Refused(format!("{}: {error}", file.display()));
    let mut text = Vec::new();
    let opened = File::open(file).map_err(|error| wrong(&error))?;
    opened.take(LONGEST + 1).read_to_end(&mut text).map_err(|error| wrong(&error))?;
    if text.len() as u64 > LONGEST { Err(wrong(&"is too long")) } else { Ok(text) }
}

/// Believes anybody, as long as the signatures fit the certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
