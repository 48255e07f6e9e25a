//! Who the proxy is, and who says so.

use super::parse::parse_socket;
use super::{parse_id, ControlAddr, Problem, Reader, PREFIX};
use linkerd_proxy_core::backoff::Backoff;
use linkerd_proxy_core::identity::Id;
use std::time::Duration;

/// Who we are and how we prove it.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// PEM.
    pub trust_anchors: String,
    /// A file of the same, which is read again while the proxy runs.
    pub trust_anchors_file: Option<String>,
    /// The identity in our certificate.
    pub server_id: Id,
    /// The SNI that peers send.
    pub server_name: String,
    /// Who certifies.
    pub certifier: Certifier,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Certifier {
    /// The control plane.
    Service(Certify),
    /// The SPIFFE Workload API of this machine.
    Spire(Spire),
}

/// How the control plane certifies.
#[derive(Clone, Debug, PartialEq)]
pub struct Certify {
    /// Where `key.p8` and `csr.der` are.
    pub dir: String,
    /// Read at every certification.
    pub token_file: String,
    /// The identity service.
    pub svc: ControlAddr,
    /// Bounds of the time between certifications.
    pub refresh: (Duration, Duration),
}

/// How a SPIRE agent certifies.
#[derive(Clone, Debug, PartialEq)]
pub struct Spire {
    /// Path of its socket.
    pub socket: String,
    /// Between attempts to ask it.
    pub backoff: Backoff,
}

impl Identity {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        if r.text("IDENTITY_DISABLED").is_some() {
            r.problems.push(Problem(format!(
                "{PREFIX}IDENTITY_DISABLED: expected nothing, identity is mandatory"
            )));
        }
        let local = r.read("IDENTITY_LOCAL_NAME", parse_id);
        let server_id = local
            .clone()
            .or_else(|| r.read("IDENTITY_SERVER_ID", parse_id));
        let server_name = local
            .map(|id| id.to_string())
            .or_else(|| r.read("IDENTITY_SERVER_NAME", parse_name));
        let certifier = match Spire::read(r) {
            Some(spire) => Certifier::Spire(spire),
            None => Certifier::Service(Certify::read(r)),
        };
        match (&server_id, &server_name, &certifier) {
            (Some(id), Some(_), Certifier::Spire(_)) if !is_spiffe(id) => {
                r.problems.push(Problem(format!(
                    "{PREFIX}IDENTITY_SERVER_ID={id}: expected a spiffe:// URI, as SPIRE certifies"
                )));
            }
            (Some(id), Some(name), Certifier::Service(_)) if id.as_str() != name => {
                r.problems.push(Problem(format!(
                    "{PREFIX}IDENTITY_SERVER_ID={id}: expected what {PREFIX}IDENTITY_SERVER_NAME \
                     is, unless SPIRE certifies"
                )));
            }
            (Some(_), Some(_), _) => {}
            _ => r.problems.push(Problem(format!(
                "{PREFIX}IDENTITY_LOCAL_NAME: expected a name, or both {PREFIX}IDENTITY_SERVER_ID \
                 and {PREFIX}IDENTITY_SERVER_NAME"
            ))),
        }
        Self {
            trust_anchors: r.required("IDENTITY_TRUST_ANCHORS"),
            trust_anchors_file: r.text("IDENTITY_TRUST_ANCHORS_FILE"),
            server_id: server_id
                .unwrap_or_else(|| Id::parse("unset").expect("a constant name is valid")),
            server_name: server_name.unwrap_or_default(),
            certifier,
        }
    }
}

impl Certify {
    fn read(r: &mut Reader<'_>) -> Self {
        let refresh = (
            r.duration("IDENTITY_MIN_REFRESH", Duration::from_secs(10)),
            r.duration("IDENTITY_MAX_REFRESH", Duration::from_secs(86_400)),
        );
        if refresh.0 > refresh.1 {
            r.problems.push(Problem(format!(
                "{PREFIX}IDENTITY_MAX_REFRESH: expected it not below {PREFIX}IDENTITY_MIN_REFRESH"
            )));
        }
        Self {
            dir: r.required("IDENTITY_DIR"),
            token_file: r.required("IDENTITY_TOKEN_FILE"),
            svc: r.control("IDENTITY"),
            refresh,
        }
    }
}

impl Spire {
    /// The Workload API, if it is to be asked; its setting had another name once.
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let defaults = Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(1),
            jitter: 0.1,
        };
        let name = [
            "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
            "IDENTITY_SPIRE_SOCKET",
        ]
        .into_iter()
        .find(|name| r.text(name).is_some())?;
        Some(Self {
            socket: r.read(name, parse_socket).unwrap_or_default(),
            backoff: r.backoff("IDENTITY_SPIRE_EXP_BACKOFF", defaults),
        })
    }
}

/// A name as clients send it for SNI.
fn parse_name(text: &str) -> Result<String, String> {
    let name = Id::parse(text).filter(|id| !id.is_uri());
    let name = name.ok_or("a DNS name")?;
    Ok(name.to_string())
}

fn is_spiffe(id: &Id) -> bool {
    let scheme = id.as_str().split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{minimal, read_map};
    use super::*;

    #[test]
    fn spire_needs_its_socket_and_a_uri_and_nothing_of_the_identity_service() {
        const ID: &str = "spiffe://root.linkerd.cluster.local/vm";
        let mut map = minimal();
        for name in ["DIR", "TOKEN_FILE", "LOCAL_NAME", "SVC_ADDR"] {
            map.remove(&*format!("IDENTITY_{name}"));
        }
        map.insert("IDENTITY_SERVER_ID", ID);
        map.insert("IDENTITY_SERVER_NAME", "vm.cluster.local");
        for (name, value) in [
            (
                "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
                "unix:///run/spire.sock",
            ),
            ("IDENTITY_SPIRE_SOCKET", "unix:/run/spire.sock"),
            ("IDENTITY_SPIRE_SOCKET", "/run/spire.sock"),
        ] {
            let mut map = map.clone();
            map.insert(name, value);
            let identity = read_map(&map).expect("valid").identity;
            assert_eq!(ID, identity.server_id.as_str());
            assert_eq!("vm.cluster.local", identity.server_name);
            let Certifier::Spire(spire) = identity.certifier else {
                panic!("{name}={value}");
            };
            assert_eq!("/run/spire.sock", spire.socket);
            assert_eq!(Duration::from_secs(1), spire.backoff.max);
            for other in [
                ("IDENTITY_SERVER_ID", "vm.cluster.local"),
                ("IDENTITY_SERVER_NAME", ID),
                (name, "tcp://a:1"),
            ] {
                let mut map = map.clone();
                map.insert(other.0, other.1);
                assert!(read_map(&map).is_err(), "{other:?}");
            }
        }
        let problems = read_map(&map).expect_err("the identity service knows no URIs");
        let text = "LINKERD2_PROXY_IDENTITY_SERVER_ID=spiffe://";
        let found = problems.iter().any(|problem| problem.0.starts_with(text));
        assert!(found, "{problems:?}");
    }

    #[test]
    fn without_spire_the_id_is_the_server_name() {
        for (id, name, valid) in [
            ("web.ns", "web.ns", true),
            ("web.ns.", "WEB.ns", true),
            ("web.ns", "other.ns", false),
        ] {
            let mut map = minimal();
            map.remove("IDENTITY_LOCAL_NAME");
            map.insert("IDENTITY_SERVER_ID", id);
            map.insert("IDENTITY_SERVER_NAME", name);
            assert_eq!(valid, read_map(&map).is_ok(), "{id} {name}");
        }
    }
}
