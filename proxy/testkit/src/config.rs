//! The JSON file of `testkit serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::echo::Kind;
use crate::world::World;

/// What one `testkit serve` process does.
///
/// ```json
/// {"control": "127.0.0.1:8086", "authority": "/tmp/ca",
///  "world": {"services": [{"address": "10.96.0.1:80", "authority": "web.test.svc.cluster.local:80",
///                          "endpoints": [{"address": "10.9.0.2:8080", "identity": "web.test…", "h2": true, "inbound_port": 4143}]}],
///            "servers": [{"port": 8080, "name": "web", "protocol": "http1", "allow": "all"}]},
///  "echo": [{"listen": "0.0.0.0:8080", "kind": "http"}]}
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the control plane listens; none is served without it.
    #[serde(default)]
    pub control: Option<SocketAddr>,
    /// Folder of the certificate authority, made if it is not there; in memory without it.
    #[serde(default)]
    pub authority: Option<PathBuf>,
    /// What the control plane says.
    #[serde(default)]
    pub world: World,
    /// Applications to serve.
    #[serde(default)]
    pub echo: Vec<Echo>,
}

/// An application.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it is.
    pub kind: Kind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Allow, Protocol};

    #[test]
    fn the_documented_form_is_read() {
        let text = r#"{"control": "127.0.0.1:8086", "authority": "/tmp/ca",
            "world": {"services": [{"address": "10.96.0.1:80", "authority": "web.test.svc.cluster.local:80",
                "endpoints": [{"address": "10.9.0.2:8080", "identity": "web.test", "h2": true, "inbound_port": 4143}]}],
                "servers": [{"port": 8080, "name": "web", "protocol": "http1", "allow": {"identities": ["a.b"]}}]},
            "echo": [{"listen": "0.0.0.0:8080", "kind": "http"}]}"#;
        let config: Config = serde_json::from_str(text).expect("valid");
        assert_eq!(
            Some(4143),
            config.world.services[0].endpoints[0].inbound_port
        );
        assert_eq!(Protocol::Http1, config.world.servers[0].protocol);
        assert_eq!(
            Allow::Identities(vec!["a.b".to_owned()]),
            config.world.servers[0].allow
        );
        assert!(serde_json::from_str::<Config>(r#"{"contrl": 1}"#).is_err());
    }
}
