//! What is read from the environment, and what is refused.

use super::*;
use std::collections::HashMap;

pub(super) fn minimal() -> HashMap<&'static str, &'static str> {
    HashMap::from([
        ("IDENTITY_DIR", "/id"),
        ("IDENTITY_TRUST_ANCHORS", "pem"),
        ("IDENTITY_TOKEN_FILE", "/token"),
        (
            "IDENTITY_LOCAL_NAME",
            "web.ns.serviceaccount.identity.linkerd.cluster.local",
        ),
        ("IDENTITY_SVC_ADDR", "localhost.:8080"),
        (
            "DESTINATION_SVC_ADDR",
            "dst.linkerd.svc.cluster.local.:8086",
        ),
        ("DESTINATION_SVC_NAME", "dst.linkerd"),
        ("POLICY_SVC_ADDR", "127.0.0.1:8090"),
        ("POLICY_WORKLOAD", "ns:pod"),
    ])
}

pub(super) fn read_map(map: &HashMap<&str, &str>) -> Result<Settings, Vec<Problem>> {
    read(&|name| {
        map.get(name.strip_prefix(PREFIX)?)
            .map(|value| (*value).to_owned())
    })
}

#[test]
fn the_minimum_gives_linkerds_defaults() {
    let settings = read_map(&minimal()).expect("valid");
    assert_eq!(
        vec![SocketAddr::from(([127, 0, 0, 1], 4140))],
        settings.outbound_addrs
    );
    assert_eq!(Duration::from_millis(300), settings.inbound.connect_timeout);
    assert_eq!(
        Duration::from_secs(5),
        settings.outbound.discovery_idle_timeout
    );
    let identity::Certifier::Service(certify) = settings.identity.certifier else {
        panic!("the control plane certifies");
    };
    assert_eq!(None, certify.svc.identity);
    assert_eq!(
        "dst.linkerd",
        settings.destination.identity.expect("an identity").as_str()
    );
}

#[test]
fn values_that_make_no_sense_together_are_problems() {
    let out = "OUTBOUND_CONNECT_EXP_BACKOFF";
    let (min, max, jitter) = (
        format!("{out}_MIN"),
        format!("{out}_MAX"),
        format!("{out}_JITTER"),
    );
    for (pairs, problems) in [
        (vec![(min.as_str(), "1s"), (&max, "2s")], 0),
        (vec![(&min, "1s"), (&max, "2s"), (&jitter, "0.5")], 0),
        (vec![(&min, "1s")], 1),
        (vec![(&jitter, "0.5")], 1),
        (vec![(&min, "2s"), (&max, "1s")], 1),
        (vec![(&min, "0"), (&max, "1s")], 1),
        (vec![(&min, "1s"), (&max, "2s"), (&jitter, "nan")], 1),
        (vec![(&min, "1s"), (&max, "2s"), (&jitter, "-1")], 1),
        (vec![("IDENTITY_MAX_REFRESH", "1s")], 1),
        (vec![("OUTBOUND_METRICS_HOSTNAME_LABELS", "maybe")], 1),
        (vec![("LIMIT_HEAD_FIELDS", "512")], 0),
        (vec![("LIMIT_HEAD_FIELDS", "513")], 1),
        (vec![("LIMIT_STALL_TIMEOUT", "5")], 1),
        (vec![("INBOUND_SERVER_HTTP2_MAX_FRAME_SIZE", "huge")], 1),
    ] {
        let mut map = minimal();
        map.extend(pairs.iter().copied());
        let found = read_map(&map).map_or_else(|problems| problems.len(), |_| 0);
        assert_eq!(problems, found, "{pairs:?}");
    }
}

#[test]
fn one_limit_of_heads_counts_for_both_directions() {
    for (inbound, outbound, expected) in [
        ("", "", 65_536),
        ("16384", "", 16_384),
        ("", "131072", 131_072),
        ("16384", "131072", 131_072),
    ] {
        let mut map = minimal();
        map.insert("INBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE", inbound);
        map.insert("OUTBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE", outbound);
        let settings = read_map(&map).expect("valid");
        for http2 in [
            settings.inbound.server_http2,
            settings.outbound.server_http2,
        ] {
            assert_eq!(expected, http2.head_bytes, "{inbound} {outbound}");
        }
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut map = minimal();
    map.insert("INBOUND_CONNECT_TIMEOUT", "3 parsecs");
    map.insert("ADMIN_LISTEN_ADDR", "nowhere");
    map.insert("INBOUND_DEFAULT_POLICY", "audit");
    map.remove("POLICY_WORKLOAD");
    map.remove("DESTINATION_SVC_NAME");
    let problems = read_map(&map).expect_err("invalid");
    assert_eq!(5, problems.len(), "{problems:?}");
    let text = "LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT=3 parsecs: expected ";
    assert!(
        problems.iter().any(|problem| problem.0.starts_with(text)),
        "{problems:?}"
    );
}
