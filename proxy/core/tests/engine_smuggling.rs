//! Every variant of `tests/vectors/smuggling.json`, whole and octet by octet: what two readers could
//! take differently is refused and the connection ends; what passes, passes in one form only.
#![allow(clippy::unwrap_used)]

mod engine_support;

use engine_support::{messages, Rig};
use linkerd_proxy_core::engine::{Io, Protocol};
use serde::Deserialize;

#[derive(Deserialize)]
struct Variant {
    name: String,
    /// Characters are octets.
    raw: String,
    expect: String,
    body: String,
}

fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

/// What is wrong with how the engine took a variant; nothing when it is right.
fn fault(variant: &Variant, step: usize) -> Option<String> {
    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    for part in octets(&variant.raw).chunks(step) {
        rig.client(part);
    }
    let told = |what: &str| {
        let (client, server) = (rig.client_text(), rig.server_text());
        let io = rig.client_io();
        Some(format!(
            "{} by {step}: {what}\n  client {client:?} {io:?}\n  server {server:?}",
            variant.name
        ))
    };
    if rig.server_text().contains("smuggled") {
        return told("the server sees what was not sent");
    }
    let refused =
        rig.client_text().starts_with("HTTP/1.1 4") || rig.client_text().starts_with("HTTP/1.1 5");
    // A request whose body turned out wrong has begun to pass: then it must never end.
    let begun = rig.server_text().starts_with("POST /sent ") && rig.server_io() != Io::Open;
    let complete = rig.server_text().ends_with("0\r\n\r\n");
    if variant.expect != "pass" && rig.client_io() != Io::Open {
        let unseen = rig.to_server.is_empty() || (begun && !complete);
        return if !unseen {
            told("the server sees a refused request")
        } else if !refused && rig.to_server.is_empty() {
            told("the client is told nothing")
        } else {
            None
        };
    }
    if variant.expect == "refuse" {
        return told("not refused");
    }
    match messages(&rig.to_server).as_slice() {
        [(_, body, _)] if *body == octets(&variant.body) => None,
        [_] => told("another body"),
        _ => told("not one request"),
    }
}

#[test]
fn no_variant_has_two_meanings() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/smuggling.json"
    );
    let variants: Vec<Variant> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(variants.len() >= 300);
    let faults: Vec<String> = variants
        .iter()
        .flat_map(|variant| [usize::MAX, 1, 7].map(|step| fault(variant, step)))
        .flatten()
        .collect();
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}
