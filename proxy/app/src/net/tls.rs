//! Mesh TLS: which versions, suites and names, and whose certificate is believed.
//!
//! Source: linkerd2-proxy linkerd/{meshtls,rustls,tls} (behaviour).

use super::io::{Io, Socket};
use linkerd_proxy_core::endpoint::ServerTls;
use linkerd_proxy_core::identity::Id;
use linkerd_proxy_core::transport_header::{ALPN, STREAMS_ALPN};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::Resumption;
use rustls::crypto::{aws_lc_rs, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use webpki::{EndEntityCert, KeyUsage};

/// Longest time that a client may take to finish a handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// The certificate in force.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub key: Vec<u8>,
}

/// Configurations made from one certificate and one set of anchors.
struct Configs {
    roots: Arc<RootCertStore>,
    pair: Option<Arc<CertifiedKey>>,
    client: Arc<ClientConfig>,
    /// Accepting without and with the transport header's ALPN; `None` before the first certificate.
    server: Option<(Arc<ServerConfig>, Arc<ServerConfig>)>,
}

/// Makes and accepts mesh connections with the newest certificate.
pub struct MeshTls {
    provider: Arc<CryptoProvider>,
    server_id: Id,
    server_name: String,
    /// Direct connections may carry streams.
    streams: bool,
    configs: watch::Sender<Arc<Configs>>,
}

/// What the ends of a connection are about to say, by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    /// What the application says.
    Nothing,
    /// A transport header, then what the application says.
    Header,
    /// HTTP/2 whose streams are opaque connections.
    Streams,
}

/// Why a peer or certificate was refused.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Our settings or our certificate.
    #[error("{0}")]
    Setup(String),
    /// The library.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// Versions, suites and groups of mesh connections, in order of preference.
pub fn provider() -> CryptoProvider {
    use aws_lc_rs::{cipher_suite, kx_group};
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

impl MeshTls {
    /// Trusts `roots`; serves nothing until [`MeshTls::install`]. With `streams` a connection to
    /// another proxy of ours may carry opaque connections as streams.
    ///
    /// # Errors
    /// The library's.
    pub fn new(
        roots: RootCertStore,
        server_id: Id,
        server_name: String,
        streams: bool,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let configs = Configs::new(&provider, Arc::new(roots), None, streams)?;
        Ok(Self {
            provider,
            server_id,
            server_name,
            streams,
            configs: watch::Sender::new(Arc::new(configs)),
        })
    }

    /// Trusts `roots` from now on, for new connections; false when it does already.
    ///
    /// # Errors
    /// The library's.
    pub fn trust(&self, roots: RootCertStore) -> Result<bool, TlsError> {
        let old = self.configs.borrow().clone();
        if old.roots.roots == roots.roots {
            return Ok(false);
        }
        let pair = old.pair.clone();
        let configs = Configs::new(&self.provider, Arc::new(roots), pair, self.streams)?;
        self.configs.send_replace(Arc::new(configs));
        Ok(true)
    }

    /// Checks a new certificate as a peer would, and uses it for new connections.
    ///
    /// # Errors
    /// When the chain does not lead to an anchor, the key does not fit or the name is not ours.
    pub fn install(&self, certified: Certified) -> Result<(), TlsError> {
        let (leaf, rest) = certified
            .chain
            .split_first()
            .ok_or_else(|| TlsError::Setup("certificate chain is empty".into()))?;
        let algorithms = self.provider.signature_verification_algorithms;
        let roots = self.configs.borrow().roots.clone();
        verify_chain(algorithms, &roots, leaf, rest, UnixTime::now())?;
        if !names(leaf).contains(&self.server_id) {
            return Err(TlsError::Setup(format!(
                "certificate does not name {}",
                self.server_id
            )));
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.key));
        let signer = self.provider.key_provider.load_private_key(key)?;
        let pair = Arc::new(CertifiedKey::new(certified.chain, signer));
        pair.keys_match()?;
        let configs = Configs::new(&self.provider, roots, Some(pair), self.streams)?;
        self.configs.send_replace(Arc::new(configs));
        Ok(())
    }

    /// Our own identity.
    pub fn id(&self) -> &Id {
        &self.server_id
    }

    /// Whether connections to other proxies of ours may carry streams.
    pub fn has_streams(&self) -> bool {
        self.streams
    }

    /// The SNI that means us.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Whether a certificate is there.
    pub fn is_ready(&self) -> bool {
        self.configs.borrow().server.is_some()
    }

    /// Waits for the first certificate.
    pub async fn ready(&self) {
        let mut configs = self.configs.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = configs.wait_for(|configs| configs.server.is_some()).await;
    }

    /// Connects as a client that accepts only `server`, and offers to speak as `offer` says, the
    /// most wanted first.
    ///
    /// # Errors
    /// The peer's identity, the handshake or the socket.
    pub async fn connect(
        &self,
        socket: Socket,
        server: &ServerTls,
        offer: &[Agreed],
    ) -> io::Result<(Io, Agreed)> {
        let configs = self.configs.borrow().clone();
        let mut config = ClientConfig::clone(&configs.client);
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(IdVerifier {
                algorithms: self.provider.signature_verification_algorithms,
                roots: configs.roots.clone(),
                id: server.id.clone(),
            }));
        config.alpn_protocols = offer.iter().filter_map(|what| what.alpn()).collect();
        let name = ServerName::try_from(server.server_name.clone()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "server name is not a DNS name")
        })?;
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, socket.read_ahead())
            .await?;
        let agreed = Agreed::of(tls.get_ref().1.alpn_protocol());
        Ok((tls.into(), agreed))
    }

    /// Accepts a client, which may or may not have a name.
    ///
    /// # Errors
    /// The handshake or the socket.
    pub async fn accept(
        &self,
        socket: Socket,
        direct: bool,
        timeout: Duration,
    ) -> io::Result<Accepted> {
        let config = self
            .configs
            .borrow()
            .server
            .as_ref()
            .map(|(plain, header)| {
                if direct {
                    header.clone()
                } else {
                    plain.clone()
                }
            });
        let config = config.ok_or_else(|| io::Error::other("no certificate yet"))?;
        let accept = TlsAcceptor::from(config).accept(socket.read_ahead());
        // Detection may be switched off by a timeout of a year; a handshake never takes that long.
        let tls = tokio::time::timeout(timeout.min(HANDSHAKE_TIME_MAX), accept)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "tls handshake timed out"))??;
        let (_, session) = tls.get_ref();
        let client_id = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|leaf| names(leaf).into_iter().next());
        let agreed = Agreed::of(session.alpn_protocol());
        Ok(Accepted {
            io: tls.into(),
            client_id,
            agreed,
        })
    }
}

impl Configs {
    fn new(
        provider: &Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
        pair: Option<Arc<CertifiedKey>>,
        streams: bool,
    ) -> Result<Self, TlsError> {
        let client = client_config(provider, &roots, pair.clone())?;
        let server = match &pair {
            None => None,
            Some(pair) => {
                let plain = server_config(provider, &roots, pair.clone())?;
                let mut direct = plain.clone();
                // The first of ours that the client has too is taken.
                let spoken = [streams.then_some(Agreed::Streams), Some(Agreed::Header)];
                let spoken = spoken.into_iter().flatten();
                direct.alpn_protocols = spoken.filter_map(Agreed::alpn).collect();
                Some((Arc::new(plain), Arc::new(direct)))
            }
        };
        Ok(Self {
            client: Arc::new(client),
            server,
            roots,
            pair,
        })
    }
}

/// A finished server-side handshake.
pub struct Accepted {
    /// The connection.
    pub io: Io,
    /// The client's name, if it showed a certificate.
    pub client_id: Option<Id>,
    /// What follows.
    pub agreed: Agreed,
}

impl Agreed {
    fn of(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(ALPN) => Self::Header,
            Some(STREAMS_ALPN) => Self::Streams,
            Some(_) | None => Self::Nothing,
        }
    }

    fn alpn(self) -> Option<Vec<u8>> {
        match self {
            Self::Nothing => None,
            Self::Header => Some(ALPN.to_vec()),
            Self::Streams => Some(STREAMS_ALPN.to_vec()),
        }
    }
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    pair: Option<Arc<CertifiedKey>>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots.clone());
    let mut config = match pair {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    pair: Arc<CertifiedKey>,
) -> Result<ServerConfig, TlsError> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Setup(format!("client verifier: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    // No mesh client resumes, so tickets would be bytes for nothing.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Names in a leaf's SAN, DNS before URI.
fn names(leaf: &CertificateDer<'_>) -> Vec<Id> {
    let Ok(cert) = EndEntityCert::try_from(leaf) else {
        return Vec::new();
    };
    cert.valid_dns_names()
        .chain(cert.valid_uri_names())
        .filter_map(Id::parse)
        .collect()
}

fn verify_chain(
    algorithms: WebPkiSupportedAlgorithms,
    roots: &RootCertStore,
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let bad = |error: webpki::Error| rustls::Error::General(format!("certificate chain: {error}"));
    let cert = EndEntityCert::try_from(leaf).map_err(bad)?;
    cert.verify_for_usage(
        algorithms.all,
        &roots.roots,
        rest,
        now,
        KeyUsage::server_auth(),
        None,
        None,
    )
    .map(|_| ())
    .map_err(bad)
}

/// Believes a server whose chain leads to an anchor and whose SAN has exactly the expected name.
#[derive(Debug)]
struct IdVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    roots: Arc<RootCertStore>,
    id: Id,
}

impl ServerCertVerifier for IdVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_chain(self.algorithms, &self.roots, leaf, rest, now)?;
        if names(leaf).contains(&self.id) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "TLS 1.2 is not used in the mesh".into(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
