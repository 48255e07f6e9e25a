//! A P-256 key and a PKCS#10 request for it, written by hand: it is a dozen DER values.
//!
//! Source: RFC 2986 §4 (request), RFC 5280 §4.2.1.6 (SAN), RFC 5480 (key).

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair, ECDSA_P256_SHA256_ASN1_SIGNING};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const OCTETS: u8 = 0x04;
const BITS: u8 = 0x03;
const ATTRIBUTES: u8 = 0xa0;
const DNS_NAME: u8 = 0x82;
const URI_NAME: u8 = 0x86;
const OID_COMMON_NAME: &[u8] = &[0x55, 4, 3];
const OID_SAN: &[u8] = &[0x55, 0x1d, 0x11];
const OID_EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const OID_ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const OID_EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];

/// Makes a key (PKCS#8 DER) and a request (DER) whose CN and SAN are `name`.
///
/// # Errors
/// When the system gives no randomness.
pub fn generate(name: &str) -> Result<(Vec<u8>, Vec<u8>), Unspecified> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref())
        .map_err(|_| Unspecified)?;
    let info = request_info(name, pair.public_key().as_ref());
    let signature = pair.sign(&random, &info)?;
    let algorithm = der(SEQUENCE, &[&der(OID, &[OID_ECDSA_SHA256])]);
    let request = der(
        SEQUENCE,
        &[&info, &algorithm, &der(BITS, &[&[0], signature.as_ref()])],
    );
    Ok((pkcs8.as_ref().to_vec(), request))
}

fn request_info(name: &str, public_key: &[u8]) -> Vec<u8> {
    let common_name = der(
        SEQUENCE,
        &[
            &der(OID, &[OID_COMMON_NAME]),
            &der(UTF8, &[name.as_bytes()]),
        ],
    );
    let subject = der(SEQUENCE, &[&der(SET, &[&common_name])]);
    let algorithm = der(
        SEQUENCE,
        &[&der(OID, &[OID_EC_KEY]), &der(OID, &[OID_P256])],
    );
    let key = der(SEQUENCE, &[&algorithm, &der(BITS, &[&[0], public_key])]);
    let kind = if name.contains("://") {
        URI_NAME
    } else {
        DNS_NAME
    };
    let san = der(SEQUENCE, &[&der(kind, &[name.as_bytes()])]);
    let extension = der(SEQUENCE, &[&der(OID, &[OID_SAN]), &der(OCTETS, &[&san])]);
    let extensions = der(SET, &[&der(SEQUENCE, &[&extension])]);
    let attribute = der(
        SEQUENCE,
        &[&der(OID, &[OID_EXTENSION_REQUEST]), &extensions],
    );
    der(
        SEQUENCE,
        &[&[2, 1, 0], &subject, &key, &der(ATTRIBUTES, &[&attribute])],
    )
}

/// One value of tag, length and the concatenated parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let n: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match n {
        0..=0x7f => out.push(n as u8),
        0x80..=0xff => out.extend_from_slice(&[0x81, n as u8]),
        _ => out.extend_from_slice(&[0x82, (n >> 8) as u8, n as u8]),
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_use_the_shortest_form() {
        assert_eq!(vec![4, 2, 1, 2], der(OCTETS, &[&[1], &[2]]));
        assert_eq!(vec![4, 0x81, 200], der(OCTETS, &[&[0; 200]])[..3].to_vec());
        assert_eq!(vec![4, 0x82, 1, 0], der(OCTETS, &[&[0; 256]])[..4].to_vec());
    }

    #[test]
    fn keys_differ_and_requests_carry_the_name() {
        let (key, csr) = generate("web.ns.serviceaccount").expect("a key");
        let (other, _) = generate("web.ns.serviceaccount").expect("a key");
        assert_ne!(key, other);
        let found = csr
            .windows(21)
            .filter(|window| *window == b"web.ns.serviceaccount")
            .count();
        assert_eq!(2, found);
    }
}
