//! Certificates from the SPIFFE Workload API of this machine, for proxies outside of Kubernetes.
//!
//! The agent hands out the key with the certificate and says by itself when there are new ones, so
//! there is nothing to ask for again while its stream lives. Bundles of other trust domains are not
//! looked at: an anchor vouches for every name in the mesh.
//!
//! Source: linkerd2-proxy linkerd/proxy/spire-client (behaviour), spiffe/spiffe
//! standards/SPIFFE_Workload_API.md.

use crate::control::grpc::{self, code, Status, Streaming};
use crate::net::anchors;
use crate::net::tls::{Certified, MeshTls};
use crate::settings::identity::Spire;
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use crate::telemetry::Metrics;
use http::HeaderValue;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkerd_proxy_api::workload::{X509svidRequest, X509svidResponse};
use linkerd_proxy_core::der;
use linkerd_proxy_core::identity::Id;
use rustls::pki_types::CertificateDer;
use rustls::RootCertStore;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::UnixStream;
use tokio::time::Instant;
use tracing::{debug, info, warn};

const FETCH: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
/// Proves that the call is meant and was not smuggled through some other client.
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// Follows what the agent says, for ever. With `anchors` its bundles are trusted besides these.
pub async fn run(
    agent: Spire,
    anchors: Option<RootCertStore>,
    tls: Arc<MeshTls>,
    metrics: Arc<Metrics>,
) {
    let calls = metrics.control.service(&agent.socket, None);
    let mut warned = Instant::now();
    let mut attempt = 0;
    loop {
        let opened = Instant::now();
        let mut take = |response| match accept(response, anchors.as_ref(), &tls) {
            Ok(expires) => {
                metrics.identity_refreshed(Ok(expires));
                let life = expires.duration_since(SystemTime::now());
                let valid_s = life.unwrap_or_default().as_secs();
                info!(id = %tls.id(), valid_s, "certified identity");
            }
            Err(error) => {
                metrics.identity_refreshed(Err(()));
                warn!(%error, "failed to use what the Workload API says");
            }
        };
        let status = follow(&agent.socket, calls.clone(), &mut take).await;
        if opened.elapsed() > agent.backoff.max {
            attempt = 0;
        }
        // An outage is told once.
        if attempt == 0 {
            warn!(socket = agent.socket, %status, "Workload API failed, trying again");
        } else {
            debug!(socket = agent.socket, %status, "Workload API failed");
        }
        if !tls.is_ready() && warned.elapsed() >= super::WAIT_WARNING {
            warn!(%status, "Waiting for identity to be initialized...");
            warned = Instant::now();
        }
        let delay = crate::random::with(|rng| agent.backoff.delay(attempt, rng));
        attempt += 1;
        tokio::time::sleep(delay).await;
    }
}

/// Opens a stream and hands over its messages; returns how it ended.
async fn follow(
    socket: &str,
    calls: Arc<HttpMetrics>,
    take: &mut impl FnMut(X509svidResponse),
) -> Status {
    let mut stream = match open(socket, calls).await {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    loop {
        match stream.next().await {
            Ok(Some(response)) => take(response),
            Ok(None) => return Status::new(code::UNAVAILABLE, "stream ended"),
            Err(status) => return status,
        }
    }
}

async fn open(
    socket: &str,
    calls: Arc<HttpMetrics>,
) -> Result<Streaming<X509svidResponse>, Status> {
    let unavailable = |error: &dyn Display| Status::new(code::UNAVAILABLE, error);
    let mut exchange = Exchange::begin(calls, true);
    let connected = async {
        let io = UnixStream::connect(socket).await?;
        let made = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await;
        made.map_err(std::io::Error::other)
    };
    let sent = match connected.await {
        Ok((mut sender, connection)) => {
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%error, "connection to the Workload API ended");
                }
            });
            let message = grpc::encode(&X509svidRequest {});
            let mut request = grpc::request("localhost", FETCH, message)?;
            let security = HeaderValue::from_static("true");
            request.headers_mut().insert(SECURITY_HEADER, security);
            let sent = sender.send_request(request).await;
            sent.map_err(|error| unavailable(&error))
        }
        Err(error) => Err(unavailable(&error)),
    };
    match sent {
        Ok(response) => Streaming::open(response, exchange, None),
        Err(status) => {
            exchange.fail("unclassified");
            Err(status)
        }
    }
}

/// Uses the certificate that is ours, and trusts the bundle that came with it.
fn accept(
    response: X509svidResponse,
    anchors: Option<&RootCertStore>,
    tls: &MeshTls,
) -> Result<SystemTime, String> {
    let svid = Svid::of(response, tls.id())?;
    if let Some(own) = anchors {
        // Those of the settings stay: the control plane's may not be in the bundle.
        let bundle = anchors::of_der(svid.bundle);
        let trusted = bundle.and_then(|bundle| tls.trust(anchors::union(own.clone(), bundle)));
        match trusted {
            Ok(true) => info!("trust anchors replaced"),
            Ok(false) => {}
            Err(error) => warn!(%error, "trust anchors stay as they were"),
        }
    }
    tls.install(svid.certified)
        .map_err(|error| error.to_string())?;
    Ok(svid.expires)
}

/// A certificate with its key, and who vouches for its trust domain.
struct Svid {
    certified: Certified,
    bundle: Vec<Vec<u8>>,
    expires: SystemTime,
}

impl Svid {
    /// The one of `id`.
    fn of(response: X509svidResponse, id: &Id) -> Result<Self, String> {
        let names: Vec<&str> = response.svids.iter().map(|one| &*one.spiffe_id).collect();
        let missing = format!("no certificate for {id} among {names:?}");
        let mut svids = response.svids.into_iter();
        let svid = svids
            .find(|one| one.spiffe_id == id.as_str())
            .ok_or(missing)?;
        let chain = der::certificates(&svid.x509_svid).ok_or("chain is malformed")?;
        let leaf = chain.first().ok_or("chain is empty")?;
        let ends = der::not_after(leaf).ok_or("certificate has no end")?;
        let bundle = der::certificates(&svid.bundle).ok_or("bundle is malformed")?;
        Ok(Self {
            expires: UNIX_EPOCH + Duration::from_secs(ends),
            bundle: bundle.into_iter().map(<[u8]>::to_vec).collect(),
            certified: Certified {
                chain: chain
                    .into_iter()
                    .map(|one| CertificateDer::from(one.to_vec()))
                    .collect(),
                key: svid.x509_svid_key,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd_proxy_api::workload::X509svid;
    use linkerd_proxy_testkit::authority::Authority;

    const ID: &str = "spiffe://root.linkerd.cluster.local/vm";

    fn svid(authority: &Authority, id: &str) -> X509svid {
        let svid = authority.svid(id).expect("a URI");
        X509svid {
            spiffe_id: id.into(),
            x509_svid: svid.chain,
            x509_svid_key: svid.key,
            bundle: authority.root().to_vec(),
        }
    }

    fn tls(anchors: &RootCertStore) -> MeshTls {
        let id = Id::parse(ID).expect("a URI");
        let made = MeshTls::new(anchors.clone(), id, "vm.cluster.local".into(), false);
        made.expect("our provider is complete")
    }

    #[test]
    fn the_certificate_of_our_id_is_used_and_the_others_are_not() {
        let authority = Authority::generate();
        let anchors = anchors::parse(authority.anchors()).expect("a certificate");
        let other = svid(&authority, "spiffe://root.linkerd.cluster.local/other");
        let response = |svids| X509svidResponse { svids };
        let tls = tls(&anchors);
        let refused = accept(response(vec![other.clone()]), Some(&anchors), &tls);
        assert!(refused.expect_err("not ours").contains("/other"));
        assert!(!tls.is_ready());
        let both = vec![other, svid(&authority, ID)];
        let expires = accept(response(both), Some(&anchors), &tls).expect("ours is there");
        assert!(expires > SystemTime::now() + Duration::from_secs(3600));
        assert!(tls.is_ready());
    }

    #[test]
    fn what_is_malformed_changes_nothing() {
        let authority = Authority::generate();
        let anchors = anchors::parse(authority.anchors()).expect("a certificate");
        let tls = tls(&anchors);
        let good = svid(&authority, ID);
        let of_another = svid(&Authority::generate(), ID);
        let cases = [
            (
                "no chain",
                X509svid {
                    x509_svid: vec![],
                    ..good.clone()
                },
            ),
            (
                "half a chain",
                X509svid {
                    x509_svid: vec![0x30, 9],
                    ..good.clone()
                },
            ),
            (
                "no certificate",
                X509svid {
                    x509_svid: vec![0x30, 0],
                    ..good.clone()
                },
            ),
            (
                "no key",
                X509svid {
                    x509_svid_key: vec![],
                    ..good.clone()
                },
            ),
            (
                "another's key",
                X509svid {
                    x509_svid_key: of_another.x509_svid_key.clone(),
                    ..good.clone()
                },
            ),
            (
                "half a bundle",
                X509svid {
                    bundle: vec![0x30, 9],
                    ..good.clone()
                },
            ),
            (
                "unknown anchor",
                X509svid {
                    bundle: vec![],
                    ..of_another
                },
            ),
        ];
        for (what, svid) in cases {
            let response = X509svidResponse { svids: vec![svid] };
            assert!(accept(response, Some(&anchors), &tls).is_err(), "{what}");
            assert!(!tls.is_ready(), "{what}");
        }
    }

    #[test]
    fn bundles_are_trusted_unless_a_file_says_what_to_trust() {
        let (configured, spire) = (Authority::generate(), Authority::generate());
        let anchors = anchors::parse(configured.anchors()).expect("a certificate");
        for (followed, expected) in [(Some(&anchors), true), (None, false)] {
            let tls = tls(&anchors);
            let svids = vec![svid(&spire, ID)];
            let accepted = accept(X509svidResponse { svids }, followed, &tls);
            assert_eq!(expected, accepted.is_ok(), "{accepted:?}");
            // What is configured is trusted all the same.
            let svids = vec![svid(&configured, ID)];
            assert!(accept(X509svidResponse { svids }, followed, &tls).is_ok());
        }
    }
}
