//! The first bytes of a connection, answers of name servers, and chains of certificates.

use linkerd_proxy_core::der;
use linkerd_proxy_core::detect::{self, Http, Tls};
use linkerd_proxy_core::dns;
use linkerd_proxy_core::transport_header::{Decoded, Header};

/// Whatever the split: once decided, more bytes change nothing.
fn settles<T: PartialEq + std::fmt::Debug>(input: &[u8], unsure: &T, decide: impl Fn(&[u8]) -> T) {
    let mut decided: Option<T> = None;
    for end in 0..=input.len().min(600) {
        let now = decide(&input[..end]);
        match &decided {
            Some(before) => assert_eq!(*before, now, "changed at {end}"),
            None if now != *unsure => decided = Some(now),
            None => {}
        }
    }
}

/// HTTP/1, HTTP/2 or neither.
pub fn http(input: &[u8]) {
    settles(input, &Http::Incomplete, detect::http);
}

/// A ClientHello and its server name.
pub fn tls(input: &[u8]) {
    settles(input, &Tls::Incomplete, detect::tls);
    if let Tls::Sni(name) = detect::tls(input) {
        assert!(name.len() <= u16::MAX.into());
    }
}

/// The header of direct connections; what is read is what would be written.
pub fn transport_header(input: &[u8]) {
    settles(input, &Decoded::Incomplete, Header::decode);
    if let Decoded::Header(header, size) = Header::decode(input) {
        assert!(size <= input.len());
        let written = header.encode();
        assert_eq!(
            Decoded::Header(header, written.len()),
            Header::decode(&written)
        );
    }
}

/// Certificates one after the other: nothing is lost between them.
pub fn certificates(input: &[u8]) {
    let _ = der::not_after(input);
    if let Some(all) = der::certificates(input) {
        assert_eq!(input, all.concat());
        for one in all {
            let _ = der::not_after(one);
            assert_eq!(Some(vec![one]), der::certificates(one));
        }
    }
}

/// Answers, with every pointer and length that they may hold.
pub fn dns(input: &[u8]) {
    let id = input
        .get(..2)
        .map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    if let Some(answer) = dns::parse(input, id) {
        // Each record takes octets of the answer.
        assert!(answer.records.len() <= input.len());
    }
    let name = String::from_utf8_lossy(input);
    if let Some(query) = dns::query(id, &name, dns::Kind::Srv) {
        assert!(query.len() <= 12 + 255 + 4);
    }
}
