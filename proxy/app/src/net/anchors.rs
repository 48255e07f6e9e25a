//! Trust anchors: read from text or a file, and read again while the proxy runs.

use super::tls::{MeshTls, TlsError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::RootCertStore;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How often the file is read.
const PERIOD: Duration = Duration::from_secs(10);

/// Reads PEM certificates.
///
/// # Errors
/// One is malformed, or there is none.
pub fn parse(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let cert = cert.map_err(|error| TlsError::Setup(format!("trust anchors: {error}")))?;
        roots.add(cert)?;
    }
    if roots.is_empty() {
        let problem = "trust anchors: no certificate found";
        return Err(TlsError::Setup(problem.into()));
    }
    Ok(roots)
}

/// Reads DER certificates.
///
/// # Errors
/// One is malformed.
pub fn of_der(certs: Vec<Vec<u8>>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in certs {
        roots.add(CertificateDer::from(cert))?;
    }
    Ok(roots)
}

/// Anchors and those that are not among them.
pub fn union(mut roots: RootCertStore, more: RootCertStore) -> RootCertStore {
    for anchor in more.roots {
        if !roots.roots.contains(&anchor) {
            roots.roots.push(anchor);
        }
    }
    roots
}

/// Follows a file of anchors for ever; what is broken or gone leaves those in force that are.
///
/// Reading beats being notified: a volume that Kubernetes replaces is another file afterwards.
pub async fn follow(path: String, tls: Arc<MeshTls>) {
    let mut seen = String::new();
    loop {
        match tokio::fs::read_to_string(&path).await {
            Ok(text) if text == seen => {}
            Ok(text) => {
                match parse(&text).and_then(|roots| tls.trust(roots)) {
                    Ok(true) => info!(path, "trust anchors replaced"),
                    Ok(false) => {}
                    Err(error) => warn!(path, %error, "trust anchors stay as they were"),
                }
                seen = text;
            }
            Err(error) => debug!(path, %error, "cannot read trust anchors"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}
