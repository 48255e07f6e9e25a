//! The messages of `tests/vectors/wire.json`, written by the control plane's tests, and what the
//! proxy makes of them.

use linkerd_proxy_api::convert::destination::{profile, update, Update};
use linkerd_proxy_api::destination as api;
use linkerd_proxy_core::endpoint::Endpoint;
use prost::Message;
use serde_json::{json, Map, Value};

#[test]
fn messages_mean_what_the_vectors_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/wire.json");
    let text = std::fs::read_to_string(path).expect("the vectors are in the repository");
    let vectors: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    assert!(vectors.len() >= 10);
    for (name, vector) in &vectors {
        let messages: Vec<Vec<u8>> = vector["hex"]
            .as_array()
            .expect("messages")
            .iter()
            .map(|hex| bytes(hex.as_str().expect("hexadecimal")))
            .collect();
        let means = &vector["means"];
        let found = if means.get("profile").is_some() {
            json!({"profile": profile_of(&messages[0])})
        } else {
            json!({"updates": messages.iter().map(|raw| update_of(raw)).collect::<Vec<_>>()})
        };
        assert_eq!(means, &found, "{name}");
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn update_of(raw: &[u8]) -> Value {
    let message = api::Update::decode(raw).expect("an update");
    match update(message) {
        (Some(Update::Add(endpoints)), 0) => {
            json!({"add": endpoints.iter().map(endpoint_of).collect::<Vec<_>>()})
        }
        (Some(Update::Remove(addrs)), 0) => {
            json!({"remove": addrs.iter().map(ToString::to_string).collect::<Vec<_>>()})
        }
        (Some(Update::Empty), 0) => json!("empty"),
        (None, 0) => Value::Null,
        (_, skipped) => json!({ "skipped": skipped }),
    }
}

fn endpoint_of(endpoint: &Endpoint) -> Value {
    let mut found = json!({
        "addr": endpoint.addr.to_string(),
        "weight": endpoint.weight,
        "hint": format!("{:?}", endpoint.hint),
        "labels": labels(&endpoint.labels),
    });
    if let Some(tls) = &endpoint.tls {
        assert_eq!(tls.id.as_str(), tls.server_name);
        found["identity"] = json!(tls.id.as_str());
    }
    if let Some(port) = endpoint.opaque_transport {
        found["opaque_transport"] = json!(port);
    }
    found
}

fn profile_of(raw: &[u8]) -> Value {
    let message = api::DestinationProfile::decode(raw).expect("a profile");
    let profile = profile(message).expect("a profile that can be used");
    let routes: Vec<Value> = profile
        .routes
        .iter()
        .flat_map(|routes| routes.routes.iter())
        .map(|route| {
            json!({
                "labels": labels(&route.labels),
                "retryable": route.retryable,
                "timeout_ms": route.timeout.map(|timeout| timeout.as_millis() as u64),
            })
        })
        .collect();
    let mut found = json!({
        "name": profile.name,
        "opaque": profile.opaque,
        "overrides": profile.overrides,
        "routes": routes,
    });
    if let Some(endpoint) = &profile.endpoint {
        found["endpoint"] = endpoint_of(endpoint);
    }
    found
}

fn labels(pairs: &[(String, String)]) -> Value {
    Value::Object(
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect(),
    )
}
