//! How the proxy gets its certificate and keeps it fresh.
//!
//! Source: linkerd2-proxy linkerd/proxy/identity-client, linkerd2 proxy-identity (behaviour).

pub mod csr;
pub mod spire;

use crate::control::client::Client;
use crate::net::anchors;
use crate::net::tls::{Certified, MeshTls};
use crate::settings::identity::Certify;
use crate::telemetry::Metrics;
use linkerd_proxy_api::identity::{CertifyRequest, CertifyResponse};
use rustls::pki_types::CertificateDer;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::{debug, info, warn};

const CERTIFY: &str = "/io.linkerd.proxy.identity.Identity/Certify";
const WAIT_WARNING: Duration = Duration::from_secs(15);
const CERTIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// Our private key and the request to certify it.
pub struct KeyPair {
    key: Vec<u8>,
    csr: Vec<u8>,
}

/// Loads `key.p8` and `csr.der`, or makes and stores them when either is missing.
///
/// # Errors
/// When a key cannot be made. A directory that cannot be written is only a warning: the pair then
/// lives in memory.
pub fn key_pair(dir: &str, name: &str) -> Result<KeyPair, String> {
    let (key_path, csr_path) = (
        Path::new(dir).join("key.p8"),
        Path::new(dir).join("csr.der"),
    );
    if let (Ok(key), Ok(csr)) = (fs::read(&key_path), fs::read(&csr_path)) {
        return Ok(KeyPair { key, csr });
    }
    let (key, csr) =
        csr::generate(name).map_err(|error| format!("{dir}: cannot make a key: {error}"))?;
    if let Err(error) = store(dir, &key_path, &key).and_then(|()| store(dir, &csr_path, &csr)) {
        warn!(dir, %error, "key is kept in memory only");
    }
    Ok(KeyPair { key, csr })
}

fn store(dir: &str, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(bytes)
}

/// Certifies at once and then at 70 % of each certificate's life, for ever. With `told` the answers
/// say which anchors to trust.
pub async fn run(
    settings: Certify,
    told: bool,
    pair: KeyPair,
    client: Arc<Client>,
    tls: Arc<MeshTls>,
    metrics: Arc<Metrics>,
) {
    let started = tokio::time::Instant::now();
    let mut warned = started;
    let mut attempt = 0;
    loop {
        let delay = match certify(&settings, told, &pair, &client, &tls).await {
            Ok(expires) => {
                metrics.identity_refreshed(Ok(expires));
                attempt = 0;
                let life = expires
                    .duration_since(SystemTime::now())
                    .unwrap_or_default();
                info!(id = %tls.id(), valid_s = life.as_secs(), "certified identity");
                life.mul_f64(0.7)
                    .clamp(settings.refresh.0, settings.refresh.1)
            }
            Err(error) => {
                metrics.identity_refreshed(Err(()));
                if tls.is_ready() {
                    warn!(%error, "failed to renew identity");
                    settings.refresh.0
                } else {
                    debug!(%error, "failed to obtain identity");
                    if warned.elapsed() >= WAIT_WARNING || attempt == 3 {
                        warn!(%error, "Waiting for identity to be initialized...");
                        warned = tokio::time::Instant::now();
                    }
                    let delay = crate::random::with(|rng| RETRY.delay(attempt, rng));
                    attempt += 1;
                    delay
                }
            }
        };
        tokio::time::sleep(delay).await;
    }
}

/// Until the first certificate every second of waiting delays the pod's start.
const RETRY: linkerd_proxy_core::backoff::Backoff = linkerd_proxy_core::backoff::Backoff {
    min: Duration::from_millis(100),
    max: Duration::from_secs(5),
    jitter: 0.2,
};

async fn certify(
    settings: &Certify,
    told: bool,
    pair: &KeyPair,
    client: &Client,
    tls: &MeshTls,
) -> Result<SystemTime, String> {
    let token = fs::read(&settings.token_file)
        .map_err(|error| format!("{}: {error}", settings.token_file))?;
    let request = CertifyRequest {
        identity: tls.id().to_string(),
        token,
        certificate_signing_request: pair.csr.clone(),
    };
    let call = client.unary::<_, CertifyResponse>(CERTIFY, &request);
    let response = tokio::time::timeout(CERTIFY_TIMEOUT, call)
        .await
        .map_err(|_| "certification timed out".to_owned())?
        .map_err(|status| status.to_string())?;
    let valid = response.valid_until.ok_or("response has no valid_until")?;
    let seconds = u64::try_from(valid.seconds).map_err(|_| "valid_until is before 1970")?;
    let expires = UNIX_EPOCH + Duration::from_secs(seconds);
    if expires <= SystemTime::now() {
        return Err("certificate has already expired".into());
    }
    let mut chain = vec![CertificateDer::from(response.leaf_certificate)];
    chain.extend(
        response
            .intermediate_certificates
            .into_iter()
            .map(CertificateDer::from),
    );
    if told && !response.trust_anchors.is_empty() {
        // Told by a peer that the anchors of before vouch for.
        match anchors::of_der(response.trust_anchors).and_then(|roots| tls.trust(roots)) {
            Ok(true) => info!("trust anchors replaced"),
            Ok(false) => {}
            Err(error) => warn!(%error, "trust anchors stay as they were"),
        }
    }
    tls.install(Certified {
        chain,
        key: pair.key.clone(),
    })
    .map_err(|error| error.to_string())?;
    Ok(expires)
}
