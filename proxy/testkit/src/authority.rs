//! A certificate authority in memory or in a folder, and the files that a proxy expects.

use std::fs;
use std::io;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

/// Clocks of the two sides may differ by this much.
const SKEW: Duration = Duration::minutes(5);

/// Signs whatever it is asked to.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    anchors: String,
    leaf_lifetime: Duration,
}

/// A certificate with its key, as a SPIFFE agent hands them out.
pub struct Svid {
    /// Leaf and issuers, DER one after the other.
    pub chain: Vec<u8>,
    /// PKCS#8 DER.
    pub key: Vec<u8>,
}

/// A signed leaf.
pub struct Leaf {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Seconds since the epoch at which it ends.
    pub expires: i64,
}

impl Authority {
    /// Makes a new authority with an ECDSA P-256 key, valid for a day.
    pub fn generate() -> Self {
        let (key, params, pem) = root();
        Self::new(key, params, pem)
    }

    /// Reads `ca.key` and `ca.crt` (PEM) from `folder`, or makes and writes them there.
    ///
    /// # Errors
    /// The folder is not writable, or its files are no key and certificate.
    pub fn at(folder: &Path) -> io::Result<Self> {
        let (key_path, certificate_path) = (folder.join("ca.key"), folder.join("ca.crt"));
        if key_path.exists() {
            let key =
                KeyPair::from_pem(&fs::read_to_string(key_path)?).map_err(io::Error::other)?;
            let pem = fs::read_to_string(certificate_path)?;
            return Ok(Self {
                issuer: Issuer::from_ca_cert_pem(&pem, key).map_err(io::Error::other)?,
                anchors: pem,
                leaf_lifetime: Duration::DAY,
            });
        }
        fs::create_dir_all(folder)?;
        let (key, params, pem) = root();
        fs::write(key_path, key.serialize_pem())?;
        fs::write(certificate_path, &pem)?;
        Ok(Self::new(key, params, pem))
    }

    fn new(key: KeyPair, params: CertificateParams, anchors: String) -> Self {
        Self {
            issuer: Issuer::new(params, key),
            anchors,
            leaf_lifetime: Duration::DAY,
        }
    }

    /// Sets how long leaves live, in seconds.
    #[must_use]
    pub fn leaf_lifetime(mut self, seconds: i64) -> Self {
        self.leaf_lifetime = Duration::seconds(seconds);
        self
    }

    /// The trust anchors, PEM.
    pub fn anchors(&self) -> &str {
        &self.anchors
    }

    /// The trust anchor, DER.
    ///
    /// # Panics
    /// Never: the text was made from a certificate.
    pub fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.anchors.as_bytes()).expect("our own certificate")
    }

    /// Makes a key and certifies it for a URI.
    ///
    /// # Errors
    /// `id` has letters that no URI has.
    pub fn svid(&self, id: &str) -> Result<Svid, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
        params.not_before = OffsetDateTime::now_utc() - SKEW;
        params.not_after = OffsetDateTime::now_utc() + self.leaf_lifetime;
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(Svid {
            chain: leaf.der().to_vec(),
            key: key.serialize_der(),
        })
    }

    /// Signs a DER request for `identity`, whatever names the request holds.
    ///
    /// # Errors
    /// The request cannot be read, or the identity is no DNS name.
    pub fn sign(&self, identity: &str, request: &[u8]) -> Result<Leaf, rcgen::Error> {
        let mut request = CertificateSigningRequestParams::from_der(&request.into())?;
        let now = OffsetDateTime::now_utc();
        request.params.subject_alt_names = vec![SanType::DnsName(identity.try_into()?)];
        request.params.not_before = now - SKEW;
        request.params.not_after = now + self.leaf_lifetime;
        let leaf = request.signed_by(&self.issuer)?;
        Ok(Leaf {
            der: leaf.der().to_vec(),
            expires: (now + self.leaf_lifetime).unix_timestamp(),
        })
    }
}

fn root() -> (KeyPair, CertificateParams, String) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("P-256 is supported");
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "root.linkerd.cluster.local");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::now_utc() - SKEW;
    params.not_after = OffsetDateTime::now_utc() + Duration::DAY * 30;
    let certificate = params
        .self_signed(&key)
        .expect("the parameters are complete");
    (key, params, certificate.pem())
}

/// Writes what the identity helper of a pod writes: `key.p8`, `csr.der`, and a `token`.
///
/// # Errors
/// The folder is not writable, or the identity is no DNS name.
pub fn write_identity(folder: &Path, identity: &str) -> io::Result<()> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
    let params = CertificateParams::new(vec![identity.to_owned()]).map_err(io::Error::other)?;
    let request = params.serialize_request(&key).map_err(io::Error::other)?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("key.p8"), key.serialize_der())?;
    fs::write(folder.join("csr.der"), request.der())?;
    fs::write(folder.join("token"), "scripted")
}
